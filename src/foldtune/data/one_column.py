"""How much of the target one column tells by itself, without any model of foldtune's."""

from collections.abc import Iterator, Sequence
from functools import reduce
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldtune.data.dataset import Dataset
from foldtune.values import Floats, Fold, Rows

CELLS = 2_000_000
"""Cells that are looked at: of larger tables evenly spaced rows, but 1,000 of each side of a fold at the least."""

_LEAST_ROWS = 1_000
_LEAST_VALID = 20
_LEAST_JUDGED = 30
_FOLDS = 5
_LEAVES = 64


def told_by_each(dataset: Dataset, folds: Sequence[Fold], enough: float = -np.inf) -> Floats:
    """The share of the error without any column that each column alone takes away.

    A rule of one column, a tree for numbers and a table for categories, is fitted on a fold's training rows and judged
    on its validation rows: for classes by its wrong answers, two standard errors of their number added, beside those of
    always answering the most frequent class; for numbers by R² of the targets' ranks; of several targets or labels the
    best. So 1 is a copy of the target, in whatever units or codes, and a column without news is at 0 or below.

    Args:
        dataset: N rows.
        folds: the study's; five of them are used, several as one where they validate few rows.
        enough: columns below it on the first fold are not looked at further.

    Returns:
        Shape (F + Q,), columns in the order of `column_names`; -inf where fewer than 30 rows can be judged.
    """
    target = _ranks(dataset.target) if dataset.task == "regression" else dataset.target.reshape(dataset.n_rows, -1)
    width = int(np.prod(dataset.numeric.shape[1:])) + dataset.categorical.shape[1]
    chosen = [_thinned(fold, width) for fold in _bundled(folds)]
    if sum(len(fold.valid) for fold in chosen) < _LEAST_JUDGED:
        return np.full(width, -np.inf)
    found = (
        max(_told(column, is_label, each, chosen, enough) for each in target.T)
        for column, is_label in columns(dataset.numeric, dataset.categorical)
    )
    return np.fromiter(found, dtype=np.float64, count=width)


def column_names(dataset: Dataset) -> list[str]:
    """What columns are called; features of arrays by their place, from 0."""
    numbered = [f"feature {place}" for place in range(int(np.prod(dataset.numeric.shape[1:])))]
    return [*(dataset.numeric_names or numbered), *dataset.categorical_names]


def columns(numeric: Floats, categorical: NDArray[np.object_]) -> Iterator[tuple[Floats, bool]]:
    """Each column as numbers, (N,), and whether these are codes of categories; NaN where missing."""
    for numbers in numeric.reshape(len(numeric), -1).T:
        yield numbers, False
    for texts in categorical.T:
        codes = pd.factorize(texts)[0].astype(np.float64)
        yield np.where(codes < 0, np.nan, codes), True


def _bundled(folds: Sequence[Fold]) -> list[Fold]:
    """At most five folds; a few taken together, rows trained on in all of them, where one validates next to nothing."""
    valid = float(np.mean([len(fold.valid) for fold in folds]))
    size = ceil(_LEAST_VALID / valid) if valid < _LEAST_VALID else 1
    starts = range(0, min(len(folds), size * _FOLDS), size)
    return [fold for start in starts if len((fold := _together(folds[start : start + size])).train)]


def _together(folds: Sequence[Fold]) -> Fold:
    train = reduce(np.intersect1d, [fold.train for fold in folds])
    return Fold(train, np.unique(np.concatenate([fold.valid for fold in folds])))


def _thinned(fold: Fold, width: int) -> Fold:
    most = max(_LEAST_ROWS, CELLS // max(1, width))
    return Fold(*(rows[:: ceil(len(rows) / most)] for rows in (fold.train, fold.valid)))


def _ranks(target: Floats) -> Floats:
    """Targets as ranks, equal ones alike: what remains of a copy in other units."""
    return np.stack([np.unique(column, return_inverse=True)[1].astype(np.float64) for column in target.T], axis=1)


def _told(column: Floats, is_label: bool, target: NDArray[Any], folds: Sequence[Fold], enough: float) -> float:
    wrong = usual = 0.0
    told = -np.inf
    for fold in folds:
        rule = _table if is_label else _tree
        truth = target[fold.valid]
        wrong += _error(truth, rule(column, target, fold))
        usual += _error(truth, _centre(target[fold.train]))
        doubt = 2 * wrong**0.5 if target.dtype.kind == "i" else 0
        told = 1 - (wrong + doubt) / usual if usual else -np.inf
        if told < enough:
            break
    return told


def _error(truth: NDArray[Any], answers: Any) -> float:
    if truth.dtype.kind == "i":
        return float((truth != answers).sum())
    return float(((truth - answers) ** 2).sum())


def _centre(target: NDArray[Any]) -> Any:
    """What is answered without any column: the most frequent class, or the mean."""
    return np.bincount(target).argmax() if target.dtype.kind == "i" else target.mean()


def _tree(column: Floats, target: NDArray[Any], fold: Fold) -> NDArray[Any]:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if target.dtype.kind == "i" else DecisionTreeRegressor
    tree = kind(max_leaf_nodes=_LEAVES, random_state=0).fit(column[fold.train, None], target[fold.train])
    answers: NDArray[Any] = tree.predict(column[fold.valid, None])
    return answers


def _table(column: Floats, target: NDArray[Any], fold: Fold) -> NDArray[Any]:
    codes: Rows = np.where(np.isnan(column), 0, column + 1).astype(np.int64)
    size = int(codes.max()) + 1
    train, rows = codes[fold.train], target[fold.train]
    seen = np.bincount(train, minlength=size)
    if target.dtype.kind == "i":
        counts = np.zeros((size, int(target.max()) + 1), dtype=np.int64)
        np.add.at(counts, (train, rows), 1)
        answers = counts.argmax(axis=1)
    else:
        answers = np.bincount(train, weights=rows, minlength=size) / np.maximum(seen, 1)
    known: NDArray[Any] = np.where(seen > 0, answers, _centre(rows))
    return known[codes[fold.valid]]
