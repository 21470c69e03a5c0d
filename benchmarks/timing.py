"""Interleaved rounds: every contender once per round, rounds that others disturbed repeated, then medians."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from benchmarks import machine
from benchmarks.contenders import Contender
from benchmarks.work import Case


@dataclass(frozen=True)
class Timed:
    """One piece of training.

    Args:
        seconds: from the command to the last process's answer.
        model_epochs: epochs trained, over all models of all processes.
    """

    seconds: float
    model_epochs: int


class Team(Protocol):
    """The processes of one contender."""

    @property
    def contender(self) -> Contender:
        """Who trains."""

    @property
    def pids(self) -> list[int]:
        """Its processes, to tell their processor time from that of others."""

    def start(self, case: Case) -> float:
        """Make ready for a case and forget the one before; seconds that this took."""

    def train(self, units: int) -> Timed:
        """Train so many units in every process."""

    def accuracy(self) -> float:
        """Mean validation accuracy after the last `train`."""


QUIET = 0.15
"""Cores that other processes may take in a quiet round."""

LONG = 3
"""The longer of the two lengths between which a slope is taken, in lengths of the shorter."""

MOST_UNITS = 50


@dataclass(frozen=True)
class Effort:
    """How thoroughly is measured.

    Args:
        rounds: quiet rounds wanted.
        least_rounds: rounds made in any case.
        whole_rounds: of these, those in which whole studies are run.
        seconds: length of one timing, as far as whole units allow.
        least_units: units of one timing at least.
        limit_s: once a case took so long, it gets no further rounds.
    """

    rounds: int = 5
    least_rounds: int = 3
    whole_rounds: int = 3
    seconds: float = 0.6
    least_units: int = 1
    limit_s: float = 130.0


@dataclass(frozen=True)
class Sample:
    """One timing of one contender.

    Args:
        seconds: per model-epoch.
        startup: seconds spent before the steady state.
    """

    seconds: float
    startup: float


@dataclass(frozen=True)
class Round:
    """One round.

    Args:
        foreign: cores that other processes took meanwhile.
        samples: by the contender's key.
    """

    foreign: float
    samples: Mapping[str, Sample]


@dataclass(frozen=True)
class Measured:
    """What one contender needs for a case.

    Args:
        contender: who.
        seconds: per model-epoch, median over rounds.
        low: the fastest round.
        high: the slowest round.
        startup: seconds before the steady state, median over rounds.
        accuracy: mean validation accuracy when all was done; None while it is not.
    """

    contender: Contender
    seconds: float
    low: float
    high: float
    startup: float
    accuracy: float | None = None


@dataclass(frozen=True)
class CaseResult:
    """A case and what was measured on it.

    Args:
        case: the work.
        measured: by the contender's key.
        rounds: how many count.
        foreign: cores that other processes took in the worst of them.
    """

    case: Case
    measured: Mapping[str, Measured]
    rounds: int
    foreign: float

    def factor(self, of: str, against: str) -> float:
        """How many times as fast a contender is as another one; NaN when one of them was left out."""
        if not {of, against} <= self.measured.keys():
            return float("nan")
        return self.measured[against].seconds / self.measured[of].seconds


@dataclass(frozen=True)
class Ready:
    """A team that stands at the start of a case.

    Args:
        team: who.
        first: getting there, and the first unit of those that continue.
        units: of one timing.
    """

    team: Team
    first: Timed
    units: int


Watch = Callable[[CaseResult], None]


def measure(case: Case, teams: Sequence[Team], effort: Effort, watch: Watch) -> CaseResult:
    """Measure every contender on a case; `watch` sees what is known after each timing."""
    began, rounds = time.monotonic(), list[Round]()
    ready = [_ready(case, team, effort) for team in teams]
    while not _enough(rounds, effort, time.monotonic() - began):
        due = [one for one in ready if _quiet(rounds, one.team.contender) < _wanted(one.team.contender, effort)]
        rounds.append(_round(due, lambda part: watch(_result(case, teams, [*rounds, part], effort))))
    accuracies = {team.contender.key: team.accuracy() for team in teams}
    result = _result(case, teams, rounds, effort, accuracies)
    watch(result)
    return result


def _ready(case: Case, team: Team, effort: Effort) -> Ready:
    """Start a team, warm it up, and choose how much it trains per timing."""
    started = team.start(case)
    if team.contender.kind == "whole":
        return Ready(team, Timed(started, 0), 1)
    warm_up = team.train(1)
    units = round(effort.seconds / team.train(1).seconds)
    units = min(max(units, effort.least_units), MOST_UNITS)
    return Ready(team, Timed(started + warm_up.seconds, warm_up.model_epochs), units)


def _round(ready: Sequence[Ready], watch: Callable[[Round], None]) -> Round:
    pids = [os.getpid(), *(pid for one in ready for pid in one.team.pids)]
    busy, used, began = machine.busy_s(), machine.used_s(pids), time.perf_counter()
    samples: dict[str, Sample] = {}
    for one in ready:
        samples[one.team.contender.key] = _sample(one)
        watch(Round(0.0, samples))
    foreign = (machine.busy_s() - busy) - (machine.used_s(pids) - used)
    return Round(max(0.0, foreign / (time.perf_counter() - began)), samples)


def _sample(ready: Ready) -> Sample:
    short = ready.team.train(ready.units)
    if ready.team.contender.kind == "continues":
        seconds = short.seconds / short.model_epochs
        return Sample(seconds, ready.first.seconds - seconds * ready.first.model_epochs)
    long = ready.team.train(LONG * ready.units)
    seconds = (long.seconds - short.seconds) / (long.model_epochs - short.model_epochs)
    return Sample(seconds, short.seconds - seconds * short.model_epochs)


def _enough(rounds: Sequence[Round], effort: Effort, elapsed_s: float) -> bool:
    enough = sum(one.foreign < QUIET for one in rounds) >= effort.rounds
    return enough or (len(rounds) >= effort.least_rounds and elapsed_s > effort.limit_s)


def _quiet(rounds: Sequence[Round], contender: Contender) -> int:
    """Quiet rounds in which it took part."""
    return sum(one.foreign < QUIET and contender.key in one.samples for one in rounds)


def _wanted(contender: Contender, effort: Effort) -> int:
    """Quiet rounds in which it should take part."""
    return effort.whole_rounds if contender.kind == "whole" else effort.rounds


def _result(
    case: Case,
    teams: Sequence[Team],
    rounds: Sequence[Round],
    effort: Effort,
    accuracies: Mapping[str, float] | None = None,
) -> CaseResult:
    """Medians over the quietest rounds."""
    measured: dict[str, Measured] = {}
    kept: list[Round] = []
    for contender in (team.contender for team in teams):
        own = [one for one in rounds if contender.key in one.samples]
        quietest = sorted(own, key=lambda one: one.foreign)[: _wanted(contender, effort)]
        kept += quietest
        if quietest:
            samples = [one.samples[contender.key] for one in quietest]
            accuracy = (accuracies or {}).get(contender.key)
            measured[contender.key] = _measured(contender, samples, accuracy)
    return CaseResult(case, measured, min(len(rounds), effort.rounds), max(one.foreign for one in kept))


def _measured(contender: Contender, samples: Sequence[Sample], accuracy: float | None) -> Measured:
    seconds = [sample.seconds for sample in samples]
    startup = median(sample.startup for sample in samples)
    return Measured(contender, median(seconds), min(seconds), max(seconds), startup, accuracy)
