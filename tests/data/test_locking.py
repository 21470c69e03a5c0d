from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.data.locking import lock_test_rows
from foldtune.errors import DataError

from .makers import classes, labels, numbers


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(20, 80),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["classes", "labels", "numbers", "groups", "time"]),
)
def test_every_row_is_on_one_side(rows: int, fraction: float, seed: int, kind: str) -> None:
    make = {"numbers": numbers, "labels": labels}.get(kind, classes)
    data = make(rows, 2, groups=9 if kind == "groups" else 0, time=kind == "time")
    development, locked = lock_test_rows(data, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([development, locked])), np.arange(rows))
    assert (np.diff(development) > 0).all() and (np.diff(locked) > 0).all()
    assert len(locked) >= round(fraction * rows, 6)
    again = lock_test_rows(data, fraction, seed)[1]
    assert np.array_equal(locked, again)


def test_every_class_gives_its_share() -> None:
    data = replace(classes(100, 2), target=np.repeat([0, 1], [90, 10]))
    for seed in range(20):
        locked = lock_test_rows(data, 0.2, seed)[1]
        assert np.bincount(data.target[locked]).tolist() == [18, 2]


def test_every_label_gives_about_its_share() -> None:
    data = labels(500, 4, seed=1)
    for seed in range(5):
        locked = lock_test_rows(data, 0.2, seed)[1]
        assert len(locked) == 100
        assert np.abs(data.target[locked].mean(axis=0) - data.target.mean(axis=0)).sum() < 0.06  # chance: about 0.12


def test_every_quantile_gives_its_share() -> None:
    data = replace(numbers(100), target=np.random.RandomState(0).permutation(100).astype(np.float64)[:, None])
    locked = lock_test_rows(data, 0.1, 3)[1]
    assert np.sort(data.target[locked, 0] // 10).tolist() == list(range(10))


def test_groups_stay_whole_and_alike() -> None:
    data = replace(classes(200, 2, groups=2), groups=np.arange(200) // 10, target=(np.arange(200) // 10 % 2))
    for seed in range(5):
        development, locked = lock_test_rows(data, 0.2, seed)
        assert data.groups is not None
        assert not np.intersect1d(data.groups[development], data.groups[locked]).size
        assert len(locked) == 40 and data.target[locked].mean() == 0.5


def test_the_last_rows_in_time_are_locked_and_equal_times_stay_together() -> None:
    data = replace(classes(12, 2), time=np.array([5, 5, 4, 3, 2, 1, 0, 5, 1, 1, 1, 1.0]))
    development, locked = lock_test_rows(data, 0.1, 0)
    assert locked.tolist() == [0, 1, 7]
    assert len(development) == 9


def test_seeds_differ() -> None:
    locked = {lock_test_rows(classes(), 0.3, seed)[1].tobytes() for seed in range(4)}
    assert len(locked) > 1


def test_refusals() -> None:
    with pytest.raises(
        DataError, match=r"^data\.test_fraction: .* on both sides, however: 60 of 60 rows would be locked"
    ):
        lock_test_rows(classes(60), 0.999, 0)
    one_time = replace(classes(12), time=np.zeros(12))
    with pytest.raises(DataError, match=r"all 12 rows would be locked\. Too many rows share one time"):
        lock_test_rows(one_time, 0.2, 0)
    ordered = replace(classes(12, 2), time=np.arange(12.0), target=np.repeat([0, 1], [10, 2]))
    with pytest.raises(
        DataError, match=r"rows of every class, however: all 2 rows of class 'v' would be locked\. Lower"
    ):
        lock_test_rows(ordered, 0.2, 0)
    last = np.stack([np.arange(12) % 2, np.arange(12) == 11], axis=1).astype(np.int64)
    rare = replace(labels(12, 2), time=np.arange(12.0), target=last)
    with pytest.raises(DataError, match=r"all 1 rows of class `y1` = 1 would be locked"):
        lock_test_rows(rare, 0.2, 0)
