"""The work that every contender does: data, folds, net and training settings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

N_SPLITS = 5
DROPOUT = 0.2
LEARNING_RATE = 1e-3
JOBS = 8
"""Trials that foldtune trains at once."""
WORKERS = 2
"""Training processes of `foldtune run`."""

MADE = {"n_samples": 10_000, "n_features": 50, "n_informative": 20}
"""Arguments of scikit-learn's `make_classification` for the made table."""

SOURCES: dict[str, dict[str, Any]] = {
    "digits": {"use": "digits"},
    "breast_cancer": {"use": "breast_cancer"},
    "made_10k": {"use": "make_classification", **MADE},
}
"""Data sets, as a study file names them."""

DESCRIPTIONS = {
    "digits": "digits (1,797 rows, 64 columns, 10 classes)",
    "breast_cancer": "breast cancer (569 rows, 30 columns, 2 classes)",
    "made_10k": "made table (10,000 rows, 50 columns, 2 classes)",
}


@dataclass(frozen=True)
class Case:
    """One data set and one net.

    Args:
        data: a key of `SOURCES`.
        width: units of each of the two hidden layers.
        batch_size: rows of a training batch.
        trial_epochs: epochs of a trial where whole studies are run.
        jobs: trials in training at once where packs are trained.
    """

    data: str
    width: int
    batch_size: int
    trial_epochs: int
    jobs: int = JOBS

    @property
    def title(self) -> str:
        return f"{self.data} {self.width}-{self.width}, batches of {self.batch_size}"


CASES = (
    Case("digits", 64, 32, trial_epochs=20),
    Case("breast_cancer", 64, 32, trial_epochs=50),
    Case("made_10k", 64, 32, trial_epochs=4),
    Case("digits", 256, 128, trial_epochs=20),
    Case("made_10k", 256, 128, trial_epochs=4),
    Case("digits", 1024, 256, trial_epochs=2),
)
QUICK = (Case("digits", 64, 32, trial_epochs=4, jobs=2),)


@dataclass(frozen=True, eq=False)
class FoldRows:
    """One fold's rows, standardised by its training rows.

    Args:
        x: inputs to train on, shape (n, F) float32.
        y: their classes, shape (n,) int64.
        valid_x: inputs to validate on.
        valid_y: their classes.
    """

    x: Tensor
    y: Tensor
    valid_x: Tensor
    valid_y: Tensor


def load(data: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inputs (N, F) and classes (N,) of a data set."""
    from sklearn import datasets

    if data == "made_10k":
        x, y = datasets.make_classification(random_state=0, **MADE)
    else:
        x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    return x, y.astype(np.int64)


def fold_rows(data: str) -> list[FoldRows]:
    """The stratified folds of a data set."""
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    x, y = load(data)
    folds = []
    for train, valid in StratifiedKFold(N_SPLITS, shuffle=True, random_state=0).split(x, y):
        scaler = StandardScaler().fit(x[train])
        inputs = [torch.from_numpy(scaler.transform(x[rows]).astype(np.float32)) for rows in (train, valid)]
        classes = [torch.from_numpy(y[rows]) for rows in (train, valid)]
        folds.append(FoldRows(inputs[0], classes[0], inputs[1], classes[1]))
    return folds


def n_classes(folds: list[FoldRows]) -> int:
    """How many classes the rows have."""
    return int(max(fold.y.max() for fold in folds)) + 1


def make_net(features: int, width: int, classes: int) -> nn.Sequential:
    """The net that every contender trains."""
    layers: list[nn.Module] = []
    for inputs in (features, width):
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def net_of(case: Case, folds: list[FoldRows]) -> nn.Sequential:
    """A fresh net for a case."""
    return make_net(folds[0].x.shape[1], case.width, n_classes(folds))


def study_tree(case: Case, *, lr: Any = LEARNING_RATE, epochs: int) -> dict[str, Any]:
    """The same work as a study file; `lr` may be a domain."""
    return {
        "name": "bench",
        "data": SOURCES[case.data],
        "validation": {"use": "StratifiedKFold", "n_splits": N_SPLITS},
        "preprocessing": {"numeric": [{"use": "StandardScaler"}]},
        "objective": "accuracy",
        "metrics": ["log_loss"],
        "model": {"use": "MLP", "n_blocks": 2, "d_block": case.width, "norm": "BatchNorm1d", "dropout": DROPOUT},
        "loss": "CrossEntropyLoss",
        "optimizer": {"use": "AdamW", "lr": lr},
        "training": {"epochs": epochs, "batch_size": case.batch_size},
    }
