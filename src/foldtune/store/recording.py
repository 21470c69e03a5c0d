"""What is stored at a barrier."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable, bindparam, insert, select, update

from foldtune.errors import LeaseLostError
from foldtune.store import rows
from foldtune.store.leases import ELSEWHERE, Turn
from foldtune.store.reading import no_trial
from foldtune.store.records import Barrier
from foldtune.store.tables import CurveRow, TrialRow


def record(turn: Turn, barrier: Barrier) -> None:
    """Store a barrier's points and trials.

    Raises:
        StoreError: there is no such trial.
        LeaseLostError: a trial belongs to another lease.
    """
    trials = {trial.number: trial for trial in (*barrier.trials, *barrier.asked)}
    reported = {report.trial for report in barrier.reports}
    _check(turn, reported.union(trials))
    points = [{"study_id": turn.study_id, **rows.curve_columns(report)} for report in barrier.reports]
    _execute(turn, _INSERT, points)
    stamp = {"of": turn.study_id, "tick": turn.tick}
    _execute(turn, _UPDATE, [{**rows.trial_columns(trial), **stamp, "at": trial.number} for trial in trials.values()])
    _execute(turn, _UPDATE, [{**stamp, "at": number} for number in sorted(reported.difference(trials))])


def _check(turn: Turn, numbers: Collection[int]) -> None:
    """Refuse trials that are unknown or another lease's."""
    found = turn.connection.execute(_OWNERS, {"of": turn.study_id, "numbers": sorted(numbers)})
    owners = {number: lease for number, lease in found}
    if unknown := set(numbers).difference(owners):
        raise no_trial(min(unknown))
    if foreign := sorted(number for number, lease in owners.items() if lease != turn.token):
        rule = "a trial must belong to the lease that writes to it"
        owner = f"trial {foreign[0]} to lease {owners[foreign[0]]}, not {turn.token}"
        raise LeaseLostError.of((), rule, owner, ELSEWHERE)


def _execute(turn: Turn, statement: Executable, columns: Sequence[Mapping[str, Any]]) -> None:
    if columns:  # an INSERT without rows would insert one of defaults
        turn.connection.execute(statement, columns)


_OWNERS = select(TrialRow.number, TrialRow.lease).where(
    TrialRow.study_id == bindparam("of"), TrialRow.number.in_(bindparam("numbers", expanding=True))
)
_INSERT = insert(CurveRow)
_UPDATE = update(TrialRow).where(TrialRow.study_id == bindparam("of"), TrialRow.number == bindparam("at"))
