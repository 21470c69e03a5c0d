"""The store: all that is known of studies, in a database. Nothing else opens transactions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from foldtune.store import leases, publishing, reading, recording, records
from foldtune.store.border import redact
from foldtune.store.engine import connect
from foldtune.store.leases import Turn, Write
from foldtune.store.publishing import Copy
from foldtune.store.reading import Means
from foldtune.store.records import Barrier, Changes, Curves, Lease, Place, StudyRecord, StudySummary, TrialRecord
from foldtune.store.retrying import put_back
from foldtune.store.schema import create_tables, need_tables
from foldtune.store.transactions import Transactions
from foldtune.values import Fold, OutOfFold


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
        foldtune.errors.NoTablesError: there is no database at missing.db. Check `--storage` and the working folder; ...
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = redact(url)
        self.engine = connect(url, create=create)
        self._transactions = Transactions(self.engine)
        with ExitStack() as undo:
            undo.callback(self.close)
            (create_tables if create else need_tables)(self.engine)
            undo.pop_all()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def create_study(self, study: StudyRecord, *findings: records.Finding) -> None:
        """Store a new study, with what is known of it already.

        Raises:
            StoreError: its name is taken.
        """
        work = partial(recording.create_study, study=study, findings=findings)
        self._transactions.write_once(work, recording.taken(study.name))

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
        self._transactions.write(lambda connection: recording.update_spec(connection, uuid, spec))

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
        return self._touch(lease, lambda turn: leases.take_over(turn, is_dead))

    def is_abandoned(self, uuid: str, is_dead: Callable[[Place], bool]) -> bool:
        """Whether a study has trials that `take_over` would take from loops that are gone.

        Args:
            uuid: the study's.
            is_dead: as in `take_over`.
        """
        return self._transactions.read(lambda connection: leases.is_abandoned(connection, uuid, is_dead))

    def leads(self, lease: Lease) -> bool:
        """Whether no search loop that works on the study has an older lease."""
        return self._transactions.read(lambda connection: leases.leads(connection, lease))

    def publish(self, lease: Lease, copy: Copy, *, check: bool) -> int:
        """Bring a study's copy in Optuna's tables up to date; arguments and errors as of `publishing.publish`.

        Returns:
            The study's tick, up to which the copy now goes.
        """
        return self._transactions.write(lambda connection: publishing.publish(connection, lease, copy, check=check))

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
        return self._touch(lease, lambda turn: leases.reserve(turn, count, limit))

    def retry(self, lease: Lease) -> list[int]:
        """Put every failed trial back, as the lease's own: waiting, with its parameters and without its curve.

        Returns:
            Their numbers, ascending.

        Raises:
            LeaseLostError: the lease is gone.
        """
        return self._touch(lease, put_back)

    def record(self, lease: Lease, barrier: Barrier) -> None:
        """Store a barrier, all or nothing: points, and the new states of trials and repeats, with their answers.

        Raises:
            LeaseLostError: the lease is gone, or a trial belongs to another: one that is trained once more may, if
                the lease leads.
            StoreError: a trial is unknown, an epoch of a trial is stored already, or answers are too large.
        """
        write = Write(lease, partial(recording.record, barrier=barrier), barrier.seconds)
        self._transactions.write(write, recording.stored_once(barrier))

    def add_partition(self, lease: Lease, repeat: int, folds: Sequence[Fold]) -> None:
        """Store a fresh partition, on which trials are trained once more; stored again, nothing happens.

        Raises:
            LeaseLostError: the lease is gone.
            StoreError: another partition has that number.
        """
        self._transactions.write(lambda connection: recording.add_partition(connection, lease, repeat, folds))

    def keep(self, uuid: str, finding: records.Finding) -> None:
        """Store a finding: an audit beside the others, anything else in place of the one before.

        Nothing happens where an audit of the same content is stored, or anything else of its kind from a later tick.
        """
        self._transactions.write(lambda connection: recording.keep(connection, uuid, finding))

    def trained(self, name: str) -> tuple[float, int]:
        """Seconds that a study's trials took in training and scoring, confirmation included, whatever trained at once;
        and how many have ended. 0 and 0 where there is no study of that name."""
        return self._transactions.read(lambda connection: reading.trained(connection, name))

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

    def tick(self, uuid: str) -> int:
        """The number of the last write that touched a study's trials."""
        return self._transactions.read(lambda connection: reading.tick(connection, uuid))

    def seconds(self, uuid: str) -> float:
        """Time that searches have spent on a study, all sessions together."""
        return self._transactions.read(lambda connection: reading.seconds(connection, uuid))

    def curves(self, uuid: str, number: int, repeat: int = 0) -> Curves:
        """What a trial reported so far, on one partition: E is 0 before its first epoch.

        Raises:
            StoreError: the study has no such trial or partition, or rows are missing.
        """
        return self._transactions.read(lambda connection: reading.curves(connection, uuid, number, repeat))

    def last_epochs(self, uuid: str) -> dict[int, int]:
        """The last stored epoch of every running trial, by number; 0 before the first."""
        return self._transactions.read(lambda connection: reading.last_epochs(connection, uuid))

    def partitions(self, uuid: str) -> dict[int, tuple[Fold, ...]]:
        """The folds of every stored partition, by repeat; 0 is the study's own."""
        return self._transactions.read(lambda connection: reading.partitions(connection, uuid))

    def repeats(self, uuid: str) -> list[records.RepeatRecord]:
        """What is trained once more, by trial, then by repeat."""
        return self._transactions.read(lambda connection: reading.repeats(connection, uuid))

    def answers(self, uuid: str, repeat: int = 0, *, trial: int | None = None) -> dict[int, OutOfFold]:
        """The out-of-fold answers on one partition of one trial, or of all, by number; of those that have some.

        Raises:
            StoreError: the study has no such partition, or answers do not fit it.
        """
        return self._transactions.read(lambda connection: reading.answers(connection, uuid, repeat, trial))

    def findings(self, uuid: str, kind: records.FindingKind | None = None) -> list[records.Finding]:
        """What was found out about a study, of that kind or of any; oldest first."""
        return self._transactions.read(lambda connection: reading.findings(connection, uuid, kind))

    def _touch(self, lease: Lease, change: Callable[[Turn], None]) -> list[int]:
        """Write as a lease; the numbers of the trials that are touched, ascending."""
        write = Write(lease, change)
        return self._transactions.write(lambda connection: write(connection).touched())
