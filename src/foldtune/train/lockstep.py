"""The reference engine: one job at a time, its K folds advancing epoch by epoch together."""

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foldtune.data.preprocess import FoldData, fit_folds
from foldtune.data.splitters import folds_fingerprint
from foldtune.errors import DataError, DivergedError
from foldtune.metrics import Metric, build_metric
from foldtune.spec.fingerprint import digest
from foldtune.spec.schema import ConfigSpec
from foldtune.train.engine import TrainingSetup
from foldtune.train.fold_trainer import FoldTrainer
from foldtune.train.losses import Head, make_head
from foldtune.train.scoring import Scorer
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean, stops_early
from foldtune.values import EpochReport, Failure, FailureKind, Floats, Fold, Job, TrialResult


class LockstepEngine:
    """Starts runs of one job each. Keeps transformed rows between jobs that ask for the same preprocessing.

    Args:
        setup: the study's data, metrics and seed.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        self.setup = setup
        dataset = setup.dataset
        self.metrics: tuple[Metric, ...] = tuple(
            build_metric(node, task=dataset.task, n_classes=dataset.n_outputs, path=("metrics", index))
            for index, node in enumerate(setup.metrics)
        )
        self._fitted: dict[str, tuple[FoldData, ...]] = {}

    def start(self, jobs: Sequence[Job]) -> "LockstepRun":
        run = LockstepRun(self)
        for job in jobs:
            run.add(job)
        return run

    def restore(self, state: Mapping[str, Any]) -> "LockstepRun":
        run = self.start([_job(saved) for saved in state["waiting"]])
        for saved in state["live"]:
            run.live[saved["trial"]] = _LiveJob.restore(self, saved)
        return run

    def folds_data(self, config: ConfigSpec, folds: tuple[Fold, ...]) -> tuple[FoldData, ...]:
        """The rows as each fold sees them; the last two preprocessings are kept."""
        key = digest(config.preprocessing.model_dump()) + folds_fingerprint(folds)
        if key not in self._fitted:
            self._fitted = dict(list(self._fitted.items())[-1:])
            self._fitted[key] = fit_folds(self.setup.dataset, config.preprocessing, folds, seed=self.setup.seed)
        return self._fitted[key]


class LockstepRun:
    """Live jobs by trial number; see `foldtune.train.engine.Run` for the contract."""

    def __init__(self, engine: LockstepEngine) -> None:
        self.engine = engine
        self.waiting: dict[int, Job] = {}
        self.live: dict[int, _LiveJob] = {}

    def add(self, job: Job) -> None:
        self.waiting[job.trial] = job

    def step(self) -> list[EpochReport]:
        return [self._step(trial) for trial in sorted({*self.waiting, *self.live})]

    def drop(self, trial: int) -> TrialResult:
        return self.live.pop(trial).last()

    def finish(self, trial: int) -> TrialResult:
        return self.live.pop(trial).chosen()

    def state_dict(self) -> dict[str, Any]:
        waiting = [_job_state(job) for job in self.waiting.values()]
        return {"waiting": waiting, "live": [job.state_dict() for job in self.live.values()]}

    def _step(self, trial: int) -> EpochReport:
        """One epoch of one job; a job that fails is dropped and says why."""
        job = self.waiting.pop(trial) if trial in self.waiting else self.live[trial].job
        epoch = self.live[trial].epoch + 1 if trial in self.live else 1
        try:
            if trial not in self.live:
                self.live[trial] = _LiveJob(self.engine, job)
            return self.live[trial].step()
        except Exception as error:  # a trial's failure is recorded, whatever its kind; the study goes on
            self.live.pop(trial, None)
            return _failed(job, epoch, len(self.engine.metrics), error)


class _LiveJob:
    """One job in training: K fold trainers and their curves."""

    def __init__(self, engine: LockstepEngine, job: Job) -> None:
        self.engine, self.job = engine, job
        self.config = ConfigSpec.model_validate(job.config)
        dataset, seed = engine.setup.dataset, engine.setup.seed
        head: Head = make_head(self.config.loss.node, dataset.task, dataset.n_outputs)
        data = engine.folds_data(self.config, job.folds)
        rows = _rows_per_epoch([len(fold.train) for fold in job.folds])
        self.trainers = [
            FoldTrainer(
                self.config,
                data[index],
                fold,
                head=head,
                key=(seed, job.trial, job.repeat, index),
                rows_per_epoch=rows[index],
                direction=engine.setup.directions[0],
                device=engine.setup.device,
            )
            for index, fold in enumerate(job.folds)
        ]
        self.scorer = Scorer(dataset, data, job.folds, head=head, metrics=engine.metrics, device=engine.setup.device)
        self.scores: list[Floats] = []  # per epoch, (K, n_metrics)

    @property
    def epoch(self) -> int:
        return len(self.scores)

    @property
    def means(self) -> list[float]:
        return [fold_mean(scores[:, 0]) for scores in self.scores]

    def step(self) -> EpochReport:
        """Train every fold one epoch, score all of them at once, then step the schedules."""
        began, epoch, setup = time.perf_counter(), self.epoch + 1, self.engine.setup
        losses = np.array([trainer.train_epoch(epoch) for trainer in self.trainers])
        scores = self.scorer.score([trainer.answers(epoch) for trainer in self.trainers])
        self._check_finite(losses, scores, epoch)
        self.scores.append(scores)
        for index, trainer in enumerate(self.trainers):
            trainer.end_epoch(fold_mean(np.delete(scores[:, 0], index)) if len(scores) > 1 else float(scores[0, 0]))
        rule = self.config.regularization.early_stopping
        done = epoch >= self.config.training.epochs or stops_early(self.means, setup.directions[0], rule)
        return EpochReport(self.job.trial, epoch, losses, scores, time.perf_counter() - began, done)

    def last(self) -> TrialResult:
        chosen = np.full(len(self.trainers), self.epoch, dtype=np.int64)
        return TrialResult(self.job.trial, self.epoch, chosen, self.scores[-1])

    def chosen(self) -> TrialResult:
        curves = np.stack(self.scores)  # (E, K, n_metrics)
        eligible = eligible_epochs(self.config.training.epochs, self.epoch)
        chosen = choose_epochs(curves[:, :, 0], self.engine.setup.directions[0], eligible)
        return TrialResult(self.job.trial, self.epoch, chosen, curves[chosen - 1, np.arange(len(chosen))])

    def state_dict(self) -> dict[str, Any]:
        scores = [torch.from_numpy(scores) for scores in self.scores]
        trainers = [trainer.state_dict() for trainer in self.trainers]
        return {**_job_state(self.job), "scores": scores, "trainers": trainers}

    @classmethod
    def restore(cls, engine: LockstepEngine, state: Mapping[str, Any]) -> "_LiveJob":
        live = cls(engine, _job(state))
        live.scores = [scores.numpy() for scores in state["scores"]]
        for trainer, saved in zip(live.trainers, state["trainers"], strict=True):
            trainer.load_state_dict(saved)
        return live

    def _check_finite(self, losses: Floats, scores: Floats, epoch: int) -> None:
        objectives = scores[:, : len(self.engine.setup.directions)]
        for fold in range(len(losses)):
            if not np.isfinite(losses[fold]) or not np.isfinite(objectives[fold]).all():
                found = f"loss {losses[fold]:g}, objective {objectives[fold].tolist()}"
                raise DivergedError(f"fold {fold} is not finite after epoch {epoch}: {found}")


def _rows_per_epoch(sizes: Sequence[int]) -> list[int]:
    """Folds whose sizes differ by one row are trimmed to the smaller, so that all have the same batches."""
    return [min(sizes)] * len(sizes) if max(sizes) - min(sizes) == 1 else list(sizes)


def _job_state(job: Job) -> dict[str, Any]:
    folds = [{"train": torch.tensor(fold.train), "valid": torch.tensor(fold.valid)} for fold in job.folds]
    return {"trial": job.trial, "repeat": job.repeat, "config": dict(job.config), "folds": folds}


def _job(state: Mapping[str, Any]) -> Job:
    folds = tuple(Fold(fold["train"].numpy(), fold["valid"].numpy()) for fold in state["folds"])
    return Job(state["trial"], state["config"], folds, state["repeat"])


def _failed(job: Job, epoch: int, n_metrics: int, error: Exception) -> EpochReport:
    failure = Failure(_kind(error), f"{type(error).__name__}: {error}", traceback.format_exc())
    nothing = np.full((len(job.folds), n_metrics + 1), np.nan)
    return EpochReport(job.trial, epoch, nothing[:, 0], nothing[:, 1:], 0.0, failure=failure)


def _kind(error: Exception) -> FailureKind:
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error):
        return "out of memory"
    return "data" if isinstance(error, DataError) else "user code"
