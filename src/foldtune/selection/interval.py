"""The interval of a score that nothing was selected by: the locked test's."""

import numpy as np

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
