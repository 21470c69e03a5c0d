"""Pruned trials on one scale with complete ones: what training on makes of a score, by trials that were trained on.

Without pruned trials a correction sees a fraction of the choice that was made, and repairs a fraction of its optimism.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldtune.selection.resampling import Units, draw_counts
from foldtune.selection.scorers import Scorer
from foldtune.values import Direction, Floats, Rows

DRAWS = 50
"""Bootstrap samples of the rows, for deviations."""

PERFECT = {"maximize": 1.0, "minimize": 0.0}
"""The best score that there is: nothing passes an accuracy, an area or R² of 1, and a loss of 0."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Turns scores of C trials into what they stand for at the trials' ends: `scale * score + shift`.

    Args:
        scale: shape (C,), 1 for complete trials.
        shift: shape (C,), 0 for complete trials.
        low: no aligned score is lower.
        high: none is higher.
    """

    scale: Floats
    shift: Floats
    low: float = -np.inf
    high: float = np.inf

    def __call__(self, scores: Floats, trials: Rows | slice = slice(None)) -> Floats:
        """Aligned scores: (..., C), or one of each draw's own trial, (B,) with their columns, (B,)."""
        aligned: Floats = np.clip(self.scale[trials] * scores + self.shift[trials], self.low, self.high)
        return aligned


def unaligned(n_trials: int) -> Alignment:
    """Where no trial was pruned."""
    return Alignment(np.ones(n_trials), np.zeros(n_trials))


def reference_trials(complete: NDArray[np.bool_], exempt: NDArray[np.bool_]) -> Rows:
    """The trials that alignment is measured on: the exempt ones, as the others were selected for what they gained.

    Args:
        complete: which trials were trained to their end, shape (C,).
        exempt: which were never to be pruned, shape (C,).

    Returns:
        Their columns; all complete ones where none is exempt, which leaves a little optimism.

    Example:
        >>> reference_trials(np.array([True, True, False]), np.array([False, True, True])).tolist()
        [1]
    """
    both = complete & exempt
    return np.flatnonzero(both if both.any() else complete)


def shrinkage(scorer: Scorer, units: Units, reference: Rows, generator: np.random.Generator) -> Floats:
    """The largest deviation of a reference trial's score by its rows, as a share of each trial's.

    Args:
        scorer: the metric of C trials.
        units: what a draw takes as a whole.
        reference: columns of the reference trials.
        generator: of the draws.

    Returns:
        What `align` takes as `shrink`, shape (C,); 1 where a trial's score does not deviate.
    """
    scores = scorer.every(draw_counts(units, DRAWS, generator))
    known = scores[np.isfinite(scores).all(axis=1)]
    deviations = known.std(axis=0) if len(known) else np.zeros(scores.shape[1])
    largest = deviations[reference].max(initial=0.0)
    shares: Floats = np.divide(largest, deviations, out=np.ones(len(deviations)), where=deviations > 0)
    return shares


def align(
    reference: Floats, stopped: Rows, own: Floats, direction: Direction, *, shrink: Floats | float = 1.0
) -> Alignment:
    """What trials would score at their ends, by what the reference trials made of their scores at the same rungs.

    Training on leaves a share of the distance to a perfect score: the median over reference trials. What rows change of
    a score shrinks by the root of it, as a count's deviation does with the count, and further where trials would else
    deviate more at their ends than the reference trials do, as those of squared errors would. A gain that is added
    instead takes poor trials past perfection, as they gain more than good ones; it is added only where scores pass 1,
    or losses 0, themselves.

    On all rows, no trial comes out better than the best of those that were trained to their end: what learns fast early
    has less left to gain than the reference trials had, and a trial that nobody has finished cannot be what was chosen.

    Args:
        reference: scores of R reference trials at T rungs and, last, at their end, shape (R, T + 1).
        stopped: the column that each trial's predictions belong to, shape (C,): T for complete trials.
        own: each trial's score on all rows, shape (C,).
        direction: whether more is better.
        shrink: what a trial's deviation by its rows is to be at most, as a share of what it is, shape (C,).

    Example:
        >>> losses = np.array([[0.8, 0.6, 0.4], [0.4, 0.3, 0.2], [0.9, 0.3, 0.3]])
        >>> own = np.array([0.2, 0.8, 0.3])
        >>> found = align(losses, np.array([2, 0, 1]), own, "minimize")
        >>> found(own).round(6).tolist()
        [0.2, 0.4, 0.2]
    """
    sign, perfect = 1.0 if direction == "maximize" else -1.0, PERFECT[direction]
    if (sign * reference > sign * perfect).any() or (sign * own > sign * perfect).any():
        gains = (reference[:, -1:] - reference).mean(axis=0)
        scale, ends, limits = np.ones(len(own)), own + gains[stopped], (-np.inf, np.inf)
    else:
        share = _shares(np.abs(reference - perfect))[stopped]
        scale = np.where(share == 1, 1.0, np.minimum(np.sqrt(share), shrink))
        ends = np.where(share == 1, own, perfect + share * (own - perfect))
        limits = (-np.inf, perfect) if direction == "maximize" else (perfect, np.inf)
    best = (sign * own[stopped == reference.shape[1] - 1]).max(initial=-np.inf)
    if np.isfinite(best):
        ends = sign * np.minimum(sign * ends, best)
    return Alignment(scale, ends - scale * own, *limits)


def _shares(distance: Floats) -> Floats:
    """What is left at the end of the distance to a perfect score at each rung, (R, T + 1) to (T + 1,)."""
    end = np.broadcast_to(distance[:, -1:], distance.shape)
    left = np.divide(end, distance, out=np.ones(distance.shape), where=distance > 0)
    share: Floats = np.median(left, axis=0)
    return share
