"""The winner: the best trials trained again on fresh partitions, and the best of them by the mean of all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foldtune.selection.compare import Comparison, compare
from foldtune.values import Direction, Floats

MOST_FINALISTS = 10
REPEATS = 2
SHARE_OF_ERROR = 0.5
"""Runs that differ by less than this share of the score's standard error are as good as one."""


@dataclass(frozen=True, eq=False)
class Finalist:
    """A confirmed trial.

    Args:
        number: trial number.
        scores: the objective on R partitions of K folds, the shared one first, shape (R, K).
        cost: what `simplest` prefers to be small, such as parameters or latency; None where none is declared.
    """

    number: int
    scores: Floats
    cost: float | None = None

    @property
    def mean(self) -> float:
        """The mean over all partitions, exactly rounded."""
        return math.fsum(self.scores.ravel()) / self.scores.size


@dataclass(frozen=True)
class Confirmation:
    """What confirmation says.

    Args:
        ranked: trial numbers, the winner first.
        means: their means over all partitions.
        alike: how many of them, from the first, are indistinguishable; 1 when the winner stands out.
        run_to_run: standard deviation of a trial's value from one partition and its seeds to another; NaN without
            repeats.
    """

    ranked: tuple[int, ...]
    means: tuple[float, ...]
    alike: int
    run_to_run: float

    @property
    def winner(self) -> int:
        """The trial with the best mean."""
        return self.ranked[0]


def n_finalists(n_trials: int) -> int:
    """How many trials are confirmed: a fifth of a study's, at most 10.

    Example:
        >>> n_finalists(4), n_finalists(20), n_finalists(100)
        (0, 4, 10)
    """
    return min(MOST_FINALISTS, n_trials // 5)


def to_confirm(values: Sequence[tuple[int, float]], direction: Direction, n_trials: int) -> tuple[int, ...]:
    """The trials that get fresh partitions, the best first; the first of equals.

    Args:
        values: number and value of every complete trial.
        direction: whether more is better.
        n_trials: of the study, pruned and failed ones too.

    Example:
        >>> to_confirm([(0, 0.7), (3, 0.9), (4, 0.8)], "maximize", n_trials=10)
        (3, 4)
    """
    sign = -1.0 if direction == "maximize" else 1.0
    ranked = sorted(values, key=lambda one: (sign * one[1], one[0]))
    return tuple(number for number, _ in ranked[: n_finalists(n_trials)])


def confirm(finalists: Sequence[Finalist], direction: Direction, test_share: float) -> Confirmation:
    """Rank confirmed trials by their mean over all partitions, the shared one included.

    Trials are alike from the winner down to the first whose difference from it is more than the corrected standard
    error of that difference.

    Args:
        finalists: at least one, all on the same splits.
        direction: whether more is better.
        test_share: a split's validation rows divided by its training rows.

    Example:
        >>> first = Finalist(3, np.array([[0.9, 0.8], [0.7, 0.8]]))
        >>> second = Finalist(5, np.array([[0.8, 0.8], [0.9, 0.8]]))
        >>> found = confirm([first, second], "maximize", test_share=1.0)
        >>> found.winner, found.alike, round(found.run_to_run, 3)
        (5, 2, 0.075)
    """
    ranked = rank(finalists, direction)
    best, *others = ranked
    alike = 1
    for other in others:
        found = compare(best.scores, other.scores, direction=direction, rope=0.0, test_share=test_share)
        if found.mean > found.error:
            break
        alike += 1
    numbers, means = tuple(one.number for one in ranked), tuple(one.mean for one in ranked)
    return Confirmation(numbers, means, alike, run_to_run(finalists))


def rank(finalists: Sequence[Finalist], direction: Direction) -> list[Finalist]:
    """The best mean first; the first trial of equals."""
    sign = -1.0 if direction == "maximize" else 1.0
    return sorted(finalists, key=lambda one: (sign * one.mean, one.number))


def run_to_run(finalists: Sequence[Finalist]) -> float:
    """How much a trial's value changes with its partition and seeds: the pooled standard deviation over repeats.

    What a partition does to all trials alike is left out, as it changes no ranking.

    Returns:
        NaN for fewer than two finalists or partitions.
    """
    values = np.stack([one.scores.mean(axis=1) for one in finalists])  # (finalists, R)
    freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
    if freedom == 0:
        return math.nan
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return math.sqrt(float((rest**2).sum()) / freedom)


def repeats_help(run_to_run: float, standard_error: float) -> bool:
    """Whether partitions and seeds change values enough for repeats to bring anything.

    The rest of the noise is the rows themselves, which every repeat shares.

    Args:
        run_to_run: see there.
        standard_error: of a trial's value by its rows, one partition's.

    Example:
        >>> repeats_help(0.7, standard_error=0.5), repeats_help(0.3, standard_error=1.0)
        (True, False)
    """
    return run_to_run >= SHARE_OF_ERROR * standard_error


@dataclass(frozen=True)
class Preference:
    """The cheapest trial that is not clearly worse.

    Args:
        number: the trial.
        given_up: by how much its mean is worse than the winner's, at least 0.
        against_best: how it compares with the winner; None when it is the winner.
    """

    number: int
    given_up: float
    against_best: Comparison | None


def simplest(finalists: Sequence[Finalist], *, direction: Direction, rope: float, test_share: float) -> Preference:
    """The smallest declared cost among trials that are, with even odds, not worse than the best by more than `rope`.

    A preference, not a correction: it costs some expected quality.

    Args:
        finalists: at least one, all on the same splits.
        direction: whether more is better.
        rope: differences up to this one count as none.
        test_share: a split's validation rows divided by its training rows.
    """
    best, *others = rank(finalists, direction)
    chosen, found = best, None
    for other in others:
        against = compare(other.scores, best.scores, direction=direction, rope=rope, test_share=test_share)
        if against.worse < 0.5 and _cost(other) < _cost(chosen):
            chosen, found = other, against
    return Preference(chosen.number, abs(chosen.mean - best.mean), found)


def _cost(finalist: Finalist) -> float:
    return math.inf if finalist.cost is None else finalist.cost
