"""What is stored of a study while it is searched."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from sqlalchemy import Connection, Executable, bindparam, delete, insert, select, update

from foldtune.errors import LeaseLostError, Problem, StoreError
from foldtune.store import leases, reading, rows
from foldtune.store.leases import ELSEWHERE, Turn
from foldtune.store.reading import no_trial
from foldtune.store.records import AuditKind, Barrier, Finding, Kept, Lease, RepeatRecord, StudyRecord
from foldtune.store.tables import AnswersRow, CurveRow, FindingRow, FoldRow, RepeatRow, StudyRow, TrialRow
from foldtune.values import EpochReport, Fold


def create_study(connection: Connection, study: StudyRecord, findings: Sequence[Finding] = ()) -> None:
    """Store a new study with its folds, and findings."""
    stored: Any = connection.execute(insert(StudyRow).values(rows.study_columns(study)))
    study_id = stored.inserted_primary_key.id
    _add_folds(connection, study_id, 0, study.folds)
    for finding in findings:
        _add_finding(connection, study_id, finding)


def taken(name: str) -> Problem:
    """The problem of a study whose name another has."""
    hint = "Give the study another name, or continue the stored one."
    return Problem((), "a study's name must be new in its database", name, hint)


def update_spec(connection: Connection, uuid: str, spec: Mapping[str, Any]) -> None:
    """Replace a study's definition."""
    study_id, tick = leases.lock(connection, uuid)
    connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(spec=spec, tick=tick + 1))


def add_partition(connection: Connection, lease: Lease, repeat: int, folds: Sequence[Fold]) -> None:
    """Store a fresh partition, or find it stored.

    Raises:
        StoreError: another one is stored under its number, or it has no folds.
        LeaseLostError: the lease is gone.
    """
    study_id = leases.check(connection, lease)
    stored = reading.partition(connection, study_id, repeat)
    if repeat < 0 or not folds:
        raise StoreError.of((), "a partition must have a number from 0, and folds", f"{repeat}, {len(folds)} folds")
    if not stored:
        _add_folds(connection, study_id, repeat, folds)
    elif len(stored) != len(folds) or not all(map(_same, stored, folds)):
        hint = "The data, the splitter or its seed have changed since it was stored."
        raise StoreError.of((), "a partition must stay as it was stored", f"partition {repeat}", hint)


def record(turn: Turn, barrier: Barrier) -> None:
    """Store a barrier's points, trials, repeats and answers.

    Raises:
        StoreError: there is no such trial.
        LeaseLostError: a trial belongs to another lease.
    """
    trials = {trial.number: trial for trial in (*barrier.trials, *barrier.asked)}
    reported = {report.trial for report in barrier.reports if not report.repeat}
    own = reported.union(trials, (kept.trial for kept in barrier.kept if not kept.repeat))
    several: tuple[EpochReport | RepeatRecord | Kept, ...] = (*barrier.reports, *barrier.repeats, *barrier.kept)
    _check(turn, own, {each.trial for each in several if each.repeat})
    of = {"study_id": turn.study_id}
    _execute(turn, insert(CurveRow), [{**of, **rows.curve_columns(report)} for report in barrier.reports])
    stamp = {"of": turn.study_id, "tick": turn.tick}
    _execute(turn, _UPDATE, [{**rows.trial_columns(trial), **stamp, "at": trial.number} for trial in trials.values()])
    _execute(turn, _UPDATE, [{**stamp, "at": number} for number in sorted(reported.difference(trials))])
    _replace(turn, RepeatRow, [{**of, **rows.repeat_columns(repeat)} for repeat in barrier.repeats])
    _replace(turn, AnswersRow, [{**of, **rows.answers_columns(kept)} for kept in barrier.kept])


