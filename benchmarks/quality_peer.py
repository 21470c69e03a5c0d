"""The usual way: an Optuna objective that cross-validates one fold after another.

    python -m benchmarks.quality_peer JOB.json WORKER

The usual script is one such process. The fast one is two that share the study, as people do who have two cores, with
fused AdamW. Either is written well: data in memory and standardised once, rows permuted once per epoch so that batches
are views, one thread per process, trial 0 the same defaults as foldtune's. The first fold's score is reported after
every epoch, the running mean after every further fold, and `MedianPruner` is asked each time. What torch loads on its
first step (2 s) is loaded before the first trial, so that it counts as start-up.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

STUDY = "quality"
STARTED = tuple(state for state in TrialState if state is not TrialState.WAITING)
DEFAULTS = {
    "model.n_blocks": 2,
    "model.d_block": 32,
    "model.activation": "ReLU",
    "model.norm": "BatchNorm1d",
    "model.dropout": 0.0,
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 1e-2,
}
"""foldtune's trial 0, enqueued here too."""


@dataclass(frozen=True)
class Job:
    """One search.

    Args:
        data: an .npz file with X (N, F) and y (N,).
        storage: SQLAlchemy URL of the study's database.
        seed: of the sampler and of the nets; each process adds its own number.
        trials: how many it tries; None for as many as it can until it is killed.
        epochs: of every fold.
        n_splits: number of folds.
        split_seed: of the partition.
        batch_size: rows of a step.
        fused: whether AdamW is torch's fused one; None for torch's default.
    """

    data: str
    storage: str
    seed: int
    trials: int | None
    epochs: int
    n_splits: int
    split_seed: int
    batch_size: int
    fused: bool | None


@dataclass(frozen=True, eq=False)
class FoldRows:
    """One fold's standardised rows."""

    x: Tensor  # (n_train, F) float32
    y: Tensor  # (n_train,) int64
    valid_x: Tensor  # (n_valid, F) float32
    valid_y: Tensor  # (n_valid,) int64


def storage(url: str) -> optuna.storages.RDBStorage:
    """The database; writers wait for each other."""
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})


def create(url: str) -> None:
    """Create the study, with the defaults as its first trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(study_name=STUDY, storage=storage(url)).enqueue_trial(DEFAULTS)


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    """The search space of `quality_cases.study`."""
    return {
        "n_blocks": trial.suggest_int("model.n_blocks", 1, 3),
        "d_block": trial.suggest_int("model.d_block", 16, 64, log=True),
        "activation": trial.suggest_categorical("model.activation", ["ReLU", "GELU"]),
        "norm": trial.suggest_categorical("model.norm", ["BatchNorm1d", None]),
        "dropout": trial.suggest_float("model.dropout", 0, 0.5),
        "lr": trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("optimizer.weight_decay", 1e-6, 1e-1, log=True),
    }


def build(config: dict[str, Any], n_features: int, n_classes: int) -> nn.Sequential:
    """The net that foldtune's `MLP` builds of the same configuration."""
    layers: list[nn.Module] = []
    for block in range(config["n_blocks"]):
        layers.append(nn.Linear(config["d_block"] if block else n_features, config["d_block"]))
        if config["norm"] is not None:
            layers.append(nn.BatchNorm1d(config["d_block"]))
        layers.append(getattr(nn, config["activation"])())
        if config["dropout"]:
            layers.append(nn.Dropout(config["dropout"]))
    return nn.Sequential(*layers, nn.Linear(config["d_block"], n_classes))


def split(job: Job) -> list[FoldRows]:
    """The folds, each standardised on its own training rows."""
    loaded = np.load(job.data)
    inputs, target = loaded["X"], loaded["y"]
    splitter = StratifiedKFold(job.n_splits, shuffle=True, random_state=job.split_seed)
    folds = []
    for train, valid in splitter.split(inputs, target):
        scaler = StandardScaler().fit(inputs[train])
        x, valid_x = (torch.from_numpy(scaler.transform(inputs[rows])).float() for rows in (train, valid))
        folds.append(FoldRows(x, torch.from_numpy(target[train]), valid_x, torch.from_numpy(target[valid])))
    return folds


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, rows: FoldRows, batch_size: int) -> None:
    """One pass over the fold's training rows, shuffled."""
    model.train()
    order = torch.randperm(len(rows.x))
    for x, y in zip(torch.split(rows.x[order], batch_size), torch.split(rows.y[order], batch_size), strict=True):
        if len(x) == 1:  # a batch norm cannot train on one row
            continue
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def validate(model: nn.Module, rows: FoldRows) -> float:
    """Log loss on the fold's validation rows."""
    model.eval()
    return float(functional.cross_entropy(model(rows.valid_x), rows.valid_y))


class Objective:
    """Cross-validates one configuration, one fold after another."""

    def __init__(self, job: Job) -> None:
        self.job, self.folds = job, split(job)
        self.n_features = self.folds[0].x.shape[1]
        self.n_classes = int(max(rows.y.max() for rows in self.folds)) + 1

    def __call__(self, trial: optuna.Trial) -> float:
        config, curves = suggest(trial), []
        for fold in range(len(self.folds)):
            curves.append(self._fold(config, fold, trial))
            if 0 < fold < len(self.folds) - 1:
                _report(trial, float(np.mean([curve[-1] for curve in curves])), self.job.epochs + fold)
        trial.set_user_attr("curves", curves)
        return float(np.mean([curve[-1] for curve in curves]))

    def warm_up(self) -> None:
        """Train one epoch of a net that nobody asked for."""
        trial = optuna.trial.FixedTrial(DEFAULTS)
        model = build(suggest(trial), self.n_features, self.n_classes)
        train_epoch(model, self._optimizer(model, suggest(trial)), self.folds[0], self.job.batch_size)

    def _fold(self, config: dict[str, Any], fold: int, trial: optuna.Trial) -> list[float]:
        """The fold's validation score after every epoch."""
        rows, curve = self.folds[fold], []
        model = build(config, self.n_features, self.n_classes)
        optimizer = self._optimizer(model, config)
        for epoch in range(1, self.job.epochs + 1):
            train_epoch(model, optimizer, rows, self.job.batch_size)
            curve.append(validate(model, rows))
            if fold == 0:
                _report(trial, curve[-1], epoch)
        return curve

    def _optimizer(self, model: nn.Module, config: dict[str, Any]) -> torch.optim.Optimizer:
        lr, weight_decay = config["lr"], config["weight_decay"]
        return torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay, fused=self.job.fused)


def _report(trial: optuna.Trial, value: float, step: int) -> None:
    trial.report(value, step)
    if trial.should_prune():
        raise optuna.TrialPruned


def main(job_file: str, worker: int) -> None:
    """Search."""
    job = Job(**json.loads(Path(job_file).read_text()))
    torch.set_num_threads(1)
    torch.manual_seed(1000 * job.seed + worker)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=1000 * job.seed + worker)
    pruner = optuna.pruners.MedianPruner()
    study = optuna.load_study(study_name=STUDY, storage=storage(job.storage), sampler=sampler, pruner=pruner)
    objective = Objective(job)
    objective.warm_up()
    while worker and not study.get_trials(deepcopy=False, states=STARTED):
        time.sleep(0.01)  # two processes may take one enqueued trial, and then one of them fails
    study.optimize(objective, n_trials=job.trials)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
