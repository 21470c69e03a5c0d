"""What is searched: the data sets, the study of each, and the ways to run foldtune on it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 32
SPLIT_SEED = 0
"""All runs of a data set, on both sides, share one partition: scores are then of the same rows."""

DATA_SETS = ("digits", "breast_cancer", "made_2k")
PATIENCE = 3
"""The usual script that has not reached the target goes on for this many times its trials."""

UNLIMITED = 1_000_000
"""foldtune's runs end by time, not by number of trials."""


@dataclass(frozen=True)
class Size:
    """How large one search is.

    Args:
        trials: of the usual script.
        epochs: of every fold.
        n_splits: number of folds.
    """

    trials: int = 60
    epochs: int = 20
    n_splits: int = 5


@dataclass(frozen=True)
class Variant:
    """A way to run foldtune.

    Args:
        name: as the tables call it.
        overrides: `path=value` texts for `foldtune run --set`.
        program: what is run.
    """

    name: str
    overrides: tuple[str, ...] = ()
    program: tuple[str, ...] = (str(Path(sys.executable).with_name("foldtune")),)


LATER_HALVING = "{use: SuccessiveHalvingPruner, min_resource: 4, reduction_factor: 2}"
FOLDTUNE = Variant("foldtune")
ABLATIONS = (
    Variant("default pruner", ("search.pruner=null",)),
    Variant("later halving", (f"search.pruner={LATER_HALVING}",)),
    Variant("packed off", ("search.engine=lockstep",)),
    Variant("lockstep pruning off", ("search.pruner=NopPruner",)),
    *(Variant(f"cohort {count}", (f"search.cohort={count}",)) for count in (1, 4, 16)),
    Variant("packs of equal nets only", program=(sys.executable, "-m", "benchmarks.quality_equal")),
)


def arrays(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs (N, F) and classes (N,) of a data set."""
    from sklearn import datasets

    if name == "made_2k":
        made = {"n_samples": 2000, "n_features": 30, "n_informative": 10, "n_classes": 3, "flip_y": 0.05}
        inputs, target = datasets.make_classification(**made, random_state=0)
    else:
        inputs, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    return inputs.astype(np.float32), target.astype(np.int64)


def study(data: Path, *, seed: int, size: Size) -> dict[str, Any]:
    """foldtune's study file: the space that `quality_peer.suggest` spells in Optuna's calls."""
    return {
        "name": "quality",
        "data": {"arrays": str(data), "task": "classification"},
        "validation": {
            "use": "StratifiedKFold",
            "n_splits": size.n_splits,
            "shuffle": True,
            "random_state": SPLIT_SEED,
        },
        "preprocessing": {"numeric": [{"use": "StandardScaler"}]},
        "objective": "log_loss",
        "metrics": ["log_loss"],
        "model": {
            "use": "MLP",
            "n_blocks": {"int": [1, 3]},
            "d_block": {"int": [16, 64], "log": True},
            "activation": {"choice": ["ReLU", "GELU"]},
            "norm": {"choice": ["BatchNorm1d", None]},
            "dropout": {"float": [0, 0.5]},
        },
        "loss": "CrossEntropyLoss",
        "optimizer": {
            "use": "AdamW",
            "lr": {"float": [1e-4, 1e-2], "log": True},
            "weight_decay": {"float": [1e-6, 1e-1], "log": True},
        },
        "training": {"epochs": size.epochs, "batch_size": BATCH_SIZE},
        "search": {"trials": UNLIMITED, "seed": seed, "confirm": 0, "pruner": "MedianPruner"},
    }
