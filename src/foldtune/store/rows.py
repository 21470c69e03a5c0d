"""Records to the columns of our tables, and back."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from foldtune.errors import StoreError
from foldtune.store.records import Curves, StudyRecord, TrialRecord
from foldtune.store.tables import CurveRow, FoldRow, StudyRow, TrialRow
from foldtune.values import EpochReport, Failure, Fold


def study_columns(study: StudyRecord) -> dict[str, Any]:
    """A study's columns, its folds apart."""
    return {field.name: getattr(study, field.name) for field in fields(study) if field.name != "folds"}


def fold_columns(study: StudyRecord) -> list[dict[str, Any]]:
    """The columns of a study's own folds, the study apart."""
    return [
        {"repeat": 0, "fold": number, "train": fold.train, "valid": fold.valid}
        for number, fold in enumerate(study.folds)
    ]


def study_record(row: StudyRow, folds: Sequence[FoldRow]) -> StudyRecord:
    """The study of a row and its folds, in order."""
    columns = {field.name: getattr(row, field.name) for field in fields(StudyRecord) if field.name != "folds"}
    tuples: dict[str, Any] = {name: tuple(columns[name]) for name in ("objectives", "directions", "metrics")}
    return StudyRecord(**columns | tuples | {"folds": tuple(Fold(fold.train, fold.valid) for fold in folds)})


def trial_columns(trial: TrialRecord) -> dict[str, Any]:
    """A trial's columns, its study apart."""
    columns = {field.name: getattr(trial, field.name) for field in fields(trial) if field.name != "values"}
    return columns | {
        "value": trial.values[0] if trial.values else None,
        "objective_values": trial.values,
        "failure": asdict(trial.failure) if trial.failure else None,
    }


def trial_record(row: TrialRow) -> TrialRecord:
    """The trial of a row."""
    columns = {field.name: getattr(row, field.name) for field in fields(TrialRecord) if field.name != "values"}
    values = None if row.objective_values is None else tuple(row.objective_values)
    failure: Any = row.failure
    return TrialRecord(**columns | {"values": values, "failure": Failure(**failure) if failure else None})


def curve_columns(report: EpochReport) -> list[dict[str, Any]]:
    """An epoch's columns, one row per fold, its study apart."""
    return [
        {
            "trial": report.trial,
            "repeat": 0,
            "epoch": report.epoch,
            "fold": fold,
            "loss": float(loss),
            "score": float(scores[0]),
            "metrics": scores.tolist(),
        }
        for fold, (loss, scores) in enumerate(zip(report.losses, report.scores, strict=True))
    ]


def curves(rows: Sequence[CurveRow], n_folds: int, n_metrics: int) -> Curves:
    """The curves of a trial's rows, which come by epoch and fold.

    Raises:
        StoreError: rows are missing.
    """
    starts = rows[::n_folds] if n_folds else []
    keys = [(start.epoch, fold) for start in starts for fold in range(n_folds)]
    if keys != [(row.epoch, row.fold) for row in rows] or any(len(row.metrics) != n_metrics for row in rows):
        hint = "Rows were deleted, or another program wrote some: restore a copy."
        raise StoreError.of((), f"a stored curve must have {n_folds} folds in every epoch", f"{len(rows)} rows", hint)
    return Curves(
        epochs=np.array([row.epoch for row in starts], dtype=np.int64),
        losses=np.array([row.loss for row in rows], dtype=np.float64).reshape(-1, n_folds),
        scores=np.array([row.metrics for row in rows], dtype=np.float64).reshape(-1, n_folds, n_metrics),
    )
