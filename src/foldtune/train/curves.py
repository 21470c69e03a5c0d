"""A job's scores epoch by epoch, and what follows from them; the same for every engine."""

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foldtune.errors import DataError, DivergedError
from foldtune.spec.schema import ConfigSpec
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean, stops_early
from foldtune.values import Direction, EpochReport, Failure, FailureKind, Floats, Fold, Job, TrialResult


class Curves:
    """What one job gave so far.

    Args:
        job: the job.
        config: its configuration, validated.
        directions: of each objective.
    """

    def __init__(self, job: Job, config: ConfigSpec, directions: Sequence[Direction]) -> None:
        self.job, self.config, self.directions = job, config, directions
        self.scores: list[Floats] = []  # per epoch, (K, n_metrics)
        self.means: list[float] = []  # of the first objective over folds, per epoch

    @property
    def epoch(self) -> int:
        """Epochs trained so far."""
        return len(self.scores)

    def add(self, losses: Floats, scores: Floats, seconds: float) -> EpochReport:
        """Take in an epoch: losses (K,), scores (K, n_metrics).

        Raises:
            DivergedError: a loss or an objective is not finite.
        """
        epoch = self.epoch + 1
        self._check_finite(losses, scores, epoch)
        self._append(scores)
        rule = self.config.regularization.early_stopping
        done = epoch >= self.config.training.epochs or stops_early(self.means, self.directions[0], rule)
        return EpochReport(self.job.trial, epoch, losses, scores, seconds, done)

    def others(self) -> list[float]:
        """For each fold the other folds' mean in the last epoch; a single fold's own score."""
        last = self.scores[-1][:, 0]
        if len(last) == 1:
            return [float(last[0])]
        return [fold_mean(last[others]) for others in ~np.eye(len(last), dtype=np.bool_)]

    def last(self) -> TrialResult:
        """The result with the scores of the last epoch."""
        chosen = np.full(len(self.job.folds), self.epoch, dtype=np.int64)
        return TrialResult(self.job.trial, self.epoch, chosen, self.scores[-1])

    def chosen(self) -> TrialResult:
        """The result with the scores of each fold's chosen epoch."""
        curves = np.stack(self.scores)  # (E, K, n_metrics)
        eligible = eligible_epochs(self.config.training.epochs, self.epoch)
        chosen = choose_epochs(curves[:, :, 0], self.directions[0], eligible)
        return TrialResult(self.job.trial, self.epoch, chosen, curves[chosen - 1, np.arange(len(chosen))])

    def state_dict(self) -> dict[str, Any]:
        """The job and its scores."""
        return {**job_state(self.job), "scores": [torch.from_numpy(scores) for scores in self.scores]}

    def load_scores(self, state: Mapping[str, Any]) -> None:
        """Take the scores of a `state_dict`."""
        for scores in state["scores"]:
            self._append(scores.numpy())

    def _append(self, scores: Floats) -> None:
        self.scores.append(scores)
        self.means.append(fold_mean(scores[:, 0]))

    def _check_finite(self, losses: Floats, scores: Floats, epoch: int) -> None:
        objectives = scores[:, : len(self.directions)]
        finite = np.isfinite(losses) & np.isfinite(objectives).all(axis=1)
        if not finite.all():
            fold = int(finite.argmin())
            found = f"loss {losses[fold]:g}, objective {objectives[fold].tolist()}"
            raise DivergedError(f"fold {fold} is not finite after epoch {epoch}: {found}")


def job_state(job: Job) -> dict[str, Any]:
    """A job as plain values and tensors."""
    folds = [{"train": torch.tensor(fold.train), "valid": torch.tensor(fold.valid)} for fold in job.folds]
    return {"trial": job.trial, "repeat": job.repeat, "config": dict(job.config), "folds": folds}


def job_of(state: Mapping[str, Any]) -> Job:
    """The job whose `job_state` this is."""
    folds = tuple(Fold(fold["train"].numpy(), fold["valid"].numpy()) for fold in state["folds"])
    return Job(state["trial"], state["config"], folds, state["repeat"])


def failed(job: Job, epoch: int, n_metrics: int, error: Exception) -> EpochReport:
    """The last report of a job that cannot go on; call it where the error is being handled."""
    failure = Failure(_kind(error), f"{type(error).__name__}: {error}", traceback.format_exc())
    nothing = np.full((len(job.folds), n_metrics + 1), np.nan)
    return EpochReport(job.trial, epoch, nothing[:, 0], nothing[:, 1:], 0.0, failure=failure)


def _kind(error: Exception) -> FailureKind:
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error):
        return "out of memory"
    return "data" if isinstance(error, DataError) else "user code"
