"""The store: studies, trials and curves in a database. Nothing else opens transactions."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from sqlalchemy import Connection, insert, update

from foldtune.errors import Problem, StoreError
from foldtune.store import leases, reading, rows
from foldtune.store.border import redact
from foldtune.store.engine import connect
from foldtune.store.leases import Write
from foldtune.store.reading import Means
from foldtune.store.recording import record
from foldtune.store.records import Barrier, Changes, Curves, Lease, Place, StudyRecord, StudySummary, TrialRecord
from foldtune.store.retrying import put_back
from foldtune.store.schema import create_tables, has_tables
from foldtune.store.tables import FoldRow, StudyRow
from foldtune.store.transactions import Transactions


class Store:
    """foldtune's rows in one database, for one process. Every method is one transaction.

    A database that goes away is waited for, up to `retry.PATIENCE_S`; what is written then is written once.

    Args:
        url: an SQLAlchemy URL; a SQLite file's folder must exist.
        create: create what is missing. False for commands that only look: they change nothing.

    Raises:
        StoreError: the URL is wrong, its driver is not installed, the database does not answer, or nothing is there
            and nothing may be created. Methods raise it too when the database fails; nothing is then half-written.

    Example:
        >>> Store("sqlite:///missing.db", create=False)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        foldtune.errors.StoreError: there is no database at missing.db. Check `--storage` and the working folder; ...
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = redact(url)
        self.engine = connect(url, create=create)
        self._transactions = Transactions(self.engine)
        with ExitStack() as undo:
            undo.callback(self.close)
            if create:
                create_tables(self.engine)
            elif not has_tables(self.engine):
                hint = "Check `--storage`; `foldtune run` creates a study."
                raise StoreError.of((), "the database must hold a study of foldtune's", self.url, hint)
            undo.pop_all()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def create_study(self, study: StudyRecord) -> None:
        """Store a new study.

        Raises:
            StoreError: its name is taken.
        """
        hint = "Give the study another name, or continue the stored one."
        taken = Problem((), "a study's name must be new in its database", study.name, hint)

        def create(connection: Connection) -> None:
            stored: Any = connection.execute(insert(StudyRow).values(rows.study_columns(study)))
            study_id = stored.inserted_primary_key.id
            folds = [{"study_id": study_id, **fold} for fold in rows.fold_columns(study)]
            if folds:  # an INSERT without rows would insert one of defaults
                connection.execute(insert(FoldRow), folds)

        self._transactions.write_once(create, taken)

    def study(self, name: str) -> StudyRecord:
        """The study of that name.

        Raises:
            StoreError: there is none; the message names those there are.
        """
        return self._transactions.read(lambda connection: reading.study(connection, name))

    def studies(self) -> list[StudySummary]:
        """A line for each study, the oldest first."""
        return self._transactions.read(reading.studies)

    def update_spec(self, uuid: str, spec: Mapping[str, Any]) -> None:
        """Replace a study's definition, for a new budget."""

        def change(connection: Connection) -> None:
            study_id, tick = leases.lock(connection, uuid)
            connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(spec=spec, tick=tick + 1))

        self._transactions.write(change)

    def acquire(self, uuid: str, place: Place, seconds: float) -> Lease:
        """A new lease of a study.

        Args:
            uuid: the study's.
            place: where the search loop runs.
            seconds: how long it holds after each of its writes and renewals, by the database's clock.
        """
        return self._transactions.write(lambda connection: leases.acquire(connection, uuid, place, seconds))

    def renew(self, lease: Lease, seconds: float) -> None:
        """Let a lease hold for so long from now on, by the database's clock.

        Raises:
            LeaseLostError: another search loop has taken it over.
        """
        self._transactions.write(lambda connection: leases.renew(connection, lease, seconds))

    def release(self, lease: Lease, seen: int | None = None) -> bool:
        """Give a lease back: its open trials are free to take. Nothing happens where it is gone already.

        Args:
            lease: the lease.
            seen: keep the lease if it is the study's last that holds and something was written since this tick.

        Returns:
            Whether it was given back, or was gone.
        """
        return self._transactions.write(lambda connection: leases.release(connection, lease, seen))

    def take_over(self, lease: Lease, is_dead: Callable[[Place], bool]) -> list[int]:
        """Make every free running or waiting trial the lease's own, and end the leases of dead search loops.

        Args:
            lease: the new owner.
            is_dead: whether a search loop is known to have ended; others are dead when their lease has run out.

        Returns:
            The trials' numbers, ascending.

        Raises:
            LeaseLostError: the lease is gone.
        """
        write = Write(lease, lambda turn: leases.take_over(turn, is_dead))
        return self._transactions.write(lambda connection: write(connection).touched())

    def is_abandoned(self, uuid: str, is_dead: Callable[[Place], bool]) -> bool:
        """Whether a study has trials that `take_over` would take from loops that are gone.

        Args:
            uuid: the study's.
            is_dead: as in `take_over`.
        """

        def look(connection: Connection) -> bool:
            return leases.is_abandoned(connection, reading.study_id(connection, uuid), is_dead)

        return self._transactions.read(look)

    def leads(self, lease: Lease) -> bool:
        """Whether no search loop that works on the study has an older lease."""
        return self._transactions.read(lambda connection: leases.leads(connection, lease))

    def reserve(self, lease: Lease, count: int, limit: int) -> list[int]:
        """Store the study's next trials, waiting and empty, as the lease's own.

        Args:
            lease: the owner.
            count: how many are wanted.
            limit: how many trials the study may have in all.

        Returns:
            Their numbers, ascending: fewer than wanted, or none, at the limit.

        Raises:
            LeaseLostError: the lease is gone.
        """
        write = Write(lease, lambda turn: leases.reserve(turn, count, limit))
        return self._transactions.write(lambda connection: write(connection).touched())

    def retry(self, lease: Lease) -> list[int]:
        """Put every failed trial back, as the lease's own: waiting, with its parameters and without its curve.

        Returns:
            Their numbers, ascending.

        Raises:
            LeaseLostError: the lease is gone.
        """
        write = Write(lease, put_back)
        return self._transactions.write(lambda connection: write(connection).touched())

    def record(self, lease: Lease, barrier: Barrier) -> None:
        """Store a barrier: the reports' points and the trials' new states, all or nothing.

        Raises:
            LeaseLostError: the lease is gone, or a trial belongs to another.
            StoreError: a trial is unknown, or an epoch of a trial is stored already.
        """
        epochs = ", ".join(f"trial {report.trial} epoch {report.epoch}" for report in barrier.reports)
        hint = "Another process may be training the same trials."
        taken = Problem((), "an epoch is stored once, for a stored trial", epochs, hint)
        self._transactions.write(Write(lease, partial(record, barrier=barrier), barrier.seconds), taken)

    def trials(self, uuid: str) -> list[TrialRecord]:
        """A study's trials, in the order of their numbers."""
        return self._transactions.read(lambda connection: reading.trials(connection, uuid))

    def trial(self, uuid: str, number: int) -> TrialRecord:
        """One trial.

        Raises:
            StoreError: the study has no trial of that number.
        """
        return self._transactions.read(lambda connection: reading.trial(connection, uuid, number))

    def means(self, uuid: str) -> Means:
        """The first metric's mean over the folds of every stored epoch: trial number -> epoch -> mean."""
        return self._transactions.read(lambda connection: reading.means(connection, uuid))

    def changes(self, uuid: str, since: int) -> Changes:
        """What was written to a study after a tick; all of it after tick -1."""
        return self._transactions.read(lambda connection: reading.changes(connection, uuid, since))

    def seconds(self, uuid: str) -> float:
        """Time that searches have spent on a study, all sessions together."""
        return self._transactions.read(lambda connection: reading.seconds(connection, uuid))

    def curves(self, uuid: str, number: int) -> Curves:
        """What a trial reported so far: E is 0 before its first epoch.

        Raises:
            StoreError: the study has no trial of that number, or rows are missing.
        """
        return self._transactions.read(lambda connection: reading.curves(connection, uuid, number))

    def last_epochs(self, uuid: str) -> dict[int, int]:
        """The last stored epoch of every running trial, by number; 0 before the first."""
        return self._transactions.read(lambda connection: reading.last_epochs(connection, uuid))
