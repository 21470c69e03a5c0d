"""What the search looks like from outside, as a value: for progress on the terminal."""

from dataclasses import dataclass

from foldtune.values import TrialState


@dataclass(frozen=True)
class RunningTrial:
    """A trial in training: its number, epochs trained, epochs planned, folds, and the last mean over them."""

    number: int
    epoch: int
    epochs: int
    folds: int
    value: float | None


@dataclass(frozen=True)
class Status:
    """The search after a barrier.

    Args:
        study: its name.
        objective: label of the first objective.
        budget: trials in all.
        counts: trials by state.
        running: the trials in training.
        best: number and value of the best complete trial.
        seconds: time spent in this session.
        remaining_s: expected time to the end of the budget; None while unknown.
        news: lines about trials that ended or changed since the last status.
    """

    study: str
    objective: str
    budget: int
    counts: dict[TrialState, int]
    running: tuple[RunningTrial, ...]
    best: tuple[int, float] | None
    seconds: float
    remaining_s: float | None
    news: tuple[str, ...] = ()

    @property
    def finished(self) -> int:
        return sum(self.counts[state] for state in ("complete", "pruned", "failed") if state in self.counts)