def stored_once(barrier: Barrier) -> Problem:
    """The problem of a barrier that was stored already, by another process perhaps."""
    epochs = (
        f"trial {report.trial}{f' repeat {report.repeat}' if report.repeat else ''} epoch {report.epoch}"
        for report in barrier.reports
    )
    hint = "Another process may be training the same trials."
    return Problem((), "an epoch is stored once, for a stored trial", ", ".join(epochs), hint)


def keep(connection: Connection, uuid: str, finding: Finding) -> None:
    """Store a finding; where another process or try has, or a newer one stands in its place, nothing happens."""
    study_id, _ = leases.lock(connection, uuid)
    alike = (FindingRow.study_id == study_id, FindingRow.kind == finding.kind)
    found = connection.execute(select(FindingRow.tick, FindingRow.content).where(*alike)).all()
    if finding.kind in get_args(AuditKind):
        stands = any(each.content == finding.content for each in found)
    else:
        stands = any(each.tick > finding.tick for each in found)
        if not stands:
            connection.execute(delete(FindingRow).where(*alike))
    if not stands:
        _add_finding(connection, study_id, finding)


def _add_finding(connection: Connection, study_id: int, finding: Finding) -> None:
    connection.execute(insert(FindingRow).values(study_id=study_id, **rows.finding_columns(finding)))


def _add_folds(connection: Connection, study_id: int, repeat: int, folds: Sequence[Fold]) -> None:
    if folds:  # an INSERT without rows would insert one of defaults
        columns = [{"study_id": study_id, **fold} for fold in rows.fold_columns(repeat, folds)]
        connection.execute(insert(FoldRow), columns)


def _same(one: Fold, other: Fold) -> bool:
    return np.array_equal(one.train, other.train) and np.array_equal(one.valid, other.valid)


def _check(turn: Turn, numbers: Collection[int], repeated: Collection[int]) -> None:
    """Refuse trials that are unknown or another lease's; the leading lease may train those of others once more."""
    wanted = sorted({*numbers, *repeated})
    found = turn.connection.execute(_OWNERS, {"of": turn.study_id, "numbers": wanted})
    owners = {number: lease for number, lease in found}
    if unknown := set(wanted).difference(owners):
        raise no_trial(min(unknown))
    foreign = {number for number, lease in owners.items() if lease != turn.token}
    if refused := sorted(foreign.intersection(numbers)):
        rule = "a trial must belong to the lease that writes to it"
        raise _foreign(turn, rule, refused[0], owners[refused[0]])
    if (refused := sorted(foreign.intersection(repeated))) and not turn.leads():
        rule = "a trial must belong to the lease that trains it once more, or that lease be the study's oldest"
        raise _foreign(turn, rule, refused[0], owners[refused[0]])


def _foreign(turn: Turn, rule: str, number: int, owner: int | None) -> LeaseLostError:
    return LeaseLostError.of((), rule, f"trial {number} to lease {owner}, not {turn.token}", ELSEWHERE)


def _replace(turn: Turn, row: type[RepeatRow | AnswersRow], columns: Sequence[Mapping[str, Any]]) -> None:
    """Store rows of trials and repeats in place of those that are there."""
    keys = [{"of": turn.study_id, "at": each["trial"], "number": each["repeat"]} for each in columns]
    key = (row.study_id == bindparam("of"), row.trial == bindparam("at"), row.repeat == bindparam("number"))
    _execute(turn, delete(row).where(*key), keys)
    for each in columns:  # answers are large, and servers take no statement of any length
        turn.connection.execute(insert(row), each)


def _execute(turn: Turn, statement: Executable, columns: Sequence[Mapping[str, Any]]) -> None:
    if columns:  # an INSERT without rows would insert one of defaults
        turn.connection.execute(statement, columns)


_OWNERS = select(TrialRow.number, TrialRow.lease).where(
    TrialRow.study_id == bindparam("of"), TrialRow.number.in_(bindparam("numbers", expanding=True))
)
_UPDATE = update(TrialRow).where(TrialRow.study_id == bindparam("of"), TrialRow.number == bindparam("at"))
