from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from foldtune.errors import DataError, SpecError

from .makers import read


class Squares(TorchDataset[Any]):
    """Items of shape (1, 2, 2) with a label; counts how often each was read."""

    def __init__(self, rows: int = 8, ragged: bool = False) -> None:
        self.rows, self.ragged, self.reads = rows, ragged, 0

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.reads += 1
        assert self.reads <= self.rows, "items are read once"
        return np.full((1, 2, 3 if self.ragged and index == 5 else 2), float(index)), index % 2


def tensors(rows: int = 8) -> TensorDataset:
    return TensorDataset(tensor([[float(i)] for i in range(rows)]), tensor([i % 2 for i in range(rows)]))


def pair(rows: int = 8, labels: str = "ab") -> tuple[Any, Any]:
    return [[index] for index in range(rows)], [labels[index % 2] for index in range(rows)]


def table(rows: int = 8) -> pd.DataFrame:
    return pd.DataFrame({"x": range(rows), "label": ["a", "b"] * (rows // 2)})


def triple() -> tuple[int, int, int]:
    return 1, 2, 3


def fussy(rows: int) -> None:
    raise ValueError("rows must be even")


def numberless() -> int:
    return 3


def keyed(**anything: int) -> tuple[Any, Any]:
    return pair(anything["n"])


def single_items() -> list[int]:
    return [1, 2]


@pytest.mark.parametrize(
    ("name", "task", "shape", "outputs"),
    [
        ("iris", "classification", (150, 4), 3),
        ("wine", "classification", (178, 13), 3),
        ("breast_cancer", "classification", (569, 30), 2),
        ("digits", "classification", (1797, 64), 10),
        ("diabetes", "regression", (442, 10), 1),
        ("linnerud", "regression", (20, 3), 3),
        ("make_moons", "classification", (100, 2), 2),
        ("make_classification", "classification", (100, 20), 2),
        ("make_regression", "regression", (100, 100), 1),
        ("make_hastie_10_2", "classification", (12000, 10), 2),
        ("make_swiss_roll", "regression", (100, 3), 1),
    ],
)
def test_scikit_learn_sets(name: str, task: str, shape: tuple[int, int], outputs: int, tmp_path: Path) -> None:
    data = read(tmp_path, use=name)
    assert (data.task, data.numeric.shape, data.n_outputs) == (task, shape, outputs)


def test_bundled_columns_have_their_names(tmp_path: Path) -> None:
    assert read(tmp_path, use="digits").numeric_names[:2] == ("pixel_0_0", "pixel_0_1")
    data = read(tmp_path, use="linnerud", target=["Weight", "Pulse"])
    assert data.target_names == ("Weight", "Pulse") and data.n_outputs == 2
    with pytest.raises(
        DataError, match=r"^data\.target: the column must be there, however: 'weigth'. Did you mean Wei"
    ):
        read(tmp_path, use="linnerud", target="weigth")


def test_generators_give_the_same_data_again(tmp_path: Path) -> None:
    prints = [
        read(tmp_path, use="make_moons", n_samples=20, **more).fingerprint for more in ({}, {}, {"random_state": 1})
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("name", "shape"), [("Squares", (8, 1, 2, 2)), ("tensors", (8, 1)), ("pair", (8, 1)), ("table", (8, 1))]
)
def test_own_sources(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    data = read(tmp_path, use=f"{__name__}:{name}", rows=8, **({"target": "label"} if name == "table" else {}))
    assert data.numeric.shape == shape and data.target.tolist() == [0, 1] * 4
    assert data.classes == (("a", "b") if name in ("pair", "table") else (0, 1))


def test_open_ended_arguments_are_passed_on(tmp_path: Path) -> None:
    assert read(tmp_path, use=f"{__name__}:keyed", n=6).n_rows == 6


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("triple", {}, r"must give a pair \(X, y\), however: 3 values"),
        ("numberless", {}, r"must give a pair \(X, y\), however: int\. A `DataFrame` will do as well"),
        ("single_items", {}, r"must be pairs \(x, y\), however: int at row 0"),
        ("Squares", {"ragged": True}, r"every x .* same shape, however: \(1, 2, 2\) at row 0, \(1, 2, 3\) at row 5"),
        ("Squares", {"rows": 0}, r"there must be rows"),
        ("table", {}, r"^data\.target: a table needs `target`"),
        ("Squares", {"row": 1}, r"^data\.row: `Squares` has no argument `row`\. Did you mean rows\?"),
        ("fussy", {}, r"^data\.use: `.*fussy` needs the argument `rows`"),
    ],
)
def test_refusals(name: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, use=f"{__name__}:{name}", **options)


def test_a_source_that_refuses_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"fussy` must accept its arguments, however: rows must be even"):
        read(tmp_path, use=f"{__name__}:fussy", rows=3)
    with pytest.raises(SpecError, match=r"`make_moons` must accept its arguments, however: .*noise"):
        read(tmp_path, use="make_moons", noise=-1)
