"""Records to the columns of our tables, and back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from foldtune.errors import StoreError
from foldtune.store.codec import DAMAGED
from foldtune.store.records import Curves, Finding, Kept, Place, RepeatRecord, StudyRecord, TrialRecord
from foldtune.values import EpochReport, Failure, Floats, Fold, OutOfFold, Rows

_TRIALS = "foldtune_trials"
_DTYPES = {"logits": np.float16, "label logits": np.float16, "values": np.float32, "losses": np.float32}


def study_columns(study: StudyRecord) -> dict[str, Any]:
    """A study's columns, its folds apart."""
    return {field.name: getattr(study, field.name) for field in fields(study) if field.name != "folds"}


def fold_columns(repeat: int, folds: Sequence[Fold]) -> list[dict[str, Any]]:
    """The columns of a partition's folds, the study apart."""
    return [
        {"repeat": repeat, "fold": number, "train": fold.train, "valid": fold.valid}
        for number, fold in enumerate(folds)
    ]


def partition(folds: Sequence[Any]) -> tuple[Fold, ...]:
    """The partition of the rows of its folds, in order."""
    for fold in folds:
        if not (len(fold.train) and len(fold.valid)):
            rule, found = "a stored fold must have rows of both kinds", f"{len(fold.train)} and {len(fold.valid)}"
            raise StoreError.of(("foldtune_folds", "train"), rule, found, DAMAGED)
    return tuple(Fold(fold.train, fold.valid) for fold in folds)


def study_record(row: Any, folds: Sequence[Any]) -> StudyRecord:
    """The study of a row of `foldtune_studies` and its folds' rows, in order."""
    columns = {field.name: getattr(row, field.name) for field in fields(StudyRecord) if field.name != "folds"}
    tuples: dict[str, Any] = {name: tuple(columns[name]) for name in ("objectives", "directions", "metrics")}
    n_objectives = len(tuples["objectives"])
    if not n_objectives or n_objectives != len(tuples["directions"]) or n_objectives > len(tuples["metrics"]):
        rule = "a stored study must have objectives, a direction for each, and a metric for each"
        found = ", ".join(f"{len(tuples[name])} {name}" for name in tuples)
        raise StoreError.of(("foldtune_studies", "objectives"), rule, found, DAMAGED)
    return StudyRecord(**columns | tuples | {"folds": partition(folds)})


def trial_columns(trial: TrialRecord) -> dict[str, Any]:
    """What a trial's row says of it, the study, number, lease and tick apart."""
    columns = {name: getattr(trial, name) for name in _TRIAL if name not in ("number", "lease")}
    return columns | {
        "value": trial.values[0] if trial.values else None,
        "objective_values": trial.values,
        "failure": _failure_columns(trial.failure),
    }


def trial_record(row: Any) -> TrialRecord:
    """The trial of a row of `foldtune_trials`."""
    columns = row._mapping
    values = columns["objective_values"]
    if values == []:
        raise StoreError.of((_TRIALS, "objective_values"), "stored values must be those of objectives", "none", DAMAGED)
    _check_shapes(_TRIALS, columns["scores"], columns["chosen"])
    return TrialRecord(
        values=None if values is None else tuple(values),
        **{name: columns[name] for name in _TRIAL} | {"failure": _failure(columns["failure"])},
    )


def repeat_columns(repeat: RepeatRecord) -> dict[str, Any]:
    """A repeat's columns, the study apart."""
    columns = {name: getattr(repeat, name) for name in _REPEAT}
    return columns | {"failure": _failure_columns(repeat.failure)}


def repeat_record(row: Any) -> RepeatRecord:
    """The repeat of a row of `foldtune_repeats`."""
    _check_shapes("foldtune_repeats", row.scores, row.chosen)
    return RepeatRecord(**{name: getattr(row, name) for name in _REPEAT} | {"failure": _failure(row.failure)})


def _check_shapes(table: str, scores: Floats | None, chosen: Rows | None) -> None:
    """Refuse scores without a metric, and those of other folds than the chosen epochs'."""
    if scores is not None and not (scores.size and chosen is not None and len(chosen) == len(scores)):
        rule = "stored scores must be of one metric or more, at a chosen epoch of each fold"
        found = f"shape {scores.shape}, {'no' if chosen is None else len(chosen)} epochs"
        raise StoreError.of((table, "scores"), rule, found, DAMAGED)


