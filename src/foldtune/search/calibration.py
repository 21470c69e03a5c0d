"""Whether the chosen configuration's probabilities, or intervals around its predictions, keep their word."""

from typing import Any

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.search.out_of_fold import Places
from foldtune.selection.answers import predictions
from foldtune.selection.calibrate import LEAST_ROWS, calibrate, residual_quantile
from foldtune.values import Floats, OutOfFold, Rows

LEVEL = 0.9

CLAIM = (
    f"The interval of {LEVEL:.0%} of values usually holds around a model refitted on all rows; there is no guarantee, "
    "and the errors of a chosen configuration are a little too small."
)
NO_EXCHANGE = (
    f"The interval of {LEVEL:.0%} of values holds for rows that were left out; of other groups or later times it "
    "promises nothing."
)


def calibration(dataset: Dataset, where: Places, found: OutOfFold) -> dict[str, Any] | None:
    """What the finding "calibration" says.

    Args:
        dataset: the development rows.
        where: of the answers.
        found: the chosen trial's answers on the shared partition.

    Returns:
        A JSON tree; None where only losses are kept.
    """
    once = where.once
    row, fold = where.row[once], where.fold[once]
    if found.kind in ("logits", "label logits"):
        return _temperature(found.answers[once].astype(np.float64), dataset.target[row], fold)
    if found.kind == "values":
        errors = np.abs(dataset.target[row] - predictions(found)[once])  # (n, T)
        exchangeable = dataset.groups is None and dataset.time is None
        return _intervals(errors, fold, dataset.target_names, exchangeable=exchangeable)
    return None


def _temperature(logits: Floats, target: Rows, fold: Rows) -> dict[str, Any]:
    """One for all of several labels, each row's label being a row of two classes."""
    several = len(np.unique(fold)) > 1
    if target.ndim == 2 and len(target) >= LEAST_ROWS:
        fold = np.repeat(fold, logits.shape[1])
        logits, target = logits.reshape(-1), target.reshape(-1)
    found = calibrate(logits, target, fold) if several else None
    if found is None:
        reason = f"fewer than {LEAST_ROWS} rows" if several else "a single fold"
        return {"kind": "temperature", "temperature": 1.0, "kept": False, "reason": reason}
    return {
        "kind": "temperature",
        "temperature": found.temperature,
        "kept": found.kept,
        "log_loss": list(found.log_loss),
        "error": list(found.error),
        "reason": None if found.kept else "the log loss of rows that it was not fitted on does not improve",
    }


def _intervals(errors: Floats, fold: Rows, names: tuple[str, ...], *, exchangeable: bool) -> dict[str, Any]:
    halves = [residual_quantile(column, LEVEL) for column in errors.T]
    held = [_coverage(column, fold) for column in errors.T]
    return {
        "kind": "interval",
        "level": LEVEL,
        "targets": list(names),
        "half_width": [half if np.isfinite(half) else None for half in halves],
        "coverage": held,
        "claim": CLAIM if exchangeable else NO_EXCHANGE,
    }


def _coverage(errors: Floats, fold: Rows) -> float | None:
    """The share of rows within the other folds' half width; None for a single fold."""
    if len(np.unique(fold)) < 2:
        return None
    inside = [errors[fold == one] <= residual_quantile(errors[fold != one], LEVEL) for one in np.unique(fold)]
    return float(np.concatenate(inside).mean())
