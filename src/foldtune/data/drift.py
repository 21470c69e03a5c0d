"""Adversarial validation: can a model tell the rows of one file from those of another?

Source: the name is Kaggle's; the test is that of Lopez-Paz and Oquab, Revisiting classifier two-sample tests (2017).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.data.dataset import Dataset
from foldtune.data.one_column import column_names, columns
from foldtune.errors import DataError
from foldtune.seeds import derive
from foldtune.values import Floats, Rows

MOST_ROWS = 2_000
"""Of each side that are compared; of more, as many at random."""

PERMUTATIONS = 999
"""Of the labels of each half; the smallest p-value is then 0.002."""

LEAST_ROWS = 20
"""Of each side, for anything to be said."""

_CANDIDATES = 20
"""Columns that are tried by themselves: those that the trees made most of."""


@dataclass(frozen=True)
class Drift:
    """How well a model tells other rows from the study's own.

    Args:
        auc: cross-validated area under the ROC curve; 0.5: not at all, 1: always.
        p_value: share of random labellings that are told at least as well, the true one counted among them.
        columns: the columns that tell most by themselves, with their own AUC, largest first.
        rows: of the study's own and of the others that were compared.
    """

    auc: float
    p_value: float
    columns: tuple[tuple[str, float], ...]
    rows: tuple[int, int]


def tell_apart(own: Dataset, other: tuple[Floats, NDArray[np.object_]], seed: int, most: int = 5) -> Drift:
    """Compare the inputs of two sets of rows.

    Each half of all rows is told apart by extremely randomised trees that were grown on the other half. Where nothing
    differs, the labels of a half may be exchanged, so permutations give it an exact p-value; twice the smaller of the
    two is the p-value of both. Categories are read as codes, missing cells as they are.

    Args:
        own: N rows; their targets are not looked at.
        other: numbers of M other rows, shape (M, *features), and their texts, shape (M, Q), in the same columns.
        seed: the study's.
        most: how many columns are named.

    Raises:
        DataError: one side has fewer than 20 rows.

    Example:
        >>> rows = np.random.RandomState(0).normal(size=(200, 2))
        >>> own = Dataset(rows, np.empty((200, 0), dtype=object), np.zeros(200), "regression", (), ("a", "b"))
        >>> drift = tell_apart(own, (rows + [0, 3], own.categorical), seed=0)
        >>> drift.p_value, drift.columns[0][0]
        (0.002, 'b')
    """
    if (fewest := min(own.n_rows, len(other[0]))) < LEAST_ROWS:
        raise DataError.of((), f"rows are told apart where there are {LEAST_ROWS} or more of each side", fewest)
    random = np.random.RandomState(derive(seed, "drift"))
    mine, theirs = _some(own.n_rows, random), _some(len(other[0]), random)
    numeric = np.concatenate([own.numeric[mine], other[0][theirs]])
    categorical = np.concatenate([own.categorical[mine], other[1][theirs]])
    inputs = np.stack([column for column, _ in columns(numeric, categorical)], axis=1)
    is_other = np.repeat([False, True], [len(mine), len(theirs)])
    halves = _halves(is_other, random)
    aucs, p_values, importance = [], [], np.zeros(inputs.shape[1])
    for train, test in (halves, halves[::-1]):
        ranks, gains = _ranked(inputs, is_other, train, test, random, trees=100)
        auc, p_value = _permuted(ranks, is_other[test], random)
        aucs.append(auc)
        p_values.append(p_value)
        importance += gains
    candidates = np.argsort(-importance, kind="stable")[:_CANDIDATES]
    alone = {int(place): _alone(inputs[:, place], is_other, halves, random) for place in candidates}
    names = column_names(own)
    named = tuple((names[place], auc) for place, auc in sorted(alone.items(), key=lambda item: -item[1])[:most])
    return Drift(float(np.mean(aucs)), min(1.0, 2 * min(p_values)), named, (len(mine), len(theirs)))


def _some(rows: int, random: np.random.RandomState) -> Rows:
    return np.sort(random.permutation(rows)[:MOST_ROWS])


def _halves(is_other: NDArray[np.bool_], random: np.random.RandomState) -> tuple[Rows, Rows]:
    """All rows in two parts, of each side half."""
    first = np.zeros(len(is_other), dtype=bool)
    for side in (is_other, ~is_other):
        rows = random.permutation(np.flatnonzero(side))
        first[rows[: len(rows) // 2]] = True
    return np.flatnonzero(first), np.flatnonzero(~first)


def _ranked(
    inputs: Floats, is_other: NDArray[np.bool_], train: Rows, test: Rows, random: np.random.RandomState, *, trees: int
) -> tuple[Floats, Floats]:
    """The ranks of how likely each test row is another's, (n,), and what the trees made of each column."""
    from scipy.stats import rankdata
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(trees, min_samples_leaf=5, random_state=random).fit(inputs[train], is_other[train])
    return rankdata(model.predict_proba(inputs[test])[:, 1]), model.feature_importances_


def _alone(column: Floats, is_other: NDArray[np.bool_], halves: tuple[Rows, Rows], random: Any) -> float:
    both = ((train, test) for train, test in (halves, halves[::-1]))
    found = [
        _auc(_ranked(column[:, None], is_other, train, test, random, trees=10)[0], is_other[test])
        for train, test in both
    ]
    return float(np.mean(found))


def _permuted(ranks: Floats, is_other: NDArray[np.bool_], random: np.random.RandomState) -> tuple[float, float]:
    """The AUC, and the share of permutations of the labels with one as large, the true labels counted among them."""
    auc = _auc(ranks, is_other)
    better = sum(_auc(ranks, random.permutation(is_other)) >= auc for _ in range(PERMUTATIONS))
    return auc, (1 + better) / (1 + PERMUTATIONS)


def _auc(ranks: Floats, is_other: NDArray[np.bool_]) -> float:
    """Of two rows, one of either side, how often the other's ranks higher; ties count half."""
    others = int(is_other.sum())
    pairs = others * (len(is_other) - others)
    return float((ranks[is_other].sum() - others * (others + 1) / 2) / pairs)
