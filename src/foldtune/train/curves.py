"""A job's scores and answers epoch by epoch, and what follows from them; the same for every engine."""

import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from foldtune.errors import CheckpointError, DivergedError
from foldtune.spec.schema import ConfigSpec
from foldtune.train.answers import KINDS, Answers, Read
from foldtune.train.engine import TrainingSetup
from foldtune.train.failures import kind_of
from foldtune.train.states import check_tensors, epochs_of
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean, other_folds, stops_early
from foldtune.values import EpochReport, Failure, Floats, Job, Rows, TrialResult


class Curves:
    """What one job gave so far.

    Args:
        job: the job.
        config: its configuration, validated.
        setup: the study.
        outputs: numbers that its models answer per row.
        n_parameters: of one of its models.
    """

    def __init__(self, job: Job, config: ConfigSpec, *, setup: TrainingSetup, outputs: int, n_parameters: int) -> None:
        self.job, self.config, self.directions, self.n_parameters = job, config, setup.directions, n_parameters
        self.n_metrics = len(setup.metrics)
        self.other_folds = other_folds(job.folds)
        self.scores: list[Floats] = []  # per epoch, (K, n_metrics)
        self.means: list[float] = []  # of the first objective over folds, per epoch
        kind, planned = KINDS[setup.dataset.task], config.training.epochs
        self.answers = Answers(job, planned, kind=kind, outputs=outputs) if setup.keeps_answers else None

    @property
    def epoch(self) -> int:
        """Epochs trained so far."""
        return len(self.scores)

    def add(self, losses: Floats, scores: Floats, seconds: float, answers: Read) -> EpochReport:
        """Take in an epoch: losses (K,), scores (K, n_metrics).

        Args:
            losses: mean training losses.
            scores: every metric of every fold.
            seconds: spent.
            answers: gives the folds' answers, one fold after another; may be called until the next epoch.

        Raises:
            DivergedError: a loss or an objective is not finite.
        """
        epoch = self.epoch + 1
        self._check_finite(losses, scores, epoch)
        self._append(scores)
        if self.answers is not None:
            self.answers.add(epoch, answers)
        rule = self.config.regularization.early_stopping if self.job.guide is None else None
        done = epoch >= self.config.training.epochs or stops_early(self.means, self.directions[0], rule)
        return EpochReport(self.job.trial, epoch, losses, scores, seconds, done, repeat=self.job.repeat)

    def others(self) -> list[float]:
        """For each fold the other folds' mean in the last epoch, or that of all where it has none; or the guide's."""
        if (guide := self.job.guide) is not None:
            return [guide[min(self.epoch, len(guide)) - 1]] * len(self.job.folds)
        last = self.scores[-1][:, 0]
        return [fold_mean(last[others]) if others.any() else fold_mean(last) for others in self.other_folds]

    def last(self) -> TrialResult:
        """The result of the last epoch."""
        return self._result(np.full(len(self.job.folds), self.epoch, dtype=np.int64))

    def chosen(self) -> TrialResult:
        """The result of each fold's chosen epoch."""
        eligible = eligible_epochs(self.config.training.epochs, self.epoch)
        curves = np.stack(self.scores)[:, :, 0]
        return self._result(choose_epochs(curves, self.directions[0], eligible, self.other_folds))

    def state_dict(self) -> dict[str, Any]:
        """The scores and answers; nothing of the job itself."""
        answers = self.answers.state_dict() if self.answers is not None else {}
        return {"epoch": self.epoch, "scores": torch.from_numpy(np.stack(self.scores)), "answers": answers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the scores and answers of a `state_dict`.

        Raises:
            CheckpointError: they are not those of this job's folds, outputs and metrics.
        """
        epochs, planned = epochs_of(state), self.config.training.epochs
        if epochs > planned:
            raise CheckpointError.of(("epoch",), f"a state must have trained at most {planned} epochs", epochs)
        expected = torch.empty(epochs, len(self.job.folds), self.n_metrics, dtype=torch.float64)
        check_tensors({"scores": expected}, {"scores": state["scores"]})
        if self.answers is not None:
            self.answers.load_state_dict(state["answers"], epochs=epochs)
        else:
            check_tensors({}, state["answers"], "answers")
        for scores in state["scores"].clone().numpy():
            self._append(scores)

    def _result(self, epochs: Rows) -> TrialResult:
        curves = np.stack(self.scores)  # (E, K, n_metrics)
        scores = curves[epochs - 1, np.arange(len(epochs))]
        out_of_fold = self.answers.at(epochs) if self.answers is not None else None
        return TrialResult(self.job.trial, self.epoch, epochs, scores, out_of_fold, self.n_parameters)

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
    return EpochReport(job.trial, epoch, nothing[:, 0], nothing[:, 1:], 0.0, failure=failure, repeat=job.repeat)
