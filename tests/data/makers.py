"""Tiny seeded data sets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.data.load import load
from foldtune.spec.schema import DataSpec


def classes(rows: int = 60, n_classes: int = 3, *, groups: int = 0, time: bool = False, seed: int = 0) -> Dataset:
    """Two numeric columns with missing cells, one categorical, and classes in turn."""
    random = np.random.RandomState(seed)
    numeric = random.standard_normal((rows, 2))
    numeric[::7, 0] = np.nan
    return Dataset(
        numeric=numeric,
        categorical=random.choice(np.array(["a", "b", "c", None], dtype=object), size=(rows, 1)),
        target=np.arange(rows, dtype=np.int64) % n_classes,
        task="classification",
        classes=tuple("uvwxyz"[:n_classes]),
        numeric_names=("x", "z"),
        categorical_names=("c",),
        target_names=("y",),
        groups=np.arange(rows, dtype=np.int64) // n_classes % groups if groups else None,
        time=-np.arange(rows, dtype=np.float64) if time else None,
    )


def numbers(rows: int = 60, targets: int = 1, *, groups: int = 0, time: bool = False, seed: int = 0) -> Dataset:
    """The same columns with targets to regress on."""
    made = classes(rows, 2, groups=groups, time=time, seed=seed)
    target = np.random.RandomState(seed).standard_normal((rows, targets)) * 10 + 5
    names = tuple(f"y{index}" for index in range(targets))
    return Dataset(
        made.numeric,
        made.categorical,
        target,
        "regression",
        (),
        made.numeric_names,
        made.categorical_names,
        names,
        made.groups,
        made.time,
    )


def labels(rows: int = 60, n_labels: int = 3, *, groups: int = 0, time: bool = False, seed: int = 0) -> Dataset:
    """The same columns with labels, the first on half of the rows, each of the others on half as many."""
    made, random = numbers(rows, n_labels, groups=groups, time=time, seed=seed), np.random.RandomState(seed)
    target = [random.permutation(rows) < rows // 2**label for label in range(1, n_labels + 1)]
    return replace(made, target=np.stack(target, axis=1).astype(np.int64), task="multilabel")


def read(folder: Path, **section: Any) -> Dataset:
    """Load a `data` section."""
    return load(DataSpec(**section), folder)


def write(folder: Path, text: str, name: str = "data.csv") -> str:
    """A file with this text; its name."""
    (folder / name).write_text(text)
    return name
