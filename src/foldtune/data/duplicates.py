"""Rows with the same inputs, and how many of them stand on both sides of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldtune.data.dataset import Dataset
from foldtune.values import Floats, Fold, Rows

_CHUNK = 4096


@dataclass(frozen=True)
class Repeated:
    """Rows that are scored although their inputs were trained on.

    Args:
        rows: how many; each counted once, whatever the number of folds.
        conflicting: those of them whose twin in training has another target.
        example: one of them and its twin, row numbers; None where there are none.
    """

    rows: int
    conflicting: int
    example: tuple[int, int] | None


def input_ids(numeric: Floats, categorical: NDArray[np.object_]) -> Rows:
    """A number for every row, the same for rows with the same inputs, missing cells included.

    Args:
        numeric: shape (N, *features).
        categorical: shape (N, Q), str or None.

    Returns:
        Shape (N,), counted from 0 in the order of first appearance.

    Example:
        >>> input_ids(np.array([[1.0], [np.nan], [1.0], [np.nan]]), np.empty((4, 0), dtype=object)).tolist()
        [0, 1, 0, 1]
    """
    texts = [pd.factorize(column)[0] for column in categorical.T]
    codes = np.stack(texts, axis=1) if texts else np.empty((len(categorical), 0), dtype=np.int64)
    seen: dict[bytes, int] = {}
    ids = np.empty(len(numeric), dtype=np.int64)
    for start in range(0, len(numeric), _CHUNK):
        some = numeric[start : start + _CHUNK]
        block = some.reshape(len(some), -1) + 0.0  # no negative zero
        block[np.isnan(block)] = np.nan
        for row, (numbers, labels) in enumerate(zip(block, codes[start : start + _CHUNK], strict=True), start):
            key = blake2b(numbers.tobytes() + labels.tobytes(), digest_size=16).digest()
            ids[row] = seen.setdefault(key, len(seen))
    return ids


def repeated_rows(dataset: Dataset, folds: Sequence[Fold]) -> Repeated:
    """Validation rows whose inputs a training row of the same fold has, too.

    Args:
        dataset: N rows.
        folds: their partition.
    """
    ids = input_ids(dataset.numeric, dataset.categorical)
    twins = np.bincount(ids) > 1
    target, conflicting, example = _target_ids(dataset.target), np.zeros(len(ids), dtype=bool), None
    repeated = np.zeros(len(ids), dtype=bool)
    for fold in folds if twins.any() else ():
        train, valid = (rows[twins[ids[rows]]] for rows in (fold.train, fold.valid))
        owner = np.full(len(twins), -1, dtype=np.int64)
        owner[ids[train]] = train
        found = valid[owner[ids[valid]] >= 0]
        repeated[found] = True
        conflicting[found] |= _has_other_target(ids, target, train, found)
        if example is None and len(found):
            example = int(found[0]), int(owner[ids[found[0]]])
    return Repeated(int(repeated.sum()), int(conflicting.sum()), example)


def _has_other_target(ids: Rows, target: Rows, train: Rows, rows: Rows) -> NDArray[np.bool_]:
    """Whether some training row with a row's inputs has another target than it, for each of `rows`."""
    lowest = np.full(ids.max() + 1, np.iinfo(np.int64).max)
    highest = np.full(ids.max() + 1, -1)
    np.minimum.at(lowest, ids[train], target[train])
    np.maximum.at(highest, ids[train], target[train])
    own = ids[rows]
    other: NDArray[np.bool_] = (lowest[own] != target[rows]) | (highest[own] != target[rows])
    return other


def _target_ids(target: NDArray[Any]) -> Rows:
    """A number for every target, equal for equal ones, (N,)."""
    return np.unique(target.reshape(len(target), -1), axis=0, return_inverse=True)[1].reshape(-1)
