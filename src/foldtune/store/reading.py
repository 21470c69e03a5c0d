"""What is read of a study, each in one transaction."""

import math
from collections.abc import Collection, Sequence
from typing import Any, get_args

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from foldtune.errors import StoreError, nearest
from foldtune.store import records, rows
from foldtune.store.border import redact
from foldtune.store.codec import DAMAGED
from foldtune.store.records import Changes, Curves, StudyRecord, StudySummary, TrialRecord
from foldtune.store.tables import AnswersRow, CurveRow, FindingRow, FoldRow, RepeatRow, StudyRow, TrialRow
from foldtune.values import Fold, OutOfFold, TrialState

Means = dict[int, dict[int, float]]
"""Trial number -> epoch -> the first metric's mean over the folds."""


def study(connection: Connection, name: str) -> StudyRecord:
    """The study of that name."""
    row: Any = connection.execute(select(StudyRow).where(StudyRow.name == name)).one_or_none()
    if row is None:
        raise _unknown(connection, name)
    folds = select(FoldRow).where(FoldRow.study_id == row.id, FoldRow.repeat == 0).order_by(FoldRow.fold)
    return rows.study_record(row, connection.execute(folds).all())


def studies(connection: Connection) -> list[StudySummary]:
    """A line for each study, the oldest first."""
    counts = select(
        TrialRow.study_id, TrialRow.state, func.count(), func.min(TrialRow.value), func.max(TrialRow.value)
    ).group_by(TrialRow.study_id, TrialRow.state)
    states: dict[int, dict[TrialState, tuple[int, float, float]]] = {}
    for of, state, count, lowest, highest in connection.execute(counts):
        states.setdefault(of, {})[state] = (count, lowest, highest)
    columns = (StudyRow.id, StudyRow.name, StudyRow.created_at, StudyRow.directions, StudyRow.spec)
    found = connection.execute(select(*columns).order_by(StudyRow.id))
    return [_summary(row, states.get(row.id, {})) for row in found]


def tick(connection: Connection, uuid: str) -> int:
    """The study's."""
    return connection.scalars(select(StudyRow.tick).where(StudyRow.id == study_id(connection, uuid))).one()


def seconds(connection: Connection, uuid: str) -> float:
    """Time that searches have spent on a study."""
    return connection.scalars(select(StudyRow.seconds).where(StudyRow.id == study_id(connection, uuid))).one()


def trained(connection: Connection, name: str) -> tuple[float, int]:
    """Seconds that a study's jobs took, in training and scoring, and its trials that have ended; none where it is not
    there."""
    of = select(StudyRow.id).where(StudyRow.name == name).scalar_subquery()
    spent = select(func.sum(TrialRow.seconds), func.count(TrialRow.finished_at)).where(TrialRow.study_id == of)
    again = select(func.sum(RepeatRow.seconds)).where(RepeatRow.study_id == of)
    seconds, ended = connection.execute(spent).one()
    return math.fsum(each for each in (seconds, connection.scalars(again).one()) if each == each), ended


def trials(connection: Connection, uuid: str) -> list[TrialRecord]:
    """A study's trials, by number."""
    of = study_id(connection, uuid)
    found = connection.execute(select(TrialRow).where(TrialRow.study_id == of).order_by(TrialRow.number))
    return [rows.trial_record(row) for row in found]


def trial(connection: Connection, uuid: str, number: int) -> TrialRecord:
    """One trial."""
    return rows.trial_record(_trial(connection, uuid, number))


def means(connection: Connection, uuid: str) -> Means:
    """The means of every stored epoch."""
    return _means(connection, _POINTS.where(CurveRow.study_id == study_id(connection, uuid)))


def changes(connection: Connection, uuid: str, since: int) -> Changes:
    """What was written after a tick. The tick is read first, so that nothing is passed over."""
    of = study_id(connection, uuid)
    tick = connection.scalars(select(StudyRow.tick).where(StudyRow.id == of)).one()
    written = (TrialRow.study_id == of, TrialRow.tick > since)
    found = connection.execute(select(TrialRow).where(*written).order_by(TrialRow.number))
    changed = tuple(rows.trial_record(row) for row in found)
    return Changes(
        tick, changed, means_of(connection, of, [trial.number for trial in changed if trial.state != "waiting"])
    )


