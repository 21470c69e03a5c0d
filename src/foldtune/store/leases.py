"""Leases: which search loop may write to which trials.

Every write first locks its study's row, then reads its lease's: writes of a study come one after the other, no two wait
for each other, and a loop whose lease is gone cannot write. No clock but the database's decides.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from foldtune.errors import LeaseLostError
from foldtune.store import reading, rows
from foldtune.store.clock import now_s
from foldtune.store.records import Lease, Place, TrialRecord
from foldtune.store.tables import LeaseRow, StudyRow, TrialRow

OPEN = ("running", "waiting")
"""States of trials that somebody is to go on with."""

ELSEWHERE = "Another process has taken its trials over, or the lease was given back: nothing of this step is stored."


@dataclass(frozen=True)
class Turn:
    """One write of a lease, while it holds the study's row.

    Args:
        connection: in the write's transaction.
        study_id: the study's row.
        token: the lease's.
        tick: of this write, to be stamped on the trials that it touches.
    """

    connection: Connection
    study_id: int
    token: int
    tick: int

    def leads(self) -> bool:
        """Whether no lease of the study that holds is older."""
        older = (LeaseRow.study_id == self.study_id, LeaseRow.id < self.token, LeaseRow.expires_at > now_s())
        return not self.connection.scalars(select(func.count()).select_from(LeaseRow).where(*older)).one()

    def touched(self) -> list[int]:
        """The numbers of the trials that this write has touched, ascending."""
        stamped = (TrialRow.study_id == self.study_id, TrialRow.tick == self.tick, TrialRow.lease == self.token)
        return list(self.connection.scalars(select(TrialRow.number).where(*stamped).order_by(TrialRow.number)))


class Write:
    """One write of a lease, with an effect once, however often its transaction is tried.

    A transaction whose commit lost its answer finds, when tried again, that the lease's row has counted it.

    Args:
        lease: whose write it is; the writes of a lease come one after the other.
        change: what is written.
        seconds: search time that the study has then spent, in addition.
    """

    def __init__(self, lease: Lease, change: Callable[[Turn], None], seconds: float = 0.0) -> None:
        self.lease, self.change, self.seconds = lease, change, seconds
        self._count: int | None = None  # of the lease's writes, this one included

    def __call__(self, connection: Connection) -> Turn:
        """Write.

        Raises:
            LeaseLostError: the lease is gone.
        """
        study_id, tick = lock(connection, self.lease.study)
        held = _held_by(connection, study_id, self.lease)
        if held.writes == self._count:
            return Turn(connection, study_id, self.lease.token, held.tick)
        self._count = held.writes + 1
        turn = Turn(connection, study_id, self.lease.token, tick + 1)
        self.change(turn)
        connection.execute(_SPEND, {"of": study_id, "now": turn.tick, "spent": self.seconds})
        connection.execute(_COUNT, {"token": turn.token, "now": turn.tick, "count": self._count})
        return turn


def lock(connection: Connection, uuid: str) -> tuple[int, int]:
    """Wait for a study's other writers to end; its row's id and its tick.

    Raises:
        StoreError: there is no such study.
    """
    found = connection.execute(_LOCK, {"uuid": uuid}).one_or_none()
    if found is None:
        raise reading.no_study(connection, uuid)
    return found.id, found.tick


def check(connection: Connection, lease: Lease) -> int:
    """Wait for a study's other writers to end; its row's id.

    Raises:
        LeaseLostError: the lease is gone.
    """
    study_id, _ = lock(connection, lease.study)
    _held_by(connection, study_id, lease)
    return study_id


def acquire(connection: Connection, uuid: str, place: Place, seconds: float) -> Lease:
    """A new lease of a study."""
    study_id, tick = lock(connection, uuid)
    columns = {"study_id": study_id, "seconds": seconds, "expires_at": now_s() + seconds, "writes": 0, "tick": tick}
    given: Any = connection.execute(insert(LeaseRow).values(**asdict(place), **columns))
    return Lease(given.inserted_primary_key.id, uuid)


def renew(connection: Connection, lease: Lease, seconds: float) -> None:
    """Let a lease end later."""
    study_id, _ = lock(connection, lease.study)
    mine = (LeaseRow.id == lease.token, LeaseRow.study_id == study_id)
    renewed = connection.execute(update(LeaseRow).where(*mine).values(seconds=seconds, expires_at=now_s() + seconds))
    if not renewed.rowcount:
        raise _lost(lease)


def release(connection: Connection, lease: Lease, seen: int | None = None) -> bool:
    """Give a lease back: trials of a lease that is gone are free. The last one stays where the study has changed."""
    study_id, tick = lock(connection, lease.study)
    others = (LeaseRow.study_id == study_id, LeaseRow.id != lease.token, LeaseRow.expires_at > now_s())
    mine = (LeaseRow.id == lease.token, LeaseRow.study_id == study_id)
    is_last = not connection.scalars(select(func.count()).where(*others)).one()
    if seen not in (None, tick) and is_last and connection.execute(select(LeaseRow.id).where(*mine)).first():
        return False
    connection.execute(delete(LeaseRow).where(*mine))
    return True


def leads(connection: Connection, lease: Lease) -> bool:
    """Whether a lease is the oldest of its study's that holds."""
    study_id = select(StudyRow.id).where(StudyRow.uuid == lease.study).scalar_subquery()
    holding = select(func.min(LeaseRow.id)).where(LeaseRow.study_id == study_id, LeaseRow.expires_at > now_s())
    return connection.scalars(holding).one() == lease.token


