"""What foldtune wants to reach, as factors between two contenders of one case."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.timing import CaseResult


@dataclass(frozen=True)
class Goal:
    """At least so many times as fast.

    Args:
        width: the net's; the goal holds for every data set measured with it.
        of: key of the contender that should be fast.
        against: key of the one it is compared with.
        factor: how many times as fast.
    """

    width: int
    of: str
    against: str
    factor: float


GOALS = (
    Goal(64, "packed 2p", "tight", 15.0),
    Goal(64, "run", "tight", 12.0),
    Goal(64, "packed 2p", "fused 2p", 7.0),
    Goal(64, "packed 2p", "skorch", 15.0),
    Goal(64, "packed 2p", "lightning", 22.0),
    Goal(64, "lockstep", "tight", 1.0),
    Goal(256, "packed 2p", "tight", 3.0),
    Goal(256, "packed 2p", "fused 2p", 2.0),
    Goal(1024, "packed 2p", "tight", 0.95),
    Goal(1024, "packed 2p", "fused 2p", 0.95),
)


@dataclass(frozen=True)
class Seen:
    """A goal, a case it holds for, and the factor that was seen."""

    goal: Goal
    result: CaseResult

    @property
    def factor(self) -> float:
        return self.result.factor(self.goal.of, self.goal.against)


def seen(results: Sequence[CaseResult]) -> list[Seen]:
    """Every goal with each case it holds for, contenders that were left out aside."""
    pairs = [Seen(goal, result) for goal in GOALS for result in results if result.case.width == goal.width]
    return [pair for pair in pairs if pair.factor == pair.factor]
