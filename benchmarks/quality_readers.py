"""Reads from the database of either side when each trial was finished, and how good it is."""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from benchmarks import quality_peer
from foldtune.store.records import TrialRecord
from foldtune.store.store import Store
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean
from foldtune.values import Floats

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Curve = Literal["last", "chosen"]
"""Where on its curves a trial is scored."""

Definition = Literal["reported", "last", "chosen"]


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Args:
        finished_s: since the first trial of its search began.
        state: complete, pruned or failed.
        reported: a complete trial's score as its own tool computes it: one of the following.
        last: the mean over folds of the log loss after the last epoch, the usual script's.
        chosen: the same at each fold's epoch as the other folds choose it, foldtune's.
    """

    finished_s: float
    state: str
    reported: float = float("inf")
    last: float = float("inf")
    chosen: float = float("inf")


@dataclass(frozen=True)
class Run:
    """One search.

    Args:
        startup_s: from the start of its processes to the beginning of its first trial.
        searched_s: from there to its end.
        trials: those finished, in that order.
        how: of foldtune, the engines and the cohort that it stored.
        foreign: cores that other processes took meanwhile.
    """

    startup_s: float
    searched_s: float
    trials: tuple[Trial, ...]
    how: str
    foreign: float = 0.0


def read_run(text: str) -> Run:
    """The run of which this is the JSON text."""
    fields = json.loads(text)
    return Run(**{**fields, "trials": tuple(Trial(**trial) for trial in fields["trials"])})


class Reader(Protocol):
    """Follows the database of a search from outside."""

    def run(self) -> Run:
        """What is stored by now.

        Raises:
            StoreError: the study is not stored yet.
        """
        ...


def scored(curves: Floats, reported: Curve) -> dict[Definition, float]:
    """A complete trial's score by every definition, for both sides.

    Args:
        curves: log loss of every epoch and fold, shape (E, K).
        reported: what its own tool computes.
    """
    epochs, folds = curves.shape
    chosen = choose_epochs(curves, "minimize", eligible_epochs(epochs, epochs))
    last, at_chosen = fold_mean(curves[-1]), fold_mean(curves[chosen - 1, np.arange(folds)])
    return {"reported": last if reported == "last" else at_chosen, "last": last, "chosen": at_chosen}


class FoldtuneReader:
    """Follows the database of a foldtune search.

    Args:
        url: of the database.
        began: when its process was started, in seconds since 1970.
    """

    def __init__(self, url: str, began: float) -> None:
        self.url, self.began = url, began
        self.store: Store | None = None
        self.scores: dict[int, dict[Definition, float]] = {}

    def run(self) -> Run:
        store = self.store = self.store or Store(self.url, create=False)
        record = store.study(quality_peer.STUDY)
        trials = store.trials(record.uuid)
        first = min((trial.started_at.timestamp() for trial in trials if trial.started_at), default=time.time())
        for trial in trials:
            if trial.state == "complete" and trial.number not in self.scores:
                self.scores[trial.number] = scored(store.curves(record.uuid, trial.number).scores[:, :, 0], "chosen")
        finished = [self._trial(trial, first) for trial in trials if trial.finished_at]
        engines = " and ".join(sorted({trial.engine for trial in trials if trial.epochs}))
        how = f"{engines}, cohort {record.spec['search'].get('cohort', 'by default')}"
        return Run(first - self.began, time.time() - first, tuple(sorted(finished, key=_when)), how)

    def close(self) -> None:
        """Give the database's connections back."""
        if self.store is not None:
            self.store.close()

    def _trial(self, trial: TrialRecord, first: float) -> Trial:
        assert trial.finished_at is not None
        return Trial(trial.finished_at.timestamp() - first, trial.state, **self.scores.get(trial.number, {}))


class PeerReader:
    """Follows the database of an Optuna search.

    Args:
        url: of the database.
        began: when its processes were started, in seconds since 1970.
    """

    def __init__(self, url: str, began: float) -> None:
        import optuna

        self.study = optuna.load_study(study_name=quality_peer.STUDY, storage=quality_peer.storage(url))
        self.began = began

    def run(self) -> Run:
        trials = self.study.get_trials(deepcopy=False)
        first = min((trial.datetime_start.timestamp() for trial in trials if trial.datetime_start), default=time.time())
        finished = [_peer_trial(trial, first) for trial in trials if trial.state.is_finished()]
        return Run(first - self.began, time.time() - first, tuple(sorted(finished, key=_when)), "")


def _peer_trial(trial: "FrozenTrial", first: float) -> Trial:
    assert trial.datetime_complete is not None
    state = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
    scores = scored(np.array(trial.user_attrs["curves"]).T, "last") if state == "complete" else {}
    return Trial(trial.datetime_complete.timestamp() - first, state, **scores)


def _when(trial: Trial) -> float:
    return trial.finished_s
