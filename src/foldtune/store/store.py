"""The store: studies, trials and curves in a database. The only place with sessions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from foldtune.errors import Problem, StoreError, nearest
from foldtune.store import rows
from foldtune.store.border import redact, reported
from foldtune.store.engine import WRITING, connect, create_tables, has_tables
from foldtune.store.records import Barrier, Curves, StudyRecord, StudySummary, TrialRecord
from foldtune.store.tables import CurveRow, FoldRow, StudyRow, TrialRow
from foldtune.values import TrialState


class Store:
    """foldtune's rows in one database, for one process. Every method is one transaction.

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
        self._writer = self.engine.execution_options(**{WRITING: True})
        if create:
            create_tables(self.engine)
        elif not has_tables(self.engine):
            self.close()
            hint = "Check `--storage`; `foldtune run` creates a study."
            raise StoreError.of((), "the database must hold a study of foldtune's", self.url, hint)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def create_study(self, study: StudyRecord) -> None:
        """Store a new study.

        Raises:
            StoreError: its name is taken.
        """
        hint = "Give the study another name, or continue the stored one."
        with self._writing(Problem((), "a study's name must be new in its database", study.name, hint)) as session:
            session.add(row := StudyRow(**rows.study_columns(study)))
            session.flush()
            _insert(session, FoldRow, [{"study_id": row.id, **fold} for fold in rows.fold_columns(study)])

    def study(self, name: str) -> StudyRecord:
        """The study of that name.

        Raises:
            StoreError: there is none; the message names those there are.
        """
        with self._reading() as session:
            row = session.scalars(select(StudyRow).where(StudyRow.name == name)).one_or_none()
            if row is None:
                raise self._unknown(name, session.scalars(select(StudyRow.name).order_by(StudyRow.name)).all())
            folds = select(FoldRow).where(FoldRow.study_id == row.id, FoldRow.repeat == 0).order_by(FoldRow.fold)
            return rows.study_record(row, session.scalars(folds).all())

    def studies(self) -> list[StudySummary]:
        """A line for each study, the oldest first."""
        counts = select(
            TrialRow.study_id, TrialRow.state, func.count(), func.min(TrialRow.value), func.max(TrialRow.value)
        ).group_by(TrialRow.study_id, TrialRow.state)
        columns = (StudyRow.id, StudyRow.name, StudyRow.created_at, StudyRow.directions, StudyRow.spec)
        with self._reading() as session:
            states: dict[int, dict[TrialState, tuple[int, float, float]]] = {}
            for study_id, state, count, lowest, highest in session.execute(counts):
                states.setdefault(study_id, {})[state] = (count, lowest, highest)
            studies = session.execute(select(*columns).order_by(StudyRow.id)).all()
        return [_summary(study, states.get(study.id, {})) for study in studies]

    def update_spec(self, uuid: str, spec: Mapping[str, Any]) -> None:
        """Replace a study's definition, for a new budget."""
        with self._writing() as session:
            study_id = self._id(session, uuid)
            session.execute(update(StudyRow).where(StudyRow.id == study_id).values(spec=spec))

    def trials(self, uuid: str) -> list[TrialRecord]:
        """A study's trials, in the order of their numbers."""
        with self._reading() as session:
            query = select(TrialRow).where(TrialRow.study_id == self._id(session, uuid)).order_by(TrialRow.number)
            return [rows.trial_record(row) for row in session.scalars(query)]

    def trial(self, uuid: str, number: int) -> TrialRecord:
        """One trial.

        Raises:
            StoreError: the study has no trial of that number.
        """
        with self._reading() as session:
            return rows.trial_record(self._trial(session, uuid, number))

    def add_trials(self, uuid: str, trials: Sequence[TrialRecord]) -> None:
        """Store new trials.

        Raises:
            StoreError: a number is taken; none of them is then stored.
        """
        numbers = ", ".join(str(trial.number) for trial in trials)
        hint = "Another search loop may have asked for the same trials: read them again."
        with self._writing(Problem((), "the numbers of added trials must be new", numbers, hint)) as session:
            study_id = self._id(session, uuid)
            _insert(session, TrialRow, [{"study_id": study_id, **rows.trial_columns(trial)} for trial in trials])

    def record(self, uuid: str, barrier: Barrier) -> None:
        """Store a barrier: the reports' points and the trials' new states, all or nothing.

        Raises:
            StoreError: a trial is unknown, or an epoch of a trial is stored already.
        """
        epochs = ", ".join(f"trial {report.trial} epoch {report.epoch}" for report in barrier.reports)
        hint = "Another process may be training the same trials."
        with self._writing(Problem((), "an epoch is stored once, for a stored trial", epochs, hint)) as session:
            study_id = self._id(session, uuid)
            points = [point for report in barrier.reports for point in rows.curve_columns(report)]
            _insert(session, CurveRow, [{"study_id": study_id, **point} for point in points])
            spent = {"seconds": StudyRow.seconds + barrier.seconds}
            session.execute(update(StudyRow).where(StudyRow.id == study_id).values(spent))
            _update(session, study_id, barrier.trials)

    def seconds(self, uuid: str) -> float:
        """Time that searches have spent on a study, all sessions together."""
        with self._reading() as session:
            study_id = self._id(session, uuid)
            return session.scalars(select(StudyRow.seconds).where(StudyRow.id == study_id)).one()

    def curves(self, uuid: str, number: int) -> Curves:
        """What a trial reported so far: E is 0 before its first epoch.

        Raises:
            StoreError: the study has no trial of that number, or rows are missing.
        """
        with self._reading() as session:
            study_id = self._trial(session, uuid, number).study_id
            folds = select(func.count()).where(FoldRow.study_id == study_id, FoldRow.repeat == 0)
            metrics = select(StudyRow.metrics).where(StudyRow.id == study_id)
            points = (
                select(CurveRow)
                .where(CurveRow.study_id == study_id, CurveRow.trial == number, CurveRow.repeat == 0)
                .order_by(CurveRow.epoch, CurveRow.fold)
            )
            n_folds, n_metrics = session.scalars(folds).one(), len(session.scalars(metrics).one())
            return rows.curves(session.scalars(points).all(), n_folds, n_metrics)

    def last_epochs(self, uuid: str) -> dict[int, int]:
        """The last stored epoch of every running trial, by number; 0 before the first."""
        points = (CurveRow.study_id == TrialRow.study_id, CurveRow.trial == TrialRow.number, CurveRow.repeat == 0)
        last = select(func.coalesce(func.max(CurveRow.epoch), 0)).where(*points).scalar_subquery()
        with self._reading() as session:
            running = (TrialRow.study_id == self._id(session, uuid), TrialRow.state == "running")
            found = session.execute(select(TrialRow.number, last).where(*running).order_by(TrialRow.number))
            return {number: epoch for number, epoch in found}

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with reported(self.engine.url), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def _writing(self, taken: Problem | None = None) -> Iterator[Session]:
        with reported(self.engine.url, taken), Session(self._writer) as session, session.begin():
            yield session

    def _id(self, session: Session, uuid: str) -> int:
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.uuid == uuid)).one_or_none()
        if study_id is None:
            raise StoreError.of((), f"there is no study with the uuid {uuid!r} in {self.url}", hint="Was it deleted?")
        return study_id

    def _trial(self, session: Session, uuid: str, number: int) -> TrialRow:
        row = session.get(TrialRow, (self._id(session, uuid), number))
        if row is None:
            raise _no_trial(number)
        return row

    def _unknown(self, name: str, names: Sequence[str]) -> StoreError:
        known = f"It holds {', '.join(names)}." if names else "It holds none yet."
        hint = " ".join(filter(None, (nearest(name, names), known)))
        return StoreError.of((), f"there is no study {name!r} in {self.url}", hint=hint)


