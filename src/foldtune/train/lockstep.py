"""The reference engine: one job at a time, its K folds advancing epoch by epoch together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from foldtune.data.preprocess import FoldData, fit_folds
from foldtune.data.splitters import folds_fingerprint
from foldtune.metrics import Metric, build_metric
from foldtune.models.builder import n_parameters
from foldtune.spec.fingerprint import digest
from foldtune.spec.schema import ConfigSpec
from foldtune.train.batches import rows_per_epoch
from foldtune.train.curves import Curves, failed
from foldtune.train.engine import TrainingSetup
from foldtune.train.fold_trainer import FoldTrainer
from foldtune.train.losses import make_head
from foldtune.train.optim import end_epoch_
from foldtune.train.portions import Portions
from foldtune.train.scoring import Scorer
from foldtune.train.states import check_engine, epochs_of, taking
from foldtune.values import EpochReport, Fold, Job, TrialResult


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
        self.broken: dict[int, EpochReport] = {}  # jobs that could not be built, to be reported

    def add(self, job: Job, state: Mapping[str, Any] | None = None) -> None:
        if state is None:
            self.waiting[job.trial] = job
            return
        epoch = epochs_of(state) + 1
        try:
            live = _LiveJob(self.engine, job)
        except Exception as error:  # a trial's failure is recorded, whatever its kind; the study goes on
            self.broken[job.trial] = failed(job, epoch, len(self.engine.metrics), error)
            return
        live.load_state_dict(state)
        self.live[job.trial] = live

    def step(self) -> list[EpochReport]:
        return [self._step(trial) for trial in sorted({*self.broken, *self.waiting, *self.live})]

    def drop(self, trial: int) -> TrialResult:
        return self.live.pop(trial).curves.last()

    def finish(self, trial: int) -> TrialResult:
        return self.live.pop(trial).curves.chosen()

    def state_dict(self) -> dict[int, dict[str, Any]]:
        return {trial: live.state_dict() for trial, live in sorted(self.live.items())}

    def _step(self, trial: int) -> EpochReport:
        """One epoch of one job; a job that fails is dropped and says why."""
        if trial in self.broken:
            return self.broken.pop(trial)
        job = self.waiting.pop(trial) if trial in self.waiting else self.live[trial].job
        epoch = self.live[trial].curves.epoch + 1 if trial in self.live else 1
        try:
            if trial not in self.live:
                self.live[trial] = _LiveJob(self.engine, job)
            return self.live[trial].step()
        except Exception as error:  # a trial's failure is recorded, whatever its kind; the study goes on
            self.live.pop(trial, None)
            return failed(job, epoch, len(self.engine.metrics), error)


class _LiveJob:
    """One job in training: K fold trainers and their curves."""

    def __init__(self, engine: LockstepEngine, job: Job) -> None:
        config = ConfigSpec.model_validate(job.config)
        setup = engine.setup
        self.job, head = job, make_head(config.loss.node, setup.dataset.task, setup.dataset.n_outputs)
        data = engine.folds_data(config, job.folds)
        rows = rows_per_epoch([len(fold.train) for fold in job.folds])
        self.portions = Portions()
        self.trainers = [
            FoldTrainer(
                config,
                data[index],
                fold,
                head=head,
                key=(setup.seed, job.trial, job.repeat, index),
                rows_per_epoch=rows[index],
                direction=setup.directions[0],
                portions=self.portions,
                device=setup.device,
                dtype=getattr(torch, setup.dtype),
            )
            for index, fold in enumerate(job.folds)
        ]
        self.scorer = Scorer(setup.dataset, data, job.folds, head=head, metrics=engine.metrics, device=setup.device)
        size = n_parameters(self.trainers[0].model)
        self.curves = Curves(job, config, setup=setup, outputs=head.outputs, n_parameters=size)

    def step(self) -> EpochReport:
        """Train every fold one epoch, score all of them at once, then step the schedules."""
        began, epoch = time.perf_counter(), self.curves.epoch + 1
        losses = np.array([trainer.train_epoch(epoch) for trainer in self.trainers])
        scores = self.scorer.score([trainer.answers(epoch) for trainer in self.trainers])
        kept = partial(self.scorer.kept, 0, len(self.trainers))
        report = self.curves.add(losses, scores, time.perf_counter() - began, kept)
        for trainer, others_mean in zip(self.trainers, self.curves.others(), strict=True):
            end_epoch_(trainer.scheduler, others_mean)
        return replace(report, notes=self.portions.said())

    def state_dict(self) -> dict[str, Any]:
        folds = [trainer.state_dict() for trainer in self.trainers]
        state = {"engine": "lockstep", **self.curves.state_dict(), "folds": folds}
        return state | {"portions": self.portions.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            CheckpointError: another engine's or job's.
        """
        check_engine(state, "lockstep")
        with taking():
            self.curves.load_state_dict(state)
            self.portions.load_state_dict(state["portions"])
            for trainer, saved in zip(self.trainers, state["folds"], strict=True):
                trainer.load_state_dict(saved)
