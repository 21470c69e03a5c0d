"""How long a study may take: one small fold is trained and the time per row is multiplied."""

import math
import time
from dataclasses import dataclass

import numpy as np

from foldtune import space
from foldtune.errors import TrainingError
from foldtune.search.plan import Plan
from foldtune.selection.winner import n_finalists
from foldtune.train.engine import TrainingSetup
from foldtune.train.lockstep import LockstepEngine
from foldtune.values import Fold, Job, Rows

ROWS = 2000
"""Rows that the timed fold has at most."""


@dataclass(frozen=True)
class Forecast:
    """An upper bound, made from the default configuration.

    Args:
        epoch_s: one epoch on all folds, on one core.
        trial_s: all epochs of a trial.
        study_s: all trials without any pruning, and their confirmation, dealt over `workers` processes.
        workers: number of processes.
    """

    epoch_s: float
    trial_s: float
    study_s: float
    workers: int


def forecast(plan: Plan, workers: int) -> Forecast:
    """Time the default configuration on a part of the rows.

    Args:
        plan: the study.
        workers: training processes.

    Raises:
        TrainingError: the default configuration cannot be trained.
    """
    config = space.configure(plan.space, space.defaults(plan.space))
    fold = plan.folds[0]
    train, valid = _some(fold.train, ROWS * 4 // 5), _some(fold.valid, ROWS // 5)
    rows = np.union1d(train, valid)
    part = Fold(np.searchsorted(rows, train), np.searchsorted(rows, valid))
    setup = plan.setup("cpu")
    engine = LockstepEngine(TrainingSetup(plan.dataset.take(rows), setup.metrics, setup.directions, setup.seed))
    _train(engine, Job(0, config, (part,)))  # preprocessing, and what torch does when it is first used
    began = time.perf_counter()
    _train(engine, Job(0, config, (part,)))
    per_row = (time.perf_counter() - began) / len(train)
    epoch_s = per_row * sum(len(fold.train) for fold in plan.folds)
    trial_s = epoch_s * int(config["training"]["epochs"])
    return Forecast(epoch_s, trial_s, trial_s * _most_trainings(plan) / max(1, workers), workers)


def _most_trainings(plan: Plan) -> int:
    """How often a trial is trained, confirmation included."""
    search = plan.spec.search
    again = search.confirm * n_finalists(search.trials) if plan.n_objectives == 1 else 0
    return search.trials + again


def _some(rows: Rows, most: int) -> Rows:
    """At most so many rows, from all over: neighbours are often of one class."""
    return rows[:: math.ceil(len(rows) / most)]


def _train(engine: LockstepEngine, job: Job) -> None:
    """One epoch. That a few rows cannot be scored does not matter; that the net does not run, does."""
    (report,) = engine.start([job]).step()
    if report.failure is not None and report.failure.kind == "user code":
        raise TrainingError(f"trial 0 cannot be trained: {report.failure.message}")
