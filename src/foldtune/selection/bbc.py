"""Bootstrap bias-corrected cross-validation: the winner's score without the luck of having been chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foldtune.errors import DataError
from foldtune.seeds import derive
from foldtune.selection.gains import Alignment
from foldtune.selection.resampling import Units, draw_counts
from foldtune.selection.scorers import Scorer
from foldtune.values import Direction, Floats, Rows

DRAWS = 1000
LEVEL = 0.95
BLOCK_BYTES = 2**25
"""Memory of one array of (draws, N) at a time; about five of them live at once, beside the predictions."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The C trials that the winner was chosen from, pruned ones too; failed ones have no predictions.

    Args:
        numbers: trial numbers, shape (C,).
        complete: which were trained to their end, shape (C,).
        alignment: what makes of their scores those of their ends; see `align`.
    """

    numbers: Rows
    complete: NDArray[np.bool_]
    alignment: Alignment


@dataclass(frozen=True, eq=False)
class Corrected:
    """The winner's score, corrected for selection.

    Args:
        naive: the best complete trial's own score, on the rows that chose it.
        score: the correction: the mean over draws.
        draws: out-of-bag scores of each draw's own winner, shape (B,); draws without one are left out.
        direction: whether more is better.
        gains: by how much each draw's winner is better than the baseline on the same rows, positive when it is; shape
            (B,), NaN left out; empty without a baseline.
    """

    naive: float
    score: float
    draws: Floats
    direction: Direction
    gains: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def optimism(self) -> float:
        """By how much the naive score looks better than the corrected one; positive when it flatters."""
        return self.naive - self.score if self.direction == "maximize" else self.score - self.naive

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The percentile interval: about half as wide again as a normal one, and the one that covered in every test."""
        return percentiles(self.draws, level)


