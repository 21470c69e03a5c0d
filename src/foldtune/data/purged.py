"""Splitters for rows in time whose labels take time to become known: no training label overlaps a validation label.

A row's label is made in the closed stretch from its time to its label's end: the return of the next five days, say, or
whether a machine fails within a week. A training row is *purged* when its stretch meets those of the validation rows;
an *embargo* drops those training rows, too, that follow soon after.

Source: López de Prado, Advances in Financial Machine Learning (2018), chapter 7; skfolio's `CombinatorialPurgedCV` and
mlfinlab's `PurgedKFold`, which count rows or a share of them where this counts time.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from foldtune.data.numbered import check_n_splits
from foldtune.errors import SpecError
from foldtune.spec.schema import seconds
from foldtune.values import Floats, Rows


class PurgedKFold:
    """K stretches of time, each validated by models of what is before and after it, purged and with an embargo.

    Args:
        n_splits: number of folds, at least 2.
        times: when each row was taken, shape (N,); foldtune fills in the column `data.time`, dates as seconds.
        label_end: when each row's label was known, shape (N,), not before its time; in a study file a column's name.
        label_duration: instead, how long after its time each label is known: in the unit of `times`, or `5d`, `2h`.
        embargo: how long after the last validation label no row is trained on, in the same units.

    Example:
        >>> folds = PurgedKFold(3, times=range(9), label_duration=1, embargo=1).split([[0]] * 9)
        >>> [(train.tolist(), valid.tolist()) for train, valid in folds]
        [([5, 6, 7, 8], [0, 1, 2]), ([0, 1, 8], [3, 4, 5]), ([0, 1, 2, 3, 4], [6, 7, 8])]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        times: ArrayLike,
        label_end: ArrayLike | None = None,
        label_duration: float | str = 0.0,
        embargo: float | str = 0.0,
    ) -> None:
        self.n_splits = check_n_splits(n_splits)
        self.starts, self.ends = _stretches(times, label_end, label_duration)
        self.embargo = _duration(embargo, "embargo")

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """The number of folds."""
        return self.n_splits

    def split(self, X: object, y: object = None, groups: object = None) -> Iterator[tuple[Rows, Rows]]:
        """Training and validation rows of each fold, ascending; the arguments are ignored."""
        for valid in np.array_split(np.argsort(self.starts, kind="stable"), self.n_splits):
            if not len(valid):
                raise ValueError(f"{len(self.starts)} rows cannot make {self.n_splits} folds")
            before = self.ends < self.starts[valid].min()
            after = self.starts > self.ends[valid].max() + self.embargo
            yield np.flatnonzero(before | after), np.sort(valid)


class PurgedTimeSeriesSplit:
    """scikit-learn's `TimeSeriesSplit`, purged: every training label was known before the first validation row.

    Args:
        n_splits: number of folds, at least 2.
        times: when each row was taken, shape (N,); foldtune fills in the column `data.time`, dates as seconds.
        label_end: when each row's label was known, shape (N,), not before its time; in a study file a column's name.
        label_duration: instead, how long after its time each label is known: in the unit of `times`, or `5d`, `2h`.
        gap: time to lie between the last training label and the first validation row, in the same units.
        test_size: validation rows of each fold; default N // (n_splits + 1).
        max_train_size: the last so many training rows only.

    Example:
        >>> folds = PurgedTimeSeriesSplit(2, times=range(9), label_duration=1).split([[0]] * 9)
        >>> [(train.tolist(), valid.tolist()) for train, valid in folds]
        [([0, 1], [3, 4, 5]), ([0, 1, 2, 3, 4], [6, 7, 8])]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        times: ArrayLike,
        label_end: ArrayLike | None = None,
        label_duration: float | str = 0.0,
        gap: float | str = 0.0,
        test_size: int | None = None,
        max_train_size: int | None = None,
    ) -> None:
        self.n_splits = check_n_splits(n_splits)
        self.starts, self.ends = _stretches(times, label_end, label_duration)
        self.gap = _duration(gap, "gap")
        self.test_size, self.max_train_size = test_size, max_train_size

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """The number of folds."""
        return self.n_splits

    def split(self, X: object, y: object = None, groups: object = None) -> Iterator[tuple[Rows, Rows]]:
        """Training and validation rows of each fold, ascending; the arguments are ignored."""
        order = np.argsort(self.starts, kind="stable")
        size = len(order) // (self.n_splits + 1) if self.test_size is None else self.test_size
        first = len(order) - self.n_splits * size
        if size < 1 or first < 1:
            raise ValueError(f"{len(order)} rows cannot make {self.n_splits} folds of {size} rows after the first")
        for start in range(first, len(order), size):
            valid, earlier = order[start : start + size], order[:start]
            train = earlier[self.ends[earlier] + self.gap < self.starts[valid].min()]
            yield np.sort(train[-self.max_train_size :] if self.max_train_size else train), np.sort(valid)


def _stretches(times: ArrayLike, label_end: ArrayLike | None, duration: float | str) -> tuple[Floats, Floats]:
    """When each row's label begins and ends to be made, (N,) each."""
    starts = np.asarray(times, dtype=np.float64)
    if label_end is None:
        return starts, starts + _duration(duration, "label_duration")
    if duration:
        rule = "only one of `label_end` and `label_duration` can be given"
        raise SpecError.of(("validation", "label_duration"), rule, duration)
    ends = np.asarray(label_end, dtype=np.float64)
    if (early := ends < starts).any():
        rule = "a label must not be known before its row's time"
        found = f"{int(early.sum())} of {len(starts)} rows, the first {int(early.argmax())} (counted in order of time)"
        raise SpecError.of(("validation", "label_end"), rule, found)
    return starts, ends


def _duration(value: float | str, name: str) -> float:
    try:
        duration = float(seconds(value))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise SpecError.of(
            ("validation", name), "a time must be a number, or written 30s, 15m, 2h or 1d", value
        ) from error
    if not 0 <= duration < np.inf:
        raise SpecError.of(("validation", name), f"`{name}` must be finite and not negative", value)
    return duration
