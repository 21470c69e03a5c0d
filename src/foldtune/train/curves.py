"""A job's scores epoch by epoch, and what follows from them; the same for every engine."""

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foldtune.errors import CheckpointError, DivergedError
from foldtune.spec.schema import ConfigSpec
from foldtune.train.failures import kind_of
from foldtune.train.states import check_tensors, epochs_of
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean, stops_early
from foldtune.values import Direction, EpochReport, Failure, Floats, Job, TrialResult


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
        """The scores; nothing of the job itself."""
        return {"epoch": self.epoch, "scores": torch.from_numpy(np.stack(self.scores))}

    def load_state_dict(self, state: Mapping[str, Any], *, n_metrics: int) -> None:
        """Take the scores of a `state_dict`.

        Raises:
            CheckpointError: they are not those of this job's folds and metrics.
        """
        epochs, planned = epochs_of(state), self.config.training.epochs
        if epochs > planned:
            raise CheckpointError.of(("epoch",), f"a state must have trained at most {planned} epochs", epochs)
        expected = torch.empty(epochs, len(self.job.folds), n_metrics, dtype=torch.float64)
        check_tensors({"scores": expected}, {"scores": state["scores"]})
        for scores in state["scores"].clone().numpy():
            self._append(scores)

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


def failed(job: Job, epoch: int, n_metrics: int, error: Exception) -> EpochReport:
    """The last report of a job that cannot go on; call it where the error is being handled."""
    failure = Failure(kind_of(error), f"{type(error).__name__}: {error}", traceback.format_exc())
    nothing = np.full((len(job.folds), n_metrics + 1), np.nan)
    return EpochReport(job.trial, epoch, nothing[:, 0], nothing[:, 1:], 0.0, failure=failure)