def percentiles(draws: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The central interval of a probability."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def correct(
    scorer: Scorer,
    candidates: Candidates,
    *,
    units: Units,
    direction: Direction,
    seed: int,
    draws: int = DRAWS,
    baseline: int | None = None,
) -> Corrected:
    """Estimate what the chosen configuration scores on new rows, by repeating the choice on bootstrapped rows.

    Every draw chooses the best trial on the rows that it takes, and scores it on those that it leaves. Nothing is
    trained. It repairs the optimism of *choosing*; a sampler that built later trials from earlier scores has more.

    Source:
        Tsamardinos, Greasidou and Borboudakis (2018), Machine Learning 107, BBC-CV. Pruned
        trials, whole units and strata are additions, and ties are broken at random.

    Args:
        scorer: the metric with all trials' out-of-fold predictions on the shared partition, confirmation runs left out.
        candidates: the trials, in the order of the scorer's columns.
        units: what a draw takes or leaves as a whole.
        direction: whether more is better.
        seed: the study's; the order of the trials does not matter.
        draws: B. Time is that of B times N times C multiplications where the metric is a mean over rows; memory is
            some five times `BLOCK_BYTES` (160 MiB in all), however many draws, beside the predictions.
        baseline: column of a trial that each draw's winner is compared with, on the rows that chose neither.

    Raises:
        DataError: no trial is complete, or no draw leaves rows on which the metric is defined.

    Example:
        >>> from foldtune.selection.gains import unaligned
        >>> from foldtune.selection.resampling import row_units
        >>> from foldtune.selection.scorers import RowMeans
        >>> coins = np.random.default_rng(3).integers(0, 2, (200, 100)).astype(float)
        >>> trials = Candidates(np.arange(100), np.ones(100, bool), unaligned(100))
        >>> means = RowMeans(coins, np.arange(200) % 5)
        >>> found = correct(means, trials, units=row_units(200), direction="maximize", seed=0)
        >>> round(found.naive, 2), round(found.score, 2)
        (0.59, 0.5)
    """
    naive = naive_best(scorer, candidates, n_rows=len(units.of_row), direction=direction)
    generator = np.random.default_rng(derive(seed, "bbc"))
    ties = _tie_breakers(candidates.numbers, draws, seed)
    block = max(1, BLOCK_BYTES // (8 * len(units.of_row)))
    parts, gains = [], []
    for start in range(0, draws, block):
        some = ties[start : start + block]
        counts = draw_counts(units, len(some), generator)
        parts.append(out_of_bag(scorer, candidates, counts=counts, direction=direction, ties=some))
        if baseline is not None:
            same = np.full(len(some), baseline)
            gains.append(parts[-1] - _outside(scorer, candidates, counts, same))
    scores = _finite(parts)
    if len(scores) == 0:
        raise DataError.of((), "a draw must leave rows on which the metric is defined", "none did")
    sign = 1.0 if direction == "maximize" else -1.0
    return Corrected(naive, float(scores.mean()), scores, direction, sign * _finite(gains))


def naive_best(scorer: Scorer, candidates: Candidates, *, n_rows: int, direction: Direction) -> float:
    """The best complete trial's score on all rows.

    Raises:
        DataError: no trial is complete.
    """
    if not candidates.complete.any():
        raise DataError.of((), "a score needs at least one complete trial", 0)
    scores = scorer.every(np.ones((1, n_rows)))[0][candidates.complete]
    return float(scores.max() if direction == "maximize" else scores.min())


def out_of_bag(scorer: Scorer, candidates: Candidates, *, counts: Floats, direction: Direction, ties: Floats) -> Floats:
    """Each draw's winner on the rows that the draw leaves.

    Args:
        scorer: the metric with all trials' out-of-fold predictions.
        candidates: the trials.
        counts: how often each draw takes each row, shape (B, N).
        direction: whether more is better.
        ties: of trials with equal scores, the one with the largest number wins, shape (B, C).

    Returns:
        Shape (B,); NaN for a draw that leaves no rows, or has trials without a score.
    """
    inside = candidates.alignment(scorer.every(counts))
    signed = inside if direction == "maximize" else -inside
    best = signed == signed.max(axis=1, keepdims=True)
    chosen = np.where(best, ties, -1.0).argmax(axis=1)
    return np.where(np.isfinite(inside).all(axis=1), _outside(scorer, candidates, counts, chosen), np.nan)


def _outside(scorer: Scorer, candidates: Candidates, counts: Floats, chosen: Rows) -> Floats:
    """Each draw's chosen trial on the rows that the draw leaves, (B,)."""
    return candidates.alignment(scorer.one((counts == 0).astype(np.float64), chosen), chosen)


def _finite(parts: Sequence[Floats]) -> Floats:
    together: Floats = np.concatenate([np.empty(0), *parts])
    finite: Floats = together[np.isfinite(together)]
    return finite


def fold_correction(scores: Floats, direction: Direction) -> float:
    """The optimism of the best of C trials by their fold scores alone: a fallback where no predictions were stored.

    Over-corrects where rows are few.

    Source:
        Tibshirani and Tibshirani (2009), Annals of Applied Statistics 3.

    Args:
        scores: complete trials' scores on each fold, shape (C, K).
        direction: whether more is better.

    Returns:
        At least 0: what the naive score flatters by.

    Example:
        >>> fold_correction(np.array([[0.9, 0.7], [0.5, 0.8]]), "maximize").__round__(6)
        0.05
    """
    signed = scores if direction == "maximize" else -scores
    winner = signed[signed.mean(axis=1).argmax()]
    return float((signed.max(axis=0) - winner).mean())


def _tie_breakers(numbers: Rows, draws: int, seed: int) -> Floats:
    """Numbers in [0, 1) that follow from the trials' own, so that their order changes nothing, shape (B, C)."""
    each = [np.random.default_rng(derive(seed, "bbc", "ties", int(number))).random(draws) for number in numbers]
    return np.stack(each, axis=1)
