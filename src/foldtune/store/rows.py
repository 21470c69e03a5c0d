"""Records to the columns of our tables, and back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from foldtune.errors import StoreError
from foldtune.store.records import Curves, Place, StudyRecord, TrialRecord
from foldtune.values import EpochReport, Failure, Floats, Fold


def study_columns(study: StudyRecord) -> dict[str, Any]:
    """A study's columns, its folds apart."""
    return {field.name: getattr(study, field.name) for field in fields(study) if field.name != "folds"}


def fold_columns(study: StudyRecord) -> list[dict[str, Any]]:
    """The columns of a study's own folds, the study apart."""
    return [
        {"repeat": 0, "fold": number, "train": fold.train, "valid": fold.valid}
        for number, fold in enumerate(study.folds)
    ]


def study_record(row: Any, folds: Sequence[Any]) -> StudyRecord:
    """The study of a row of `foldtune_studies` and its folds' rows, in order."""
    columns = {field.name: getattr(row, field.name) for field in fields(StudyRecord) if field.name != "folds"}
    tuples: dict[str, Any] = {name: tuple(columns[name]) for name in ("objectives", "directions", "metrics")}
    return StudyRecord(**columns | tuples | {"folds": tuple(Fold(fold.train, fold.valid) for fold in folds)})


def trial_columns(trial: TrialRecord) -> dict[str, Any]:
    """What a trial's row says of it, the study, number, lease and tick apart."""
    columns = {name: getattr(trial, name) for name in _TRIAL if name not in ("number", "lease")}
    return columns | {
        "value": trial.values[0] if trial.values else None,
        "objective_values": trial.values,
        "failure": asdict(trial.failure) if trial.failure else None,
    }


def trial_record(row: Any) -> TrialRecord:
    """The trial of a row of `foldtune_trials`."""
    columns = row._mapping
    values, failure = columns["objective_values"], columns["failure"]
    return TrialRecord(
        values=None if values is None else tuple(values),
        **{name: columns[name] for name in _TRIAL} | {"failure": Failure(**failure) if failure else None},
    )


def place(row: Any) -> Place:
    """Where the search loop of a row of `foldtune_leases` runs."""
    return Place(row.host, row.namespace, row.boot, row.pid, row.started)


def curve_columns(report: EpochReport) -> dict[str, Any]:
    """An epoch's columns, its study apart."""
    return {
        "trial": report.trial,
        "repeat": 0,
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
        array = np.array(nested, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    return array.reshape(shape) if not nested or array.shape == shape else None


_TRIAL = tuple(field.name for field in fields(TrialRecord) if field.name != "values")
