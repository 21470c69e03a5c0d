"""How a study's final model is trained: which trial, for how many epochs, by which curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foldtune.errors import StoreError
from foldtune.search.result import best_trial, of_ours
from foldtune.store.records import Finding, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.train.stopping import eligible_epochs, pooled_means, refit_epoch


@dataclass(frozen=True, eq=False)
class Refit:
    """A configuration to be trained once more, without folds of its own to decide by.

    Args:
        trial: whose configuration it is.
        epoch: e*, the epochs to train.
        planned: epochs of its schedules, at least as many.
        guide: the pooled mean curve, which schedules read that read scores.
        is_winner: whether the study chose it; else a person did.
    """

    trial: TrialRecord
    epoch: int
    planned: int
    guide: tuple[float, ...]
    is_winner: bool


def refit_of(store: Store, record: StudyRecord, number: int | None = None) -> Refit:
    """What is to be trained.

    Args:
        store: where the study is.
        record: the study.
        number: a complete trial; None for the winner.

    Raises:
        StoreError: there is no such trial, or none that is complete.
    """
    winner = winning_trial(store.trials(record.uuid), store.findings(record.uuid), record)
    number = winner if number is None else number
    if number is None:
        raise StoreError.of((), "a study must have a complete trial", record.name, f"foldtune resume {record.name}")
    trial = store.trial(record.uuid, number)
    if trial.state != "complete":
        raise StoreError.of((), "the trial must be complete", f"trial {number} is {trial.state}")
    repeats = [
        repeat.repeat for repeat in store.repeats(record.uuid) if repeat.trial == number and repeat.state == "complete"
    ]
    curves = [store.curves(record.uuid, number, repeat).scores[:, :, 0] for repeat in (0, *repeats)]
    means = pooled_means(curves)
    planned = int(trial.config["training"]["epochs"])
    epoch = refit_epoch(means, record.directions[0], eligible_epochs(planned, len(means)))
    return Refit(trial, epoch, planned, tuple(means), is_winner=number == winner)


def chosen_by(confirmed: Mapping[str, Any]) -> int:
    """The trial that a finding "confirmation" leads to: the preferred one where `search.prefer` asks for one.

    Example:
        >>> chosen_by({"winner": 3, "preferred": None}), chosen_by({"winner": 3, "preferred": {"number": 7}})
        (3, 7)
    """
    preferred = confirmed["preferred"]
    return int(preferred["number"] if preferred else confirmed["winner"])


@of_ours()
def winning_trial(trials: Sequence[TrialRecord], findings: Sequence[Finding], record: StudyRecord) -> int | None:
    """The trial that a study chose: preferred as `search.prefer` says, else confirmed, else of the best value.

    Args:
        trials: the study's.
        findings: what was found out about it, the oldest first.
        record: the study.
    """
    confirmed = next((found.content for found in reversed(findings) if found.kind == "confirmation"), None)
    if confirmed is not None:
        return chosen_by(confirmed)
    best = best_trial(trials, record.directions[0])
    return None if best is None else best.number
