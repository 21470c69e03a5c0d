from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.data.dataset import Dataset
from foldtune.data.duplicates import Repeated, input_ids, repeated_rows
from foldtune.data.splitters import make_folds
from foldtune.values import Fold

from .makers import classes, numbers


def small(rows: int, seed: int) -> Dataset:
    """Two columns of few values each, cells missing, so that many rows are the same."""
    random = np.random.RandomState(seed)
    return replace(
        classes(rows, 2),
        numeric=random.choice([0.0, -0.0, 1.0, np.nan], size=(rows, 1)),
        categorical=random.choice(np.array(["a", "b", None], dtype=object), size=(rows, 1)),
        target=random.randint(0, 2, rows),
    )


def same(data: Dataset, one: int, other: int) -> bool:
    numeric = np.array_equal(data.numeric[one], data.numeric[other], equal_nan=True)
    return numeric and data.categorical[one].tolist() == data.categorical[other].tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(12, 30), st.integers(0, 1000), st.sampled_from(["KFold", "ShuffleSplit", "TimeSeriesSplit"]))
def test_rows_on_both_sides_are_those_of_a_search_of_all_pairs(rows: int, seed: int, splitter: str) -> None:
    data = replace(small(rows, seed), target=np.arange(rows) % 2)
    folds = make_folds(data, {"use": splitter, "n_splits": 3}, seed)
    pairs = {(v, t) for fold in folds for v in fold.valid.tolist() for t in fold.train.tolist() if same(data, v, t)}
    found = repeated_rows(data, folds)
    assert found.rows == len({row for row, _ in pairs})
    assert found.conflicting == len({row for row, twin in pairs if data.target[row] != data.target[twin]})
    assert (found.example in pairs) if pairs else found.example is None


def test_ids_are_equal_where_all_inputs_are() -> None:
    data = small(200, 0)
    ids = input_ids(data.numeric, data.categorical)
    assert all((ids[i] == ids[j]) == same(data, i, j) for i in range(60) for j in range(60))
    assert len(set(ids.tolist())) == 9


def test_images_and_tables_without_numbers() -> None:
    images = np.random.RandomState(0).rand(3, 1, 4, 4)[[0, 1, 0, 2]]
    assert input_ids(images, np.empty((4, 0), dtype=object)).tolist() == [0, 1, 0, 2]
    texts = np.array([["a"], ["b"], ["a"]], dtype=object)
    assert input_ids(np.empty((3, 0)), texts).tolist() == [0, 1, 0]


def test_rows_of_one_side_are_not_counted() -> None:
    data = replace(numbers(6), numeric=np.array([[1.0], [1.0], [2.0], [3.0], [3.0], [4.0]]))
    data = replace(data, categorical=np.empty((6, 0), dtype=object), target=np.arange(6.0)[:, None])
    apart = Fold(np.array([0, 1, 2]), np.array([3, 4, 5]))
    assert repeated_rows(data, [apart]) == Repeated(0, 0, None)
    across = Fold(np.array([0, 2, 3]), np.array([1, 4, 5]))
    assert repeated_rows(data, [across]) == Repeated(2, 2, (1, 0))
