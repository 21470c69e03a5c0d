"""Intervals of scores that nothing was selected by: a locked test's, and nested cross-validation's."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from foldtune.errors import DataError
from foldtune.seeds import derive
from foldtune.selection.bbc import BLOCK_BYTES, DRAWS, LEVEL, percentiles
from foldtune.selection.resampling import Units, draw_counts
from foldtune.selection.scorers import Scorer


def row_interval(
    scorer: Scorer, *, units: Units, seed: int, level: float = LEVEL, draws: int = DRAWS
) -> tuple[float, float]:
    """Where a single model's score lies, by the rows that it happened to be scored on.

    Source:
        The percentile bootstrap: Efron (1979), Annals of Statistics 7.

    Args:
        scorer: the metric with the predictions of one trial, on rows that chose nothing.
        units: what a draw takes as a whole.
        seed: the study's.
        level: such as 0.95.
        draws: B.

    Raises:
        DataError: the metric is defined on no draw.

    Example:
        >>> from foldtune.selection.resampling import row_units
        >>> from foldtune.selection.scorers import RowMeans
        >>> hits = np.repeat([1.0, 0.0], [80, 20])[:, None]
        >>> low, high = row_interval(RowMeans(hits, np.zeros(100, int)), units=row_units(100), seed=0)
        >>> round(low, 2), round(high, 2)
        (0.72, 0.87)
    """
    generator = np.random.default_rng(derive(seed, "interval"))
    block = max(1, BLOCK_BYTES // (8 * len(units.of_row)))
    parts = [
        scorer.every(draw_counts(units, min(block, draws - start), generator))[:, 0] for start in range(0, draws, block)
    ]
    scores = np.concatenate(parts)
    scores = scores[np.isfinite(scores)]
    if len(scores) == 0:
        raise DataError.of((), "a metric must be defined on some draw of the rows", "none")
    return percentiles(scores, level)


def fold_interval(scores: Sequence[float], test_share: float, level: float = LEVEL) -> tuple[float, float]:
    """Where the mean over outer folds lies, by how much these differ: in rows, in training rows and in their searches.

    Outer folds share training rows, so their scores vary less than independent ones would; the corrected error allows
    for that.

    Source:
        Nadeau and Bengio (2003), Machine Learning 52, the corrected resampled t interval.

    Args:
        scores: of the J outer folds, J at least 2.
        test_share: a fold's scored rows divided by its training rows: 1 / (J - 1).
        level: such as 0.95.

    Example:
        >>> low, high = fold_interval([0.50, 0.55, 0.45, 0.52, 0.48], test_share=1 / 4)
        >>> round(low, 3), round(high, 3)
        (0.429, 0.571)
    """
    error = math.sqrt(float(np.var(scores, ddof=1)) * (1 / len(scores) + test_share))
    half = float(stdtrit(len(scores) - 1, (1 + level) / 2)) * error
    mean = math.fsum(scores) / len(scores)
    return mean - half, mean + half
