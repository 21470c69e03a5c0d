"""Scores of many trials on many draws of rows: by matrix products where a metric is a mean over rows, else one by one.

A draw is given as how often it takes each row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldtune.errors import DataError
from foldtune.values import Floats, Rows

ScoreRows = Callable[[Rows, Rows], Floats]
"""`score(rows, trials)`: scores of t trials, by their columns, on rows that may repeat, (n,) and (t,) to (t,).

NaN where the metric is not defined, as the area under a curve is not for rows of one class.
"""


class Scorer(Protocol):
    """A metric with the out-of-fold predictions of C trials for N rows."""

    def every(self, counts: Floats) -> Floats:
        """The scores of all trials on B draws, (B, N) to (B, C); NaN where there is none."""

    def one(self, counts: Floats, chosen: Rows) -> Floats:
        """The score of one trial on each of B draws, (B, N) and (B,) to (B,); NaN where there is none."""


@dataclass(frozen=True, eq=False)
class RowMeans:
    """A metric that is a function of means over a fold's rows, averaged over folds as a trial's value is.

    Log loss, squared and absolute error, Brier score and accuracy are such means themselves;
    `root_mean_squared_error` is the square root of one. With several numbers for each row, precision, recall, F1 and
    balanced accuracy follow from the means of hits and class memberships, R² from those of the target, its square and
    the squared error. A fold of which a draw has no rows is left out of that draw.

    Args:
        values: what is averaged, shape (N, C), or (N, C, S) for S numbers of each row; finite.
        fold: the fold that validates each row, shape (N,).
        transform: from means to scores, shape (..., C) to itself or (..., C, S) to (..., C).

    Example:
        >>> means = RowMeans(np.array([[1.0, 0.0], [0.0, 4.0], [3.0, 2.0]]), np.array([0, 0, 1]))
        >>> means.every(np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 0.0]])).tolist()
        [[1.75, 2.0], [0.0, 4.0]]
    """

    values: Floats
    fold: Rows
    transform: Callable[[Floats], Floats] = lambda means: means

    def __post_init__(self) -> None:
        _check_finite(self.values)

    def every(self, counts: Floats) -> Floats:
        parts = [(counts[:, rows], self.values[rows]) for rows in rows_of_folds(self.fold)]
        return self._mean([(np.tensordot(times, values, 1), times) for times, values in parts])

    def one(self, counts: Floats, chosen: Rows) -> Floats:
        parts = [(counts[:, rows], self.values[np.ix_(rows, chosen)]) for rows in rows_of_folds(self.fold)]
        return self._mean([(np.einsum("bn,nb...->b...", times, own), times) for times, own in parts])

    def _mean(self, totals: list[tuple[Floats, Floats]]) -> Floats:
        means = [_ratio(total.T, times.sum(axis=1)).T for total, times in totals]
        return over_folds(self.transform(np.stack(means)))


@dataclass(frozen=True, eq=False)
class BinaryRanking:
    """The area under the receiver operating characteristic of two classes, fold by fold; rows are sorted once.

    A fold of which a draw has one class only is left out of that draw.

    Args:
        scores: each trial's score of the positive class, shape (N, C), finite.
        positive: which rows are of it, shape (N,).
        fold: the fold that validates each row, shape (N,).

    Example:
        >>> positive = np.array([False, False, True, True])
        >>> ranking = BinaryRanking(np.array([[0.1], [0.4], [0.3], [0.9]]), positive, np.zeros(4, int))
        >>> ranking.every(np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 2.0, 0.0]])).tolist()
        [[0.75], [1.0]]
    """

    scores: Floats
    positive: NDArray[np.bool_]
    fold: Rows

    def __post_init__(self) -> None:
        _check_finite(self.scores)

    def every(self, counts: Floats) -> Floats:
        return np.stack([self._areas(counts, trial) for trial in range(self.scores.shape[1])], axis=1)

    def one(self, counts: Floats, chosen: Rows) -> Floats:
        areas = np.empty(len(counts))
        for trial in np.unique(chosen):
            areas[chosen == trial] = self._areas(counts[chosen == trial], trial)
        return areas

    def _areas(self, counts: Floats, trial: int) -> Floats:
        parts = rows_of_folds(self.fold)
        return over_folds(
            np.stack([_areas(counts[:, rows], self.scores[rows, trial], self.positive[rows]) for rows in parts])
        )


@dataclass(frozen=True, eq=False)
class EachDraw:
    """Any other metric, computed anew for every draw.

    Args:
        n_trials: C.
        score: the metric.
    """

    n_trials: int
    score: ScoreRows

    def every(self, counts: Floats) -> Floats:
        trials = np.arange(self.n_trials)
        return np.stack([self._score(times, trials) for times in counts])

    def one(self, counts: Floats, chosen: Rows) -> Floats:
        return np.array([self._score(times, np.array([trial]))[0] for times, trial in zip(counts, chosen, strict=True)])

    def _score(self, times: Floats, trials: Rows) -> Floats:
        rows = np.repeat(np.arange(len(times)), times.astype(np.int64))
        return self.score(rows, trials) if len(rows) else np.full(len(trials), np.nan)


def rows_of_folds(fold: Rows) -> list[Rows]:
    """The rows that each fold validates, by the fold of each row, shape (N,)."""
    return [np.flatnonzero(fold == one) for one in np.unique(fold)]


def over_folds(scores: Floats) -> Floats:
    """The mean along the first axis of those that are defined; NaN where none is.

    Example:
        >>> over_folds(np.array([[1.0, np.nan], [2.0, np.nan]])).tolist()
        [1.5, nan]
    """
    there = ~np.isnan(scores)
    return _ratio(np.where(there, scores, 0.0).sum(axis=0), there.sum(axis=0))


def mean_over_folds(score: ScoreRows, fold: Rows) -> ScoreRows:
    """A metric that compares rows (a rank metric), fold by fold: pooled predictions would mix K models' scales.

    Folds on which a trial has no score are left out of a draw.

    Args:
        score: the metric.
        fold: the fold that validates each row, shape (N,).
    """

    def mean(rows: Rows, trials: Rows) -> Floats:
        parts = [score(rows[fold[rows] == one], trials) for one in np.unique(fold[rows])]
        return over_folds(np.stack(parts))

    return mean


def _areas(counts: Floats, scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """One trial's areas under the curve on B draws of a fold's rows: (B, n), (n,) and (n,) to (B,)."""
    order = np.argsort(scores)
    ordered, negative = scores[order], counts[:, order] * ~positive[order]
    below = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(negative, axis=1)], axis=1)  # (B, n + 1)
    first, last = (np.searchsorted(ordered, scores[positive], side=side) for side in ("left", "right"))
    times = counts[:, positive]
    wins = (times * (below[:, first] + below[:, last])).sum(axis=1) / 2
    return _ratio(wins, times.sum(axis=1) * below[:, -1])


def _check_finite(values: Floats) -> None:
    if not np.isfinite(values).all():
        found = f"{np.argwhere(~np.isfinite(values))[0, :2].tolist()} (row, trial)"
        raise DataError.of((), "every row's number must be finite", found, "Leave failed trials out.")


def _ratio(total: Floats, weight: ArrayLike) -> Floats:
    """Means; NaN where nothing weighs anything."""
    divisor = np.broadcast_to(weight, total.shape)
    means: Floats = np.divide(total, divisor, out=np.full(total.shape, np.nan), where=divisor > 0)
    return means
