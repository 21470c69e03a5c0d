"""Metrics that the folds make meaningless: an AUC of one row, an R² of one value."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch

from foldtune.data.dataset import Dataset
from foldtune.data.source import listed
from foldtune.errors import Path, Problem
from foldtune.metrics import Metric
from foldtune.values import Floats, Fold, Rows

SAME = 1e-9
"""Relative difference up to which a mean of single rows' scores is the score of them all; float64 sums differ less."""

_OF_SINGLE_ROWS = "Choose a metric that is a mean over rows, such as log_loss, or another splitter."
_OF_FOLDS = "Choose another metric, or a splitter that gives every fold what it needs."

_PROBES = 200
_SHARE = 0.547  # of rows in the order of their targets: classes are then of different sizes, whatever they were


def metric_problems(
    metrics: Sequence[tuple[Metric, Path]], dataset: Dataset, folds: Sequence[Fold], name: str
) -> list[Problem]:
    """Why metrics cannot be averaged over these folds.

    Each is computed for made-up predictions of the folds' validation rows, once for every kind of fold. A metric that
    is NaN for some has nothing to say of them. Where every fold has one row, as with `LeaveOneOut`, a metric must be a
    mean over rows: the mean of F1 scores of single rows is no F1 score.

    Args:
        metrics: with their places in the study file.
        dataset: the development rows.
        folds: their partition.
        name: the splitter's, for messages.
    """
    kinds = list(_kinds(dataset, folds))
    single = max(len(fold.valid) for fold in folds) == 1
    found = []
    for metric, path in metrics:
        undefined = next((where for fold, where in kinds if _is_undefined(metric, dataset, fold)), None)
        if undefined is not None:
            rule = f"`{metric.label}` must be defined on the validation rows of every fold that `{name}` gives"
            found.append(Problem(path, rule, undefined, _OF_SINGLE_ROWS if single else _OF_FOLDS))
        elif single and not _is_mean_over_rows(metric, dataset):
            rule = f"`{name}` validates one row at a time, and the mean of `{metric.label}` over single rows is "
            rule += f"another number than `{metric.label}`"
            found.append(Problem(path, rule, hint="Choose a metric that is a mean over rows, or another splitter."))
    return found


def _is_undefined(metric: Metric, dataset: Dataset, fold: Fold) -> bool:
    return bool(np.isnan(_score(metric, dataset, fold.valid, _guess(dataset, fold.valid))))


def _kinds(dataset: Dataset, folds: Sequence[Fold]) -> Iterator[tuple[Fold, str]]:
    """One fold of each kind that a metric can tell apart, and what it has."""
    seen: set[tuple[bool, Any]] = set()
    for index, fold in enumerate(folds):
        target = dataset.target[fold.valid]
        if dataset.task == "regression":
            constant = bool((target == target[0]).all())
            kind: tuple[bool, Any] = (len(target) == 1, constant)
            all_of = ", all with the same target" if constant else ""
        else:
            lacking = tuple(known for known, count in dataset.class_counts(fold.valid).items() if not count)
            kind = (len(target) == 1, lacking)
            all_of = f", none of class {listed(lacking, 3)}" if lacking else ""
        if kind not in seen:
            seen.add(kind)
            what = "one row" if len(target) == 1 else f"{len(target)} rows{all_of}"
            yield fold, f"fold {index} has {what}"


def _is_mean_over_rows(metric: Metric, dataset: Dataset) -> bool:
    in_order = np.argsort(dataset.target.reshape(dataset.n_rows, -1)[:, 0], kind="stable")
    rows = in_order[: ceil(_SHARE * dataset.n_rows)]
    rows = rows[:: ceil(len(rows) / _PROBES)]
    guess = _guess(dataset, rows)
    single = [_score(metric, dataset, rows[i : i + 1], guess[i : i + 1]) for i in range(len(rows))]
    return bool(np.isclose(np.mean(single), _score(metric, dataset, rows, guess), rtol=SAME, atol=SAME))


def _score(metric: Metric, dataset: Dataset, rows: Rows, guess: Floats) -> float:
    target = torch.from_numpy(dataset.target[rows])
    return float(metric(target[None], torch.from_numpy(guess)[None], torch.ones(1, len(rows), dtype=torch.bool)))


def _guess(dataset: Dataset, rows: Rows) -> Floats:
    """Predictions that differ from row to row: probabilities, or values of the targets' sign and size."""
    random = np.random.RandomState(0)
    if dataset.task == "classification":
        chances: Floats = random.dirichlet(np.ones(dataset.n_outputs), len(rows))
        return chances
    target = dataset.target[rows]
    if dataset.task == "multilabel":
        each: Floats = random.uniform(size=target.shape)
        return each
    values: Floats = target * random.uniform(0.5, 1.5, target.shape) + 0.1 * np.abs(dataset.target).max()
    return values
