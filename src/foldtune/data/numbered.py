"""Folds by number, as foldtune's own splitters make them."""

from collections.abc import Iterator

import numpy as np

from foldtune.errors import SpecError
from foldtune.values import Rows


def check_n_splits(n_splits: int) -> int:
    """The number of folds.

    Raises:
        SpecError: there are fewer than two.
    """
    if n_splits < 2:
        raise SpecError.of(("validation", "n_splits"), "`n_splits` must be at least 2", n_splits)
    return n_splits


def rows_of_each(
    fold_of: Rows,  # the fold that validates each row, (N,)
    n_splits: int,
) -> Iterator[tuple[Rows, Rows]]:
    """Training and validation rows of each fold, ascending.

    Example:
        >>> [(train.tolist(), valid.tolist()) for train, valid in rows_of_each(np.array([0, 1, 0]), 2)]
        [([1], [0, 2]), ([0, 2], [1])]
    """
    for fold in range(n_splits):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
