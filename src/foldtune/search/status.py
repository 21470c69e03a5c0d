"""What the search looks like from outside, as a value: for progress on the terminal."""

from dataclasses import dataclass

from foldtune.search.result import value
from foldtune.store.records import TrialRecord
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


def news(trial: TrialRecord, objective: str) -> str:
    """A line about a trial that ended.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.5], [0.25]])
        >>> news(TrialRecord(3, "pruned", "sampled", False, {}, {}, {}, epochs=9, scores=scores), "f1")
        'trial 3 pruned after 9 epochs: f1 0.375'
    """
    found = value(trial)
    reason = trial.failure and f"{trial.failure.kind}: {trial.failure.message}"
    outcome = reason or ("" if found is None else f"{objective} {found:.6g}")
    return f"trial {trial.number} {trial.state} after {trial.epochs} epochs: {outcome}"
