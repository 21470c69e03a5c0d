from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldtune.data.dataset import Dataset
from foldtune.data.one_column import column_names, told_by_each
from foldtune.data.splitters import make_folds

from .makers import classes, labels, numbers, read

LEAK = 0.95


def with_columns(data: Dataset, *columns: Any) -> Dataset:
    """The data with these numbers for columns."""
    names = tuple(f"x{place}" for place in range(len(columns)))
    return replace(data, numeric=np.stack(columns, axis=1).astype(float), numeric_names=names)


def told(data: Dataset, node: Any = None) -> dict[str, float]:
    found = told_by_each(data, make_folds(data, node, 0))
    return dict(zip(column_names(data), found.tolist(), strict=True))


def test_a_copy_of_a_class_is_told_in_any_codes() -> None:
    data = replace(classes(200), target=np.random.RandomState(0).randint(0, 3, 200))
    codes = np.array([7.0, -2.0, 3.0])[data.target]
    data = with_columns(data, np.random.RandomState(1).rand(200), codes + np.random.RandomState(2).rand(200) * 0.1)
    labels = np.array(["p", "q", "p"], dtype=object)[data.target]
    data = replace(data, categorical=np.stack([np.array(list("uvw"), dtype=object)[data.target], labels], axis=1))
    found = told(replace(data, categorical_names=("copy", "half")))
    assert found["x1"] == found["copy"] == 1.0
    assert found["x0"] < 0.1 and found["half"] < 0.8


def test_a_copy_of_a_number_is_told_in_any_units() -> None:
    data = numbers(300)
    y = data.target[:, 0]
    heavy = np.exp(y)
    data = with_columns(data, heavy, -y + 5 * np.random.RandomState(7).randn(300), np.random.RandomState(1).rand(300))
    found = told(data)
    assert found["x0"] > 0.99 and 0.3 < found["x1"] < 0.9 and found["x2"] < 0.2


def test_a_copy_of_one_label_is_told() -> None:
    data = labels(300)
    data = with_columns(data, 3 - data.target[:, 2], np.random.RandomState(1).rand(300))
    found = told(data)
    assert found["x0"] == 1.0 and found["x1"] < 0.1


def test_a_rare_class_is_told_by_a_column_only_if_all_of_it_is() -> None:
    data = replace(classes(1000, 2), target=(np.arange(1000) % 50 == 0).astype(np.int64))
    wrong = data.target.copy()
    wrong[[0, 50, 1, 2]] ^= 1
    found = told(with_columns(data, data.target, wrong, np.zeros(1000)))
    assert found["x0"] == 1.0 and found["x1"] < 0.75 and found["x2"] == pytest.approx(-2 / 20**0.5)


def test_an_identity_that_folds_share_is_told_and_one_that_they_do_not_is_not() -> None:
    person = np.arange(400) // 10
    data = replace(classes(400, 2), target=np.random.RandomState(0).randint(0, 2, 40)[person])
    data = replace(data, categorical=person.astype(str).astype(object)[:, None])
    assert told(data)["c"] > LEAK
    assert told(replace(data, groups=person))["c"] < 0.2


@pytest.mark.parametrize("node", ["LeaveOneOut", {"use": "LeavePOut", "p": 2}])
def test_folds_of_few_rows_are_taken_together(node: Any) -> None:
    data = replace(classes(60, 2), target=np.random.RandomState(0).randint(0, 2, 60))
    noise = np.random.RandomState(1).rand(60)
    found = told(with_columns(data, data.target, noise), node)
    assert found["x0"] == 1.0 and found["x1"] < 0.5


def test_of_a_handful_of_rows_nothing_is_said() -> None:
    data = replace(classes(20, 2), target=np.arange(20) % 2)
    assert told(with_columns(data, data.target))["x0"] == -np.inf


def test_images_are_looked_at_pixel_by_pixel() -> None:
    data = replace(classes(100, 2), target=np.arange(100) % 2, numeric_names=(), categorical_names=())
    images = np.random.RandomState(0).rand(100, 1, 2, 2)
    images[:, 0, 1, 0] = data.target
    data = replace(data, numeric=images, categorical=np.empty((100, 0), dtype=object))
    assert told(data)["feature 2"] == 1.0


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "iris", "wine", "diabetes"])
def test_no_column_of_the_bundled_sets_is_a_leak(name: str, tmp_path: Path) -> None:
    data = read(tmp_path, use=name)
    assert told_by_each(data, make_folds(data, None, 0), enough=0.8).max() < 0.92


@pytest.mark.parametrize(
    ("section", "leaks"),
    [
        ({"table": "penguins/penguins.csv", "target": "species"}, []),
        ({"table": "concrete/Concrete_Data.csv", "target": -1}, []),
        (
            {"table": "adult/adult.data.gz", "header": None, "skipinitialspace": True, "na_values": "?", "target": 14},
            [],
        ),
        ({"table": "bike_sharing/hour.csv.gz", "target": "cnt", "drop": ["instant"]}, ["registered"]),
    ],
)
def test_on_real_data_only_leaks_are_named(section: dict[str, Any], leaks: list[str], shared_data: Path) -> None:
    data = read(shared_data, **section)
    found = told_by_each(data, make_folds(data, None, 0), enough=0.8)
    assert [name for name, share in zip(column_names(data), found, strict=True) if share > LEAK] == leaks
