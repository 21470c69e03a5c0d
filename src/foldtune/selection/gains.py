"""Pruned trials on one scale with complete ones: what trials gain, on average, between a rung and their end.

Without pruned trials a correction sees a fraction of the choice that was made, and repairs a fraction of its optimism.
"""

import numpy as np
from numpy.typing import NDArray

from foldtune.values import Floats, Rows


def reference_trials(complete: NDArray[np.bool_], exempt: NDArray[np.bool_]) -> Rows:
    """The trials that gains are measured on: the exempt ones, as the others were selected for what they gained.

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


def aligned_gains(reference: Floats, stopped: Rows) -> Floats:
    """What to add to each trial's score so that it stands for the trial's end.

    Assumes that gains do not depend on the rank at a rung; `alignment_errors` shows how well that holds.

    Args:
        reference: scores of R reference trials at T rungs and, last, at their end, shape (R, T + 1).
        stopped: the column that each trial's predictions belong to, shape (C,): T for complete trials.

    Returns:
        Shape (C,); 0 for complete trials.

    Example:
        >>> aligned_gains(np.array([[0.5, 0.6, 0.8], [0.3, 0.6, 0.6]]), np.array([2, 0, 1])).round(6).tolist()
        [0.0, 0.3, 0.1]
    """
    gains: Floats = (reference[:, -1:] - reference).mean(axis=0)
    return gains[stopped]


def alignment_errors(reference: Floats) -> Floats:
    """How far off, on average, each reference trial's end is when predicted from a rung by the others' gains.

    Args:
        reference: as in `aligned_gains`.

    Returns:
        Mean absolute errors, shape (T,); NaN for a single reference trial, which has no others.

    Example:
        >>> alignment_errors(np.array([[0.5, 0.8], [0.3, 0.7]])).round(6).tolist()
        [0.1]
    """
    gains = reference[:, -1:] - reference[:, :-1]
    if len(gains) < 2:
        return np.full(gains.shape[1], np.nan)
    others = (gains.sum(axis=0) - gains) / (len(gains) - 1)
    errors: Floats = np.abs(gains - others).mean(axis=0)
    return errors
