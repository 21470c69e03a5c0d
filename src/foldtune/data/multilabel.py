"""Folds among which each of several labels is spread evenly."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldtune.data.numbered import check_n_splits, rows_of_each
from foldtune.values import Floats, Rows


class MultilabelStratifiedKFold:
    """Stratified folds for rows with several labels each: targets of 0 and 1.

    Rows of the label with the fewest rows left are dealt first, each to the fold that lacks that label most.

    Args:
        n_splits: number of folds, at least 2.
        random_state: seed of the order of the rows and of ties.

    Source: Sechidis, Tsoumakas, Vlahavas, On the stratification of multi-label data (ECML PKDD 2011), algorithm 1;
    called as in the package iterative-stratification, but always shuffled.

    Example:
        >>> y = np.array([[1, 0], [1, 1], [0, 1], [0, 0]] * 2)
        >>> folds = MultilabelStratifiedKFold(2, random_state=0).split(y, y)
        >>> [y[valid].sum(axis=0).tolist() for _, valid in folds]
        [[2, 2], [2, 2]]
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
            y: 0 or 1, shape (N,) or (N, T).
            groups: ignored.

        Raises:
            ValueError: a target is neither 0 nor 1.
        """
        targets = np.asarray(y).reshape(len(np.asarray(y)), -1)
        if other := sorted(set(np.unique(targets).tolist()) - {0, 1})[:3]:
            raise ValueError(f"targets of several labels are 0 or 1, not {', '.join(map(str, other))}")
        # RandomState and not a Generator: its numbers never change between NumPy versions.
        fold_of = _deal(targets == 1, self.n_splits, np.random.RandomState(self.random_state))
        yield from rows_of_each(fold_of, self.n_splits)


def _deal(
    labels: NDArray[np.bool_],  # (N, T)
    k: int,
    random: np.random.RandomState,
) -> Rows:  # the fold of each row, (N,)
    room = np.full(k, len(labels) / k)
    wanted = np.tile(labels.sum(axis=0) / k, (k, 1))  # (k, T)
    fold_of = np.full(len(labels), -1, dtype=np.int64)
    order = random.permutation(len(labels))
    while (counts := labels[fold_of < 0].sum(axis=0)).any():
        label = int(np.where(counts > 0, counts, len(labels) + 1).argmin())
        for row in order[labels[order, label] & (fold_of[order] < 0)]:
            fold_of[row] = fold = _most(wanted[:, label], room, random)
            wanted[fold] -= labels[row]
            room[fold] -= 1
    for row in order[fold_of[order] < 0]:
        fold_of[row] = fold = _most(room, room, random)
        room[fold] -= 1
    return fold_of


def _most(first: Floats, second: Floats, random: np.random.RandomState) -> int:
    """The place of the largest of `first`; of equals, of `second`; of these, any."""
    best = np.flatnonzero(first == first.max())
    best = best[second[best] == second[best].max()]
    return int(best[random.randint(len(best))])
