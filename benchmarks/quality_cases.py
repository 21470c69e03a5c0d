"""What is searched: the data sets, the study of each, and the ways to run foldtune on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.spec.schema import SearchSpec

BATCH_SIZE = 64
SPLIT_SEED = 0
"""All runs of a data set, on both sides, share one partition: scores are then of the same rows."""

DATA_SETS = ("digits", "breast_cancer", "made_5k")
UNLIMITED = 1_000_000
"""foldtune's runs end by time, not by number of trials."""


@dataclass(frozen=True)
class Size:
    """How large one search is.

    Args:
        trials: what the peer may finish.
        epochs: of every fold.
        n_splits: number of folds.
    """

    trials: int = 100
    epochs: int = 20
    n_splits: int = 5


@dataclass(frozen=True)
class Variant:
    """A way to run foldtune.

    Args:
        name: as the tables call it.
        overrides: `path=value` texts for `foldtune run --set`.
        skipped: why it is not run; empty when it is.
    """

    name: str
    overrides: tuple[str, ...] = ()
    skipped: str = ""


def arrays(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs (N, F) and classes (N,) of a data set."""
    from sklearn import datasets

    if name == "made_5k":
        made = {"n_samples": 5000, "n_features": 30, "n_informative": 10, "n_classes": 3, "flip_y": 0.05}
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
            "d_block": {"int": [16, 128], "log": True},
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
        "search": {"trials": UNLIMITED, "seed": seed},
    }


def variants(names: Sequence[str] | None, equal_nets: str | None, always: Sequence[str]) -> tuple[Variant, ...]:
    """The ways to run foldtune, the product's defaults first.

    Args:
        names: which of the others; None for all.
        equal_nets: the override that holds packs to equal nets, where this version has one.
        always: overrides for every one.
    """
    every = [_of("engine lockstep", {"engine": "lockstep"}), _of("no pruning", {"pruner": "NopPruner"})]
    every += [_of(f"cohort {count}", {"cohort": count}) for count in (1, 4, 8, 16)]
    skipped = "" if equal_nets else "this foldtune has no option for it, or none was named by `--equal-nets`"
    every += [Variant("packs of equal nets only", (equal_nets,) if equal_nets else (), skipped)]
    known = [variant.name for variant in every]
    if unknown := [name for name in names or () if name not in known]:
        raise SystemExit(f"variants must be among {known}, however: {unknown}")
    chosen = [Variant("foldtune"), *(variant for variant in every if names is None or variant.name in names)]
    return tuple(replace(variant, overrides=(*always, *variant.overrides)) for variant in chosen)


def _of(name: str, search: Mapping[str, object]) -> Variant:
    """A variant by fields of `search`; skipped where this foldtune does not have them."""
    missing = [f"`search.{key}`" for key in search if key not in SearchSpec.model_fields]
    skipped = f"this foldtune has no {', '.join(missing)}" if missing else ""
    return Variant(name, tuple(f"search.{key}={value}" for key, value in search.items()), skipped)
