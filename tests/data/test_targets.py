from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.data.targets import infer_task
from foldtune.errors import DataError

from .makers import read

ROWS = 60


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 30, "classification"),
        ([True, False] * 30, "classification"),
        ([0, 1] * 30, "classification"),
        ([0.0, 1.0] * 30, "classification"),
        (list(range(20)) * 3, "classification"),
        (list(range(21)) * 3, "regression"),
        ([0.0, 1.5] * 30, "regression"),
        (range(6), "regression"),
        ([3, 7], "classification"),
        (pd.Categorical([1, 2] * 30), "classification"),
        ([float("inf"), 1.0] * 30, "regression"),
    ],
)
def test_task_is_inferred(values: Any, task: str) -> None:
    assert infer_task(pd.DataFrame({"y": values})) == task


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "c"] * 20, ("a", "b", "c")),
        ([2, 10, 1] * 20, (1, 2, 10)),
        ([2.0, 10.0, 1.0] * 20, (1.0, 2.0, 10.0)),
        ([True, False, True] * 20, (False, True)),
        (pd.Categorical([2, 10, 1] * 20), (1, 2, 10)),
        (pd.array([2, 10, 1] * 20, dtype="Int64"), (1, 2, 10)),
        (np.array(["b", 1, "a"] * 20, dtype=object), ("1", "a", "b")),
    ],
)
def test_labels_are_sorted_and_keep_their_type(values: Any, labels: tuple[Any, ...], tmp_path: Path) -> None:
    data = read(tmp_path, table=pd.DataFrame({"x": range(ROWS), "y": values}), target="y", task="classification")
    assert data.classes == labels and [type(a) for a in data.classes] == [type(b) for b in labels]
    assert data.target.dtype == np.int64
    assert [str(data.classes[code]) for code in data.target[:3]] == [str(value) for value in list(values)[:3]]


def test_task_overrules(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(ROWS), "y": [0, 1] * 30})
    data = read(tmp_path, table=table, target="y", task="regression")
    assert data.target.shape == (ROWS, 1) and data.target.dtype == np.float64 and data.classes == ()


@pytest.mark.parametrize(
    ("columns", "task", "message"),
    [
        ({"y": ["a"] * ROWS}, None, r"^data\.target: the target `y` must have at least two classes, however: only 'a'"),
        ({"y": [1] * ROWS}, None, r"must have at least two classes"),
        (
            {"y": ["a", "b"] * 30},
            "regression",
            r"regression target `y` must hold numbers, however: 'a' in 60 of 60 rows",
        ),
        (
            {"y": [0.5, 1] * 30},
            "classification",
            r"must be whole numbers, however: fractions in 30 of 60 rows.*task: reg",
        ),
        ({"y": [0.5, np.inf] * 30}, None, r"target `y` must be finite, however: infinite in 30 of 60 rows"),
        ({"y": [0.5] * ROWS}, None, r"target `y` must vary, however: 0\.5 in all 60 rows"),
        ({"y": [0.5, None] * 30}, None, r"missing in 30 of 60 rows, the first 1, 3, 5, 7, 9 \(counted from 0\)"),
        (
            {"y": pd.to_datetime(["2024-01-01", "2024-01-02"] * 30)},
            None,
            r"must hold labels or numbers, however: datetime",
        ),
        ({"y": pd.to_datetime(["2024-01-01", "2024-01-02"] * 30)}, "regression", r"must hold numbers, however: dates"),
        ({"y": [0.5, 1] * 30, "z": ["a", "b"] * 30}, None, r"regression target `z` must hold numbers"),
        ({"y": [0, 1] * 30}, "multilabel", r"at least two target columns, however: `y`\. One column of 0 and 1 is"),
        ({"y": [0, 1] * 30, "z": [0, 2] * 30}, "multilabel", r"label `z` must hold 0 and 1, .* 2 in 30 of 60 rows"),
        ({"y": [0, 1] * 30, "z": ["n", "y"] * 30}, "multilabel", r"label `z` must hold 0 and 1, .* 'n' in 60 of 60"),
        ({"y": [0, 1] * 30, "z": [1] * 60}, None, r"data\.target: the label `z` must vary, however: only 1"),
        ({"y": [0, 1] * 30, "z": [1, 0, None] * 20}, None, r"target `z` must have no missing values"),
        ({"y": [0, 1] * 30, "z": [0, 1] * 30}, "classification", r"must have one target column, however: `y`, `z`"),
    ],
)
def test_refusals(columns: dict[str, Any], task: str | None, message: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(ROWS), **columns})
    with pytest.raises(DataError, match=message):
        read(tmp_path, table=table, target=list(columns) if len(columns) > 1 else "y", task=task)


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ([[0, 1] * 30, [1, 1, 0] * 20], "multilabel"),
        ([[0.0, 1.0] * 30, [True, False] * 30], "multilabel"),
        ([pd.array([True, None] * 30, dtype="boolean"), np.array([True, False] * 30, dtype=object)], "multilabel"),
        ([[0, 1] * 30, [0, 1, 2] * 20], "regression"),
        ([[0, 1] * 30, [0.5, 1] * 30], "regression"),
        ([[0, 1] * 30, ["0", "1"] * 30], "regression"),
    ],
)
def test_several_columns_of_zeros_and_ones_are_labels(columns: list[Any], task: str) -> None:
    assert infer_task(pd.DataFrame({f"y{index}": column for index, column in enumerate(columns)})) == task


def test_labels_are_zeros_and_ones_in_their_order(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(ROWS), "a": [True, False] * 30, "b": [1.0, 0.0, 0.0] * 20})
    data = read(tmp_path, table=table, target=["b", "a"])
    assert (data.task, data.classes, data.target_names, data.n_outputs) == ("multilabel", (), ("b", "a"), 2)
    assert data.target.dtype == np.int64 and data.target[:3].tolist() == [[1, 1], [0, 0], [0, 1]]
    assert data.class_counts(np.arange(3)) == {"`b` = 0": 2, "`b` = 1": 1, "`a` = 0": 1, "`a` = 1": 2}
    numbers = read(tmp_path, table=table, target=["b", "a"], task="regression")
    assert numbers.target.dtype == np.float64 and numbers.class_counts(np.arange(3)) == {}


def test_several_targets(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(ROWS), "a": range(ROWS), "b": [1, 2, 3] * 20})
    data = read(tmp_path, table=table, target=["b", "a"])
    assert data.task == "regression" and data.target[1].tolist() == [2, 1] and data.numeric_names == ("x",)