def means_of(connection: Connection, of: int, numbers: Sequence[int], epochs: Collection[int] | None = None) -> Means:
    """The means of some trials. Asked for by number, for databases read a whole study to join it with its trials.

    Args:
        connection: in a transaction.
        of: the id of the study's row.
        numbers: the trials'.
        epochs: of these alone; None: of all.
    """
    found: Means = {}
    points = _POINTS.where(CurveRow.study_id == of)
    if epochs is not None:
        points = points.where(CurveRow.epoch.in_(epochs))
    for first in range(0, len(numbers), _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        found |= _means(connection, points.where(CurveRow.trial.in_(some)))
    return found


def curves(connection: Connection, uuid: str, number: int, repeat: int) -> Curves:
    """What a trial reported so far."""
    of = _trial(connection, uuid, number).study_id
    folds = select(func.count()).where(FoldRow.study_id == of, FoldRow.repeat == repeat)
    metrics = select(StudyRow.metrics).where(StudyRow.id == of)
    points = (
        select(CurveRow.epoch, CurveRow.losses, CurveRow.scores)
        .where(CurveRow.study_id == of, CurveRow.trial == number, CurveRow.repeat == repeat)
        .order_by(CurveRow.epoch)
    )
    n_folds, n_metrics = connection.scalars(folds).one(), len(connection.scalars(metrics).one())
    if not n_folds:
        raise _no_partition(repeat)
    return rows.curves(connection.execute(points).all(), n_folds, n_metrics)


def last_epochs(connection: Connection, uuid: str) -> dict[int, int]:
    """The last stored epoch of every running trial, by number; 0 before the first."""
    points = (CurveRow.study_id == TrialRow.study_id, CurveRow.trial == TrialRow.number, CurveRow.repeat == 0)
    last = select(func.coalesce(func.max(CurveRow.epoch), 0)).where(*points).scalar_subquery()
    running = (TrialRow.study_id == study_id(connection, uuid), TrialRow.state == "running")
    found = connection.execute(select(TrialRow.number, last).where(*running).order_by(TrialRow.number))
    return {number: epoch for number, epoch in found}


def partitions(connection: Connection, uuid: str) -> dict[int, tuple[Fold, ...]]:
    """A study's partitions, by repeat."""
    return _partitions(connection, FoldRow.study_id == study_id(connection, uuid))


def partition(connection: Connection, of: int, repeat: int) -> tuple[Fold, ...]:
    """One of a study's partitions; empty where it is not stored."""
    return _partitions(connection, FoldRow.study_id == of, FoldRow.repeat == repeat).get(repeat, ())


def repeats(connection: Connection, uuid: str) -> list[records.RepeatRecord]:
    """A study's repeats, by trial, then by number."""
    of = select(RepeatRow).where(RepeatRow.study_id == study_id(connection, uuid))
    return [rows.repeat_record(row) for row in connection.execute(of.order_by(RepeatRow.trial, RepeatRow.repeat))]


def answers(connection: Connection, uuid: str, repeat: int, trial: int | None) -> dict[int, OutOfFold]:
    """The answers of one trial or of all on one partition, by trial."""
    of = study_id(connection, uuid)
    if not (folds := partition(connection, of, repeat)):
        raise _no_partition(repeat)
    kept = select(AnswersRow).where(AnswersRow.study_id == of, AnswersRow.repeat == repeat)
    if trial is not None:
        kept = kept.where(AnswersRow.trial == trial)
    return {row.trial: rows.out_of_fold(row, folds) for row in connection.execute(kept.order_by(AnswersRow.trial))}


def findings(connection: Connection, uuid: str, kind: records.FindingKind | None) -> list[records.Finding]:
    """What was found out about a study, oldest first."""
    found = select(FindingRow).where(FindingRow.study_id == study_id(connection, uuid)).order_by(FindingRow.id)
    wanted = found if kind is None else found.where(FindingRow.kind == kind)
    return [rows.finding(row) for row in connection.execute(wanted)]


def study_id(connection: Connection, uuid: str) -> int:
    """The id of a study's row."""
    found = connection.scalars(select(StudyRow.id).where(StudyRow.uuid == uuid)).one_or_none()
    if found is None:
        raise no_study(connection, uuid)
    return found


def no_study(connection: Connection, uuid: str) -> StoreError:
    """The error of an unknown uuid."""
    place = redact(connection.engine.url)
    return StoreError.of((), f"there is no study with the uuid {uuid!r} in {place}", hint="Was it deleted?")


def no_trial(number: int) -> StoreError:
    """The error of an unknown number."""
    return StoreError.of((), f"there is no trial {number} in the study", hint="`foldtune show` lists its trials.")


def _no_partition(repeat: int) -> StoreError:
    return StoreError.of((), f"there is no partition {repeat} in the study")


def _partitions(connection: Connection, *which: ColumnElement[bool]) -> dict[int, tuple[Fold, ...]]:
    found: dict[int, list[Any]] = {}
    for row in connection.execute(select(FoldRow).where(*which).order_by(FoldRow.repeat, FoldRow.fold)):
        found.setdefault(row.repeat, []).append(row)
    return {repeat: rows.partition(folds) for repeat, folds in found.items()}


_AT_ONCE = 1000
"""Numbers in one question; databases bound how many."""

_POINTS = select(CurveRow.trial, CurveRow.epoch, CurveRow.mean).where(CurveRow.repeat == 0)


def _means(connection: Connection, points: Select[int, int, float]) -> Means:
    found: Means = {}
    for number, epoch, mean in connection.execute(points.order_by(CurveRow.trial, CurveRow.epoch)):
        found.setdefault(number, {})[epoch] = mean
    return found


def _trial(connection: Connection, uuid: str, number: int) -> Any:
    key = (TrialRow.study_id == study_id(connection, uuid), TrialRow.number == number)
    row = connection.execute(select(TrialRow).where(*key)).one_or_none()
    if row is None:
        raise no_trial(number)
    return row


def _unknown(connection: Connection, name: str) -> StoreError:
    names = connection.scalars(select(StudyRow.name).order_by(StudyRow.name)).all()
    known = f"It holds {', '.join(names)}." if names else "It holds none yet."
    hint = " ".join(filter(None, (nearest(name, names), known)))
    return StoreError.of((), f"there is no study {name!r} in {redact(connection.engine.url)}", hint=hint)


def _summary(study: Row[Any], states: dict[TrialState, tuple[int, float, float]]) -> StudySummary:
    if not study.directions:
        rule = "a stored study must have a direction for each objective"
        raise StoreError.of(("foldtune_studies", "directions"), rule, "none", DAMAGED)
    _, lowest, highest = states.get("complete", (0, float("nan"), float("nan")))
    best = lowest if study.directions[0] == "minimize" else highest
    search = study.spec.get("search")
    return StudySummary(
        name=study.name,
        created_at=study.created_at,
        trials={state: states[state][0] if state in states else 0 for state in get_args(TrialState)},
        best=best if best == best and len(study.directions) == 1 else None,
        directions=tuple(study.directions),
        budget=search.get("trials") if isinstance(search, dict) else None,
    )
