"""From searches to targets, and to the time that each took to reach them. Nothing here runs anything."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.quality_cases import Size
from benchmarks.quality_readers import Definition, Run

DEFINITIONS: tuple[Definition, ...] = ("reported", "last", "chosen")


@dataclass(frozen=True)
class Target:
    """A score to reach.

    Args:
        definition: which score of a trial it is compared with.
        after: the trials that the usual script needed for it, in the median of the seeds.
        value: the log loss.
    """

    definition: Definition
    after: int
    value: float


@dataclass(frozen=True)
class Time:
    """How long a search, or the median search, took to reach a target.

    Args:
        seconds: the time; where `censored`, the true one is longer.
        censored: the search ended before it had reached the target.
    """

    seconds: float
    censored: bool

    def __str__(self) -> str:
        return f"{'> ' if self.censored else ''}{self.seconds:.1f}"


@dataclass(frozen=True)
class Ratio:
    """The peer's time over foldtune's.

    Args:
        value: the ratio of the two times as measured.
        bound: ">" where it is at least that (the peer's time is censored), "<" at most (ours is), "~" unknown (both).
    """

    value: float
    bound: str

    def __str__(self) -> str:
        return f"{self.bound}{' ' if self.bound else ''}{self.value:.2g}x"


def targets(peers: Sequence[Run], size: Size) -> tuple[Target, ...]:
    """The median over seeds of the peer's best score after a quarter, half and all of its trials; the last is hardest.

    Args:
        peers: the usual script's search of every seed.
        size: how large they were.
    """
    levels = sorted({max(1, size.trials // 4), max(1, size.trials // 2), size.trials})
    return tuple(
        Target(definition, level, median(_best(run, definition, level) for run in peers))
        for definition in DEFINITIONS
        for level in levels
    )


def main_target(found: Sequence[Target]) -> Target:
    """The one that the goal is about: the score as each tool reports it, after the peer's whole budget."""
    return max((target for target in found if target.definition == "reported"), key=lambda target: target.after)


def time_to(run: Run, target: Target, *, startup: bool = False) -> Time:
    """The time until a complete trial is as good as the target; the whole time where none is.

    Args:
        run: a search.
        target: the score.
        startup: whether the time before the first trial counts.
    """
    before = run.startup_s if startup else 0.0
    for trial in run.trials:
        if trial.state == "complete" and getattr(trial, target.definition) <= target.value:
            return Time(before + trial.finished_s, False)
    return Time(before + run.searched_s, True)


def median_time(times: Sequence[Time]) -> Time:
    """The median over seeds, the later of two; censored where a search that it outlasts, or it is, was censored.

    Example:
        >>> str(median_time([Time(3.0, False), Time(1.0, True), Time(9.0, True)]))
        '> 3.0'
    """
    middle = sorted(time.seconds for time in times)[len(times) // 2]
    return Time(middle, any(time.censored and time.seconds <= middle for time in times))


def ratio(peer: Time, ours: Time) -> Ratio:
    """How many times faster foldtune was.

    Example:
        >>> str(ratio(Time(30.0, True), Time(4.0, False)))
        '> 7.5x'
    """
    bound = {(False, False): "", (True, False): ">", (False, True): "<", (True, True): "~"}
    return Ratio(peer.seconds / ours.seconds, bound[peer.censored, ours.censored])


def together(ratios: Sequence[Ratio]) -> Ratio:
    """The geometric mean; its bound is theirs where they agree.

    Example:
        >>> str(together([Ratio(2.0, ""), Ratio(8.0, ">")]))
        '> 4x'
    """
    mean = math.prod(one.value for one in ratios) ** (1 / len(ratios))
    bounds = {one.bound for one in ratios} - {""}
    return Ratio(mean, "" if not bounds else bounds.pop() if len(bounds) == 1 else "~")


def per_hour(run: Run, *states: str) -> float:
    """Trials that ended in one of these states, per hour of search; every state when none is named."""
    return 3600 * sum(not states or trial.state in states for trial in run.trials) / run.searched_s


def _best(run: Run, definition: Definition, n_trials: int) -> float:
    complete = (trial for trial in run.trials[:n_trials] if trial.state == "complete")
    return min((getattr(trial, definition) for trial in complete), default=math.inf)