def take_over(turn: Turn, is_dead: Callable[[Place], bool]) -> None:
    """Make every free open trial the lease's own, and end the leases of the dead."""
    held = _held(turn.connection, turn.study_id, is_dead, besides=turn.token)
    dead = [token for token, holds in held.items() if not holds]
    free = _free(turn.study_id, [turn.token, *(token for token, holds in held.items() if holds)])
    turn.connection.execute(update(TrialRow).where(*free).values(lease=turn.token, tick=turn.tick))
    turn.connection.execute(delete(LeaseRow).where(LeaseRow.study_id == turn.study_id, LeaseRow.id.in_(dead)))


def is_abandoned(connection: Connection, uuid: str, is_dead: Callable[[Place], bool]) -> bool:
    """Whether an open trial is free."""
    study_id = reading.study_id(connection, uuid)
    held = _held(connection, study_id, is_dead)
    free = _free(study_id, [token for token, holds in held.items() if holds])
    return bool(connection.scalars(select(func.count()).select_from(TrialRow).where(*free)).one())


def reserve(turn: Turn, count: int, limit: int) -> None:
    """Store the next trials as waiting, without anything in them yet."""
    highest = select(func.coalesce(func.max(TrialRow.number), -1)).where(TrialRow.study_id == turn.study_id)
    first = turn.connection.scalars(highest).one() + 1
    new = [TrialRecord(number, "waiting", "sampled", False, {}, {}, {}) for number in range(first, limit)[:count]]
    keys = {"study_id": turn.study_id, "lease": turn.token, "tick": turn.tick}
    if new:  # an INSERT without rows would insert one of defaults
        columns = [{**rows.trial_columns(trial), **keys, "number": trial.number} for trial in new]
        turn.connection.execute(insert(TrialRow), columns)


def _held_by(connection: Connection, study_id: int, lease: Lease) -> Any:
    """The row of a lease that is not gone."""
    held = connection.execute(_HELD, {"of": study_id, "token": lease.token}).one_or_none()
    if held is None:
        raise _lost(lease)
    return held


def _held(
    connection: Connection, study_id: int, is_dead: Callable[[Place], bool], besides: int | None = None
) -> dict[int, bool]:
    """A study's leases besides one, and whether each still holds."""
    expired = (LeaseRow.expires_at <= now_s()).label("expired")
    asked = (LeaseRow.study_id == study_id, LeaseRow.id != (besides or -1))
    found = connection.execute(select(LeaseRow, expired).where(*asked))
    return {row.id: not (row.expired or is_dead(rows.place(row))) for row in found}


def _free(study_id: int, holding: Collection[int]) -> tuple[ColumnElement[bool], ...]:
    """Which trials are open and of none of these leases."""
    free = TrialRow.lease.is_(None) | TrialRow.lease.not_in(holding)
    return TrialRow.study_id == study_id, TrialRow.state.in_(OPEN), free


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError.of((), "a search loop must still hold its lease to write", f"lease {lease.token}", ELSEWHERE)


_LOCK = select(StudyRow.id, StudyRow.tick).where(StudyRow.uuid == bindparam("uuid")).with_for_update()
_HELD = select(LeaseRow.writes, LeaseRow.tick).where(
    LeaseRow.id == bindparam("token"), LeaseRow.study_id == bindparam("of")
)
_SPEND = (
    update(StudyRow)
    .where(StudyRow.id == bindparam("of"))
    .values(tick=bindparam("now"), seconds=StudyRow.seconds + bindparam("spent"))
)
_COUNT = (
    update(LeaseRow)
    .where(LeaseRow.id == bindparam("token"))
    .values(writes=bindparam("count"), tick=bindparam("now"), expires_at=now_s() + LeaseRow.seconds)
)