def answers_columns(kept: Kept) -> dict[str, Any]:
    """The columns of a trial's answers, the study apart."""
    of = kept.out_of_fold
    return {"trial": kept.trial, "repeat": kept.repeat, "kind": of.kind, "epochs": of.epochs, "answers": of.answers}


def out_of_fold(row: Any, folds: Sequence[Fold]) -> OutOfFold:
    """The answers of a row of `foldtune_answers`.

    Args:
        row: the row.
        folds: of its partition.

    Raises:
        StoreError: they are not one for each validation row, or not of their kind.
    """
    found = OutOfFold(row.kind, row.answers, row.epochs)
    n_rows, width = sum(len(fold.valid) for fold in folds), found.answers.shape[1]
    whole = found.answers.shape[0] == n_rows and (width == 1 if found.kind == "losses" else width > 0)
    if not whole or found.answers.dtype != _DTYPES[found.kind] or found.epochs.shape != (len(folds),):
        place = ("foldtune_answers", "trial", row.trial, "repeat", row.repeat)
        rule = f"stored {found.kind} must be {np.dtype(_DTYPES[found.kind])} for {n_rows} rows of {len(folds)} folds"
        shown = f"{found.answers.dtype} {found.answers.shape} of {found.epochs.shape}"
        raise StoreError.of(place, rule, shown, DAMAGED)
    return found


def finding_columns(finding: Finding) -> dict[str, Any]:
    """A finding's columns, the study apart."""
    return {field.name: getattr(finding, field.name) for field in fields(Finding)}


def finding(row: Any) -> Finding:
    """The finding of a row of `foldtune_findings`."""
    return Finding(row.kind, row.trial, row.content, row.tick, row.created_at)


def place(row: Any) -> Place:
    """Where the search loop of a row of `foldtune_leases` runs."""
    return Place(row.host, row.namespace, row.boot, row.pid, row.started)


def curve_columns(report: EpochReport) -> dict[str, Any]:
    """An epoch's columns, its study apart."""
    return {
        "trial": report.trial,
        "repeat": report.repeat,
        "epoch": report.epoch,
        "mean": mean(report.scores[:, 0].tolist()),
        "losses": report.losses.tolist(),
        "scores": report.scores.tolist(),
    }


def curves(rows: Sequence[Any], n_folds: int, n_metrics: int) -> Curves:
    """The curves of a trial's rows, which come by epoch.

    Raises:
        StoreError: rows are missing, or folds or metrics in them.
    """
    epochs = [row.epoch for row in rows]
    n_epochs = len(epochs)
    losses = _array([row.losses for row in rows], (n_epochs, n_folds))
    scores = _array([row.scores for row in rows], (n_epochs, n_folds, n_metrics))
    if losses is None or scores is None or epochs != list(range(1, n_epochs + 1)):
        rule = f"a stored curve must have every epoch, and {n_folds} folds and {n_metrics} metrics in each"
        hint = "Rows were deleted, or another program wrote some: restore a copy."
        raise StoreError.of((), rule, f"{n_epochs} rows", hint)
    return Curves(np.array(epochs, dtype=np.int64), losses, scores)


def mean(values: Sequence[float]) -> float:
    """The mean over folds, exactly rounded: the order of the folds cannot change it."""
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):  # a sum beyond the largest double; infinities of both signs
        return sum(value / len(values) for value in values)


def _array(nested: list[Any], shape: tuple[int, ...]) -> Floats | None:
    """Nested lists of that shape as an array; None for any other."""
    try:
        array = np.array(nested)
    except ValueError:
        return None
    if nested and (array.shape != shape or array.dtype.kind not in "fi"):
        return None
    return array.astype(np.float64).reshape(shape)


def _failure_columns(failure: Failure | None) -> dict[str, str] | None:
    return asdict(failure) if failure else None


def _failure(tree: dict[str, Any] | None) -> Failure | None:
    return Failure(**tree) if tree else None


_TRIAL = tuple(field.name for field in fields(TrialRecord) if field.name != "values")
_REPEAT = tuple(field.name for field in fields(RepeatRecord))
