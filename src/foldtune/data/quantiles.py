"""Folds whose regression targets are distributed alike."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldtune.data.numbered import check_n_splits, rows_of_each
from foldtune.values import Rows


class QuantileStratifiedKFold:
    """Stratified folds for numbers: rows sorted by target, cut into blocks of `n_splits`, each block dealt at random.

    Each fold so gets one row of every block. Ties are in random order. Several targets are ranked by the mean of
    their standardised values.

    Args:
        n_splits: number of folds, at least 2.
        random_state: seed of the deals.

    Example:
        >>> folds = QuantileStratifiedKFold(2, random_state=0).split([[0]] * 6, [1, 1, 5, 5, 9, 9])
        >>> [sorted([1, 1, 5, 5, 9, 9][row] for row in valid) for _, valid in folds]
        [[1, 5, 9], [1, 5, 9]]
    """

    def __init__(self, n_splits: int = 5, *, random_state: int | None = None) -> None:
        self.n_splits = check_n_splits(n_splits)
        self.random_state = random_state

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """The number of folds."""
        return self.n_splits

    def split(self, X: object, y: ArrayLike, groups: object = None) -> Iterator[tuple[Rows, Rows]]:
        """Training and validation rows of each fold, ascending.

        Args:
            X: ignored.
            y: targets, shape (N,) or (N, T).
            groups: ignored.
        """
        # RandomState and not a Generator: its numbers never change between NumPy versions.
        random = np.random.RandomState(self.random_state)
        order = by_quantile(np.asarray(y, dtype=np.float64), random)
        fold_of = np.empty(len(order), dtype=np.int64)
        for start in range(0, len(order), self.n_splits):
            block = order[start : start + self.n_splits]
            fold_of[block] = random.permutation(self.n_splits)[: len(block)]
        yield from rows_of_each(fold_of, self.n_splits)


def by_quantile(
    y: NDArray[Any],  # (N,) or (N, T)
    random: np.random.RandomState,
) -> Rows:
    """Rows in the order of their target, ties at random; several targets by the mean of their standardised values."""
    values = y.reshape(len(y), -1)
    deviation = values.std(axis=0)
    height = ((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).mean(axis=1)
    shuffled = random.permutation(len(y))
    return shuffled[np.argsort(height[shuffled], kind="stable")]
