"""Whether one configuration is better than another, by scores on the same splits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from foldtune.errors import DataError
from foldtune.values import Direction, Floats

Verdict = Literal["better", "leaning better", "the same", "leaning the same", "worse", "leaning worse", "cannot tell"]

SURE = 0.95
LEANING = 0.8


@dataclass(frozen=True)
class Comparison:
    """What is known of the first configuration's advantage over the second.

    The advantage is positive when the first is better, whatever the metric's direction. Given the scores it follows
    Student's distribution around `mean`, `error` wide, with `freedom` degrees of freedom.

    Args:
        mean: the advantage.
        error: its corrected standard error.
        freedom: degrees of freedom.
        rope: differences up to this one count as none: half the width of the region of practical equivalence.
        repeats: partitions that the scores are from.
    """

    mean: float
    error: float
    freedom: int
    rope: float
    repeats: int

    @property
    def t(self) -> float:
        """The corrected statistic; infinite where all differences are one number, 0 where they are all 0."""
        if self.error > 0:
            return self.mean / self.error
        return math.copysign(math.inf, self.mean) if self.mean else 0.0

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference."""
        return float(2 * stdtr(self.freedom, -abs(self.t)))

    @property
    def worse(self) -> float:
        """The probability that the first is worse by more than `rope`."""
        return self._below(-self.rope)

    @property
    def same(self) -> float:
        """The probability that they differ by no more than `rope`."""
        return max(0.0, 1.0 - self.worse - self.better)

    @property
    def better(self) -> float:
        """The probability that the first is better by more than `rope`."""
        return 1.0 - self._below(self.rope, inclusive=True)

    @property
    def verdict(self) -> Verdict:
        """In words; a single partition's few scores allow "leaning" at most."""
        return verdict(self.worse, self.same, self.better, at_most_leaning=self.repeats == 1)

    def interval(self, level: float = SURE) -> tuple[float, float]:
        """The advantage's central interval of a probability."""
        half = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.mean - half, self.mean + half

    def _below(self, value: float, inclusive: bool = False) -> float:
        if self.error > 0:
            return float(stdtr(self.freedom, (value - self.mean) / self.error))
        return float(self.mean <= value if inclusive else self.mean < value)


def verdict(worse: float, same: float, better: float, *, at_most_leaning: bool) -> Verdict:
    """Three probabilities in words.

    Example:
        >>> verdict(0.01, 0.03, 0.96, at_most_leaning=True), verdict(0.3, 0.1, 0.6, at_most_leaning=False)
        ('leaning better', 'cannot tell')
    """
    said: tuple[tuple[float, Verdict, Verdict], ...] = (
        (better, "better", "leaning better"),
        (same, "the same", "leaning the same"),
        (worse, "worse", "leaning worse"),
    )
    likely, sure, leaning = max(said, key=lambda one: one[0])
    if likely < LEANING:
        return "cannot tell"
    return sure if likely >= SURE and not at_most_leaning else leaning


def compare(first: Floats, second: Floats, *, direction: Direction, rope: float, test_share: float) -> Comparison:
    """Compare two configurations by their scores on the same splits.

    Scores of one cross-validation share training rows, so their differences vary less than independent ones would: a
    plain paired test of 5 times 5 folds rejects a true "no difference" in 44 of 100 studies, this one in 5.

    Source:
        The corrected resampled t-test: Nadeau and Bengio (2003), Machine Learning 52. The probabilities:
        Corani and Benavoli (2015), Machine Learning 100, the Bayesian correlated t-test, with the same distribution.

    Args:
        first: scores of R partitions of K folds each, shape (R, K).
        second: the other's on the same splits, shape (R, K).
        direction: whether more is better.
        rope: differences up to this one count as none; see `default_rope`.
        test_share: a split's validation rows divided by its training rows: 1 / (K - 1) for K folds.

    Raises:
        DataError: the shapes differ, or there are fewer than 2 scores.

    Example:
        >>> one, other = np.array([[0.90, 0.91, 0.92, 0.89, 0.93]]), np.array([[0.85, 0.88, 0.86, 0.85, 0.87]])
        >>> found = compare(one, other, direction="maximize", rope=0.01, test_share=1 / 4)
        >>> round(found.mean, 3), round(found.t, 2), round(found.better, 3), found.verdict
        (0.048, 5.49, 0.994, 'leaning better')
    """
    if first.shape != second.shape or first.size < 2:
        found = f"{first.shape} and {second.shape}"
        raise DataError.of((), "a comparison needs at least 2 scores of both on the same splits", found)
    difference = (first - second if direction == "maximize" else second - first).ravel()
    freedom = difference.size - 1
    error = math.sqrt(float(difference.var(ddof=1)) * (1 / difference.size + test_share))
    return Comparison(float(difference.mean()), error, freedom, rope, len(first))


def default_rope(direction: Direction, baseline: float) -> float:
    """The difference that counts as none where nobody said: 0.01 of a score, or 2% of a baseline's loss.

    Args:
        direction: whether more is better.
        baseline: the default configuration's value.

    Example:
        >>> default_rope("maximize", 0.8), default_rope("minimize", 0.5)
        (0.01, 0.01)
    """
    return 0.01 if direction == "maximize" else 0.02 * abs(baseline)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values of several comparisons at once, so that one below 0.05 is a false alarm in 5 of 100 studies at most.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return tuple(adjusted[np.argsort(order, kind="stable")].tolist())
