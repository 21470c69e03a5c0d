"""Laws of splitters: what every set of folds must keep. Each function raises AssertionError when it is broken."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.data.dataset import Dataset
from foldtune.data.splitters import folds_fingerprint, make_folds
from foldtune.values import Fold, Rows

Node = Mapping[str, Any] | str | None


def check_rows(folds: Sequence[Fold], n_rows: int) -> None:
    """Training and validation rows are ascending int64, within the data, not empty, and never overlap."""
    assert folds
    for fold in folds:
        for rows in (fold.train, fold.valid):
            assert rows.dtype == np.int64 and rows.ndim == 1 and len(rows)
            assert (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < n_rows
        assert not np.intersect1d(fold.train, fold.valid).size, "a row is on both sides"


def check_partition(folds: Sequence[Fold], n_rows: int, times: int = 1) -> None:
    """Every row is validated exactly `times` times, and trains in every fold in which it is not validated."""
    counts = np.bincount(np.concatenate([fold.valid for fold in folds]), minlength=n_rows)
    assert (counts == times).all(), f"validated {sorted(set(counts.tolist()))} times"
    assert all(len(fold.train) + len(fold.valid) == n_rows for fold in folds)


def check_groups(folds: Sequence[Fold], groups: Rows) -> None:
    """No group has rows on both sides of a fold."""
    for fold in folds:
        shared = np.intersect1d(groups[fold.train], groups[fold.valid])
        assert not shared.size, f"groups {shared.tolist()} are divided"


def check_times(folds: Sequence[Fold], time: NDArray[Any]) -> None:
    """No training row comes after a validation row."""
    for fold in folds:
        assert time[fold.train].max() <= time[fold.valid].min(), "a training row comes after a validation row"


def check_repeatable(dataset: Dataset, validation: Node, seed: int) -> None:
    """The same seed gives the same folds."""
    first, again = (make_folds(dataset, validation, seed) for _ in range(2))
    assert folds_fingerprint(first) == folds_fingerprint(again), "the same seed gave other folds"


def check_seeded(dataset: Dataset, validation: Node, seeds: Sequence[int], shuffles: bool = True) -> None:
    """Other seeds give other folds where the splitter shuffles, and the same ones where it does not."""
    distinct = {folds_fingerprint(make_folds(dataset, validation, seed)) for seed in seeds}
    if shuffles:
        assert len(distinct) > 1, "all seeds gave the same folds"
    else:
        assert len(distinct) == 1, "the seed changed folds that are not shuffled"
