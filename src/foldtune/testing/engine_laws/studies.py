"""What engines under test train: few rows, small nets, and three folds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.spec.defaults import LOSSES
from foldtune.train.engine import TrainingSetup
from foldtune.values import Config, Direction, Fold, Job, Task

EPOCHS = 4
ROWS, FEATURES, K = 31, 4, 3
METRICS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("log_loss", "accuracy"),
    "multilabel": ("log_loss", "hamming_loss"),
    "regression": ("mean_squared_error", "r2"),
}


def make_setup(task: Task = "classification", *, outputs: int = 3, seed: int = 0) -> TrainingSetup:
    """A study of 31 rows with 4 numeric columns; the target is the classes 0 .. outputs - 1, or at most 4 columns of
    labels or numbers."""
    random = np.random.RandomState(7)
    codes = np.arange(ROWS, dtype=np.int64) % outputs
    numeric = random.standard_normal((ROWS, FEATURES)) + codes[:, None]
    targets = 10 * numeric[:, :outputs] + random.standard_normal((ROWS, min(outputs, FEATURES))) + 100
    labels = (targets > np.median(targets, axis=0)).astype(np.int64)
    dataset = Dataset(
        numeric=numeric,
        categorical=np.empty((ROWS, 0), dtype=object),
        target={"classification": codes, "multilabel": labels, "regression": targets}[task],
        task=task,
        classes=tuple(range(outputs)) if task == "classification" else (),
        numeric_names=tuple(f"x{column}" for column in range(FEATURES)),
    )
    directions: tuple[Direction, ...] = ("minimize",)
    return TrainingSetup(dataset, tuple({"use": name} for name in METRICS[task]), directions, seed)


def make_config(task: Task = "classification", **changes: Any) -> Config:
    """A small net trained for 4 epochs on batches of 8, with sections replaced."""
    return {
        "model": {"use": "MLP", "n_blocks": 1, "d_block": 8},
        "loss": {"use": LOSSES[task]},
        "optimizer": {"use": "SGD", "lr": 0.05, "momentum": 0.9},
        "training": {"epochs": EPOCHS, "batch_size": 8},
        **changes,
    }


def make_job(config: Config, trial: int = 0, *, repeat: int = 0, folds: Sequence[Fold] | None = None) -> Job:
    """A job on three folds that cover all rows; two of them train on one row more than the third."""
    rows = np.arange(ROWS, dtype=np.int64)
    covering = (Fold(rows[rows % K != fold], rows[rows % K == fold]) for fold in range(K))
    return Job(trial, config, tuple(folds or covering), repeat)


def folds_apart() -> tuple[Fold, ...]:
    """Three folds that train on the same rows; no row that validates one is seen by another."""
    rows = np.arange(ROWS, dtype=np.int64)
    return tuple(Fold(rows[:16], rows[16 + 5 * fold : 21 + 5 * fold]) for fold in range(K))