def _no_trial(number: int) -> StoreError:
    return StoreError.of((), f"there is no trial {number} in the study", hint="`foldtune show` lists its trials.")


def _insert(session: Session, table: type[Any], columns: Sequence[Mapping[str, Any]]) -> None:
    if columns:  # an INSERT without rows would insert one of defaults
        session.execute(insert(table), columns)


_UPDATE = update(TrialRow).where(TrialRow.study_id == bindparam("of"), TrialRow.number == bindparam("at"))


def _update(session: Session, study_id: int, trials: Sequence[TrialRecord]) -> None:
    """Write stored trials anew, all in one statement."""
    numbers = {trial.number for trial in trials}
    stored = select(TrialRow.number).where(TrialRow.study_id == study_id, TrialRow.number.in_(numbers))
    if unknown := numbers.difference(session.scalars(stored)):
        raise _no_trial(min(unknown))
    columns = [{"of": study_id, "at": trial.number, **rows.trial_columns(trial)} for trial in trials]
    if columns:
        session.connection().execute(_UPDATE, columns)


def _summary(study: Any, states: Mapping[TrialState, tuple[int, float, float]]) -> StudySummary:
    _, lowest, highest = states.get("complete", (0, float("nan"), float("nan")))
    best = lowest if study.directions[0] == "minimize" else highest
    search = study.spec.get("search")
    return StudySummary(
        name=study.name,
        created_at=study.created_at,
        trials={state: states[state][0] if state in states else 0 for state in get_args(TrialState)},
        best=best if best == best and len(study.directions) == 1 else None,
        directions=tuple(study.directions),
        budget=search.get("trials") if isinstance(search, Mapping) else None,
    )
