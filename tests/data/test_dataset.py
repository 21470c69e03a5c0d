from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldtune.data.dataset import Dataset

from .makers import classes, numbers


def test_take_keeps_classes_and_order() -> None:
    data = classes(9, groups=3, time=True)
    taken = data.take(np.array([4, 1]))
    assert taken.classes == ("u", "v", "w")
    assert taken.target.tolist() == [1, 1]
    assert taken.numeric[:, 1].tolist() == data.numeric[[4, 1], 1].tolist()
    assert taken.groups is not None and taken.time is not None and len(taken.groups) == len(taken.time) == 2


def test_sizes() -> None:
    assert (classes(9).n_rows, classes(9).n_outputs, numbers(9, 2).n_outputs) == (9, 3, 2)


def test_fingerprint_is_pinned() -> None:
    """A stored study is resumed only when this value is the same on every machine and with every library version."""
    data = Dataset(
        numeric=np.array([[1.5, np.nan], [-2.0, 0.25]]),
        categorical=np.array([["a"], [None]], dtype=object),
        target=np.array([0, 1]),
        task="classification",
        classes=("no", "yes"),
        numeric_names=("x", "z"),
        categorical_names=("c",),
        target_names=("y",),
    )
    assert data.fingerprint[:16] == "946492cf429ad07d"


def test_fingerprint_does_not_see_memory_layout_or_nan_payload() -> None:
    data = classes()
    strange = np.frombuffer(np.uint64(0x7FF8000000000123).tobytes(), dtype=np.float64)[0]
    numeric = np.asfortranarray(np.where(np.isnan(data.numeric), strange, data.numeric).astype(">f8"))
    assert replace(data, numeric=numeric).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    "change",
    ["numeric", "categorical", "target", "classes", "numeric_names", "groups", "time", "task"],
)
def test_fingerprint_sees_everything(change: str) -> None:
    data = classes(groups=2)
    numeric, categorical, target = data.numeric.copy(), data.categorical.copy(), data.target.copy()
    numeric[0, 1] += 1e-12
    categorical[0, 0] = "b" if categorical[0, 0] != "b" else None
    target[0] = 2
    values: dict[str, Any] = {
        "numeric": numeric,
        "categorical": categorical,
        "target": target,
        "classes": (1, 2, 3),
        "numeric_names": ("x", "q"),
        "groups": None,
        "time": np.arange(60.0),
        "task": "regression",
    }
    assert replace(data, **{change: values[change]}).fingerprint != data.fingerprint


def test_fingerprint_tells_labels_of_different_types_apart() -> None:
    data = classes(n_classes=2)
    assert replace(data, classes=(0, 1)).fingerprint != replace(data, classes=("0", "1")).fingerprint
