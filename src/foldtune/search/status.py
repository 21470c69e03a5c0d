"""What the search looks like from outside, as a value: for progress on the terminal."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldtune.search.numbers import epochs, number
from foldtune.search.result import value
from foldtune.store.records import RepeatRecord, TrialRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import TrialState

if TYPE_CHECKING:
    from foldtune.search.study import OpenStudy


@dataclass(frozen=True)
class RunningTrial:
    """A trial in training.

    Args:
        number: its number.
        epoch: epochs trained.
        epochs: epochs planned.
        folds: how many.
        value: the last mean over them.
        repeat: the fresh partition that confirms it; 0 for the study's own.
    """

    number: int
    epoch: int
    epochs: int
    folds: int
    value: float | None
    repeat: int = 0


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
        confirming: once the search has ended, how many confirmations are done, and of how many.
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
    confirming: tuple[int, int] | None = None

    @property
    def finished(self) -> int:
        return sum(self.counts[state] for state in ("complete", "pruned", "failed") if state in self.counts)


def status_of(
    study: "OpenStudy",
    *,
    running: tuple[RunningTrial, ...],
    seconds: float,
    remaining_s: float | None,
    news: tuple[str, ...],
    confirming: tuple[int, int] | None = None,
) -> Status:
    """An open study as it stands; arguments as of `Status`."""
    best = study.trials.best
    return Status(
        study=study.record.name,
        objective=study.record.objectives[0],
        budget=study.search.trials,
        counts={state: count for state, count in study.trials.counts.items() if count},
        running=running,
        best=(best.number, best.values[0]) if best and best.values else None,
        seconds=seconds,
        remaining_s=remaining_s,
        news=news,
        confirming=confirming,
    )


def planned(trial: TrialRecord) -> int:
    """Epochs that a trial has when nothing stops it."""
    return int(trial.config["training"]["epochs"])


def news(trial: TrialRecord, objective: str) -> str:
    """A line about a trial that ended.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.5], [0.25]])
        >>> news(TrialRecord(3, "pruned", "sampled", False, {}, {}, {}, epochs=9, scores=scores), "f1")
        'trial 3 pruned after 9 epochs: f1 0.3750'
    """
    found = value(trial)
    reason = trial.failure and f"{trial.failure.kind}: {trial.failure.message}"
    outcome = reason or ("" if found is None else f"{objective} {number(found)}")
    return f"trial {trial.number} {trial.state} after {epochs(trial.epochs)}: {outcome}"


def news_again(repeat: RepeatRecord, objective: str) -> str:
    """A line about a confirmation that ended.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.5], [0.25]])
        >>> news_again(RepeatRecord(3, 1, "complete", epochs=9, scores=scores), "f1")
        'trial 3 on partition 1 complete after 9 epochs: f1 0.3750'
    """
    outcome = f"{objective} {number(fold_mean(repeat.scores[:, 0]))}" if repeat.scores is not None else ""
    reason = repeat.failure and f"{repeat.failure.kind}: {repeat.failure.message}"
    start = f"trial {repeat.trial} on partition {repeat.repeat} {repeat.state}"
    return f"{start} after {epochs(repeat.epochs)}: {reason or outcome}"
