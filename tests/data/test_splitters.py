from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.data.dataset import Dataset
from foldtune.data.splitters import QuantileStratifiedKFold, folds_fingerprint, make_folds
from foldtune.errors import DataError, SpecError
from foldtune.testing import splitter_laws as laws
from foldtune.values import Fold

from .makers import classes, labels, numbers

HERE = __name__
QUANTILES = "foldtune.data.splitters:QuantileStratifiedKFold"


class Overlapping:
    """Trains on its validation rows."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Any, Any]]:
        yield np.arange(len(y)), np.arange(5)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return 1


class Fixed(Overlapping):
    """Gives the folds that it was made with, rows in any order."""

    def __init__(self, folds: list[list[list[int]]]) -> None:
        self.folds = folds

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Any, Any]]:
        yield from ((train, valid) for train, valid in self.folds)


def plain(rows: int) -> Dataset:
    return classes(rows)


def grouped(rows: int) -> Dataset:
    return classes(rows, groups=8)


def timed(rows: int) -> Dataset:
    return classes(rows, time=True)


def continuous(rows: int) -> Dataset:
    return numbers(rows, 2)


def grouped_numbers(rows: int) -> Dataset:
    return numbers(rows, groups=8)


def grouped_labels(rows: int) -> Dataset:
    return labels(rows, 2, groups=8)


def tiny(rows: int) -> Dataset:
    return classes(12)


def columned(rows: int) -> Dataset:
    """A third of the rows always trains."""
    return replace(continuous(rows), beside={"test_fold": np.arange(rows, dtype=np.float64) % 3 - 1})


def labelled(rows: int) -> Dataset:
    return replace(numbers(rows, 2), target=(np.random.RandomState(rows).rand(rows, 2) < 0.4).astype(float))


def ending(rows: int) -> Dataset:
    data = timed(rows)
    assert data.time is not None
    return replace(data, beside={"label_end": data.time + np.arange(rows) % 3})


# name, node, data, times each row is validated (0: not a partition), whether it shuffles
TABLE: list[tuple[str, Any, Any, int, bool]] = [
    ("default classes", None, plain, 1, True),
    ("default numbers", None, continuous, 1, True),
    ("default labels", None, labels, 1, True),
    ("default group labels", None, grouped_labels, 1, True),
    ("default groups", None, grouped, 1, True),
    ("default group numbers", None, grouped_numbers, 1, True),
    ("default time", None, timed, 0, False),
    ("bare name", "KFold", plain, 1, True),
    ("KFold", {"use": "KFold", "n_splits": 3}, plain, 1, True),
    ("unshuffled", {"use": "StratifiedKFold", "n_splits": 4, "shuffle": False}, plain, 1, False),
    ("own seed", {"use": "KFold", "random_state": 7}, plain, 1, False),
    ("RepeatedKFold", {"use": "RepeatedKFold", "n_splits": 3, "n_repeats": 2}, plain, 2, True),
    ("RepeatedStratifiedKFold", {"use": "RepeatedStratifiedKFold", "n_splits": 3, "n_repeats": 2}, plain, 2, True),
    ("ShuffleSplit", {"use": "ShuffleSplit", "n_splits": 2}, plain, 0, True),
    ("StratifiedShuffleSplit", {"use": "StratifiedShuffleSplit", "n_splits": 40}, plain, 0, True),
    ("LeaveOneOut", "LeaveOneOut", plain, 1, False),
    ("PredefinedSplit", {"use": "PredefinedSplit", "test_fold": [0, 1, -1] * 10}, continuous, 0, False),
    ("quantiles", {"use": QUANTILES, "n_splits": 4}, continuous, 1, True),
    ("GroupKFold", {"use": "GroupKFold", "n_splits": 8}, grouped, 1, False),  # one group a fold: order aside, one deal
    ("GroupShuffleSplit", {"use": "GroupShuffleSplit", "n_splits": 3}, grouped, 0, True),
    ("LeaveOneGroupOut", "LeaveOneGroupOut", grouped, 1, False),
    ("LeavePGroupsOut", {"use": "LeavePGroupsOut", "n_groups": 2}, grouped_numbers, 7, False),
    ("TimeSeriesSplit", {"use": "TimeSeriesSplit", "n_splits": 3, "gap": 2}, timed, 0, False),
    ("time without times", "TimeSeriesSplit", plain, 0, False),
    ("LeavePOut", {"use": "LeavePOut", "p": 2}, tiny, 11, False),
    ("StratifiedGroupKFold", {"use": "StratifiedGroupKFold", "n_splits": 4}, grouped, 1, True),
    ("predefined by a column", {"use": "PredefinedSplit", "test_fold": "fold"}, columned, 0, False),
    ("quantiles by name", "QuantileStratifiedKFold", continuous, 1, True),
    ("labels", {"use": "MultilabelStratifiedKFold", "n_splits": 3}, labelled, 1, True),
    ("purged", {"use": "PurgedTimeSeriesSplit", "n_splits": 3, "label_duration": 2}, timed, 0, False),
    ("purged by a column", {"use": "PurgedTimeSeriesSplit", "n_splits": 3, "label_end": "end"}, ending, 0, False),
]  # fmt: skip


def rows_for(name: str) -> st.SearchStrategy[int]:
    return st.just(30) if name == "PredefinedSplit" else st.integers(30, 70)


@pytest.mark.parametrize(("name", "node", "make", "times", "shuffles"), TABLE, ids=[row[0] for row in TABLE])
@settings(max_examples=8, deadline=None)
@given(draw=st.data())
def test_laws(name: str, node: Any, make: Any, times: int, shuffles: bool, draw: st.DataObject) -> None:
    data, seed = make(draw.draw(rows_for(name))), draw.draw(st.integers(0, 2**32))
    folds = make_folds(data, node, seed)
    laws.check_rows(folds, data.n_rows)
    laws.check_repeatable(data, node, seed)
    if times:
        laws.check_partition(folds, data.n_rows, times)
    if data.groups is not None:
        laws.check_groups(folds, data.groups)
    if data.time is not None:
        laws.check_times(folds, data.time)


SEEDED = [row for row in TABLE if row[0] != "GroupKFold"]
"""With as many folds as groups, a shuffle changes the order of the folds alone."""


@pytest.mark.parametrize(("name", "node", "make", "times", "shuffles"), SEEDED, ids=[row[0] for row in SEEDED])
def test_the_seed_matters_where_a_splitter_shuffles(
    name: str, node: Any, make: Any, times: int, shuffles: bool
) -> None:
    laws.check_seeded(make(30), node, range(6), shuffles)


@pytest.mark.parametrize(
    "node", [None, {"use": "StratifiedKFold", "n_splits": 4}, {"use": "RepeatedStratifiedKFold", "n_splits": 4}]
)
def test_every_class_is_dealt_evenly(node: Any) -> None:
    data = replace(classes(50), target=np.repeat([0, 1, 2], [7, 12, 31]))
    counts = np.array([np.bincount(data.target[fold.valid], minlength=3) for fold in make_folds(data, node, 3)])
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_every_label_is_dealt_evenly() -> None:
    data = labels(100, 3)
    counts = np.array([data.target[fold.valid].sum(axis=0) for fold in make_folds(data, None, 3)])
    assert (np.ptp(counts, axis=0) <= 2).all() and np.ptp(counts[:, 2]) <= 1  # the rarest is dealt first


def test_leaving_one_out_turns_the_prior_round() -> None:
    """On balanced labels the most frequent class of the other rows is never a row's own."""
    data = classes(30, 2)
    right = [
        np.bincount(data.target[fold.train]).argmax() == data.target[fold.valid[0]]
        for fold in make_folds(data, "LeaveOneOut", 0)
    ]
    assert len(right) == 30 and not any(right)


def test_quantile_folds_have_nearly_the_same_mean() -> None:
    data = replace(numbers(200), target=np.exp(np.random.RandomState(0).standard_normal((200, 1)) * 2))  # a heavy tail
    means = [np.log(data.target[fold.valid]).mean() for fold in make_folds(data, "QuantileStratifiedKFold", 0)]
    assert np.ptp(means) < 0.1  # 0.6 or so for folds at random


def test_shuffled_splits_keep_the_shares_of_the_classes() -> None:
    data = replace(classes(100, 2), target=np.repeat([0, 1], [80, 20]))
    folds = make_folds(data, {"use": "StratifiedShuffleSplit", "n_splits": 5, "test_size": 0.25}, 0)
    assert [np.bincount(data.target[fold.valid]).tolist() for fold in folds] == [[20, 5]] * 5


def test_groups_keep_the_shares_of_the_classes() -> None:
    data = replace(classes(400, 2), groups=np.arange(400) // 10, target=np.random.RandomState(0).randint(0, 2, 400))
    folds = make_folds(data, {"use": "StratifiedGroupKFold", "n_splits": 4}, 0)
    assert max(abs(data.target[fold.valid].mean() - data.target.mean()) for fold in folds) < 0.05


def test_each_group_is_left_out_once() -> None:
    data = grouped(40)
    folds = make_folds(data, "LeaveOneGroupOut", 0)
    assert data.groups is not None and [set(data.groups[fold.valid].tolist()) for fold in folds] == [
        {g} for g in range(8)
    ]


def test_a_gap_lies_between_training_and_validation() -> None:
    data = timed(60)
    for fold in make_folds(data, {"use": "TimeSeriesSplit", "n_splits": 4, "gap": 3}, 0):
        assert data.time is not None and data.time[fold.train].max() + 3 < data.time[fold.valid].min()


def test_predefined_folds_come_back() -> None:
    data = columned(30)
    folds = make_folds(data, {"use": "PredefinedSplit", "test_fold": "fold"}, 0)
    assert [fold.valid.tolist() for fold in folds] == [list(range(1, 30, 3)), list(range(2, 30, 3))]
    assert all(set(range(0, 30, 3)) <= set(fold.train.tolist()) for fold in folds)


def test_predefined_folds_are_whole_numbers() -> None:
    node = {"use": "PredefinedSplit", "test_fold": "fold"}
    for wrong in (0.5, -2.0):
        data = replace(columned(30), beside={"test_fold": np.where(np.arange(30) == 4, wrong, 0.0)})
        with pytest.raises(
            DataError, match=r"^validation\.test_fold: folds must be whole numbers .*: .* in 1 of 30 rows"
        ):
            make_folds(data, node, 0)


def test_time_splitters_see_rows_in_the_order_of_time() -> None:
    fold = make_folds(timed(30), {"use": "TimeSeriesSplit", "n_splits": 2}, 0)[0]  # the last row is the first in time
    assert fold.train.tolist() == list(range(20, 30)) and fold.valid.tolist() == list(range(10, 20))


def test_a_predefined_split_keeps_the_order_of_the_file() -> None:
    node = {"use": "PredefinedSplit", "test_fold": [0] * 10 + [-1] * 20}
    assert make_folds(timed(30), node, 0)[0].valid.tolist() == list(range(10))


def test_broken_folds_break_the_laws() -> None:
    rows = np.arange(6)
    overlapping = [Fold(rows[:4], rows[3:])]
    with pytest.raises(AssertionError, match="a row is on both sides"):
        laws.check_rows(overlapping, 6)
    with pytest.raises(AssertionError, match=r"validated \[0, 1\] times"):
        laws.check_partition(overlapping, 6)
    with pytest.raises(AssertionError, match=r"groups \[1\] are divided"):
        laws.check_groups([Fold(rows[:3], rows[3:])], rows // 2)
    with pytest.raises(AssertionError, match="comes after"):
        laws.check_times([Fold(rows[3:], rows[:3])], rows)
    with pytest.raises(AssertionError, match="all seeds gave the same folds"):
        laws.check_seeded(plain(30), "LeaveOneOut", range(3))
    with pytest.raises(AssertionError, match="the seed changed folds"):
        laws.check_seeded(plain(30), "KFold", range(3), shuffles=False)


def test_folds_do_not_change_between_versions() -> None:
    """A stored study goes on only with the same folds: these must never change."""
    prints = [folds_fingerprint(make_folds(make(30), None, 0))[:8] for make in (plain, continuous, grouped, timed)]
    assert prints == ["af500337", "5f24eec0", "3ee29624", "8516647b"]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(10, 60), st.integers(0, 2**32 - 1))
def test_quantile_folds_have_equal_sizes_and_one_row_of_every_block(k: int, rows: int, seed: int) -> None:
    y = np.random.RandomState(seed % 1000).permutation(rows).astype(np.float64)
    folds = [valid for _, valid in QuantileStratifiedKFold(k, random_state=seed).split(None, y)]
    sizes = [len(valid) for valid in folds]
    assert max(sizes) - min(sizes) <= 1
    for valid in folds:
        blocks = np.sort(y[valid]).astype(int) // k
        assert len(set(blocks)) == len(blocks)


def test_quantile_folds_do_not_depend_on_the_order_of_ties() -> None:
    """Many equal targets must not all go to the folds in file order."""
    folds = list(QuantileStratifiedKFold(2, random_state=1).split(None, np.zeros(40)))
    assert 4 < (folds[0][1] < 20).sum() < 16


@pytest.mark.parametrize(
    ("data", "node", "message"),
    [
        (
            replace(classes(30, 2), target=np.repeat([0, 1], [27, 3])),
            {"use": "StratifiedKFold", "n_splits": 5},
            r"^validation\.n_splits: .* at most the rows of the rarest class, 'v' \(3\), however: n_splits=5\. Lower",
        ),
        (
            replace(classes(30, 2), target=np.repeat([0, 1], [27, 3])),
            None,
            r"^validation: `n_splits` must be at most the rows of the rarest class",
        ),
        (
            classes(30, groups=3),
            {"use": "GroupKFold", "n_splits": 5},
            r"^validation\.n_splits: .* at most the number of groups \(3\), however: n_splits=5\. Lower it",
        ),
        (classes(4), {"use": "KFold", "n_splits": 5}, r"at most the number of rows \(4\), however: n_splits=5"),
        (
            classes(30, groups=6),
            "KFold",
            r"^validation: rows of one group must stay together, which `KFold` does not see to, however: 6 groups",
        ),
        (classes(30), "GroupKFold", r"`GroupKFold` needs groups\. Name their column in `data.group`"),
        (classes(30, time=True), "KFold", r"training rows must come before validation rows in time, which `KFold`"),
        (labels(30), "StratifiedKFold", r"needs classes to stratify by, .*MultilabelStratifiedKFold"),
        (labels(30, groups=6), "StratifiedGroupKFold", r"needs classes to stratify by, .*a multilabel.*Use GroupKFold"),
        (
            replace(labels(30, 2), target=np.stack([np.arange(30) % 2, np.arange(30) == 7], axis=1).astype(np.int64)),
            None,
            r"must leave training rows of every class, however: fold \d has none of `y1` = 1",
        ),
        (numbers(30), "StratifiedKFold", r"needs classes to stratify by, .*QuantileStratifiedKFold"),
        (numbers(30, groups=6), "StratifiedGroupKFold", r"needs classes to stratify by, .*Use GroupKFold"),
        (classes(30), f"{HERE}:Overlapping", r"must not train on validation rows, however: 5 rows .* such as row 0"),
        (classes(30), {"use": f"{HERE}:Fixed", "folds": []}, r"must give at least one fold"),
        (
            classes(30),
            {"use": f"{HERE}:Fixed", "folds": [[[0, 1, 2], []]]},
            r"must leave validation rows in every fold",
        ),
        (classes(30), {"use": f"{HERE}:Fixed", "folds": [[[0, 1, 2, 2], [4]]]}, r"must not repeat training rows"),
        (
            classes(30),
            {"use": f"{HERE}:Fixed", "folds": [[[0, 1], [4]]]},
            r"must leave training rows of every class, however: fold 0 has none of 'w'",
        ),
        (
            classes(30),
            {"use": f"{HERE}:Fixed", "folds": [[[0, 99], [4]]]},
            r"must be able to split the rows, however: ind",
        ),
        (
            classes(30, groups=10),
            {"use": "PredefinedSplit", "test_fold": [0, 1] * 15},
            r"`PredefinedSplit` must not divide a group, however: \d+ groups on both sides in fold 0",
        ),
        (
            classes(30, time=True),
            {"use": "PredefinedSplit", "test_fold": [0, 1] * 15},
            r"must train on rows before the validation rows in time, however: fold 0",
        ),
        (
            classes(30),
            {"use": "ShuffleSplit", "test_size": 60},
            r"`ShuffleSplit` must be able to split the rows, however",
        ),
        (
            replace(classes(30, 3), target=np.array([2] + [0, 1] * 14 + [0])),
            {"use": "KFold"},
            r"`KFold` must leave training rows of every class, however: fold \d has none of 'w'",
        ),
    ],
)
def test_refusals(data: Dataset, node: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_folds(data, node, 0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            "KFolds",
            r"^validation: .* `KFolds` in sklearn.model_selection or foldtune.data.splitters\. Did you mean KFold",
        ),
        ({"use": "KFold", "n_split": 3}, r"^validation: `KFold` must accept its arguments"),
        ({"use": "LeavePOut", "p": 4}, r"^validation: `LeavePOut` must give at most 10000 folds, however: 487635"),
        ({"use": QUANTILES, "n_splits": 1}, r"^validation\.n_splits: `n_splits` must be at least 2, however: 1"),
    ],
)
def test_wrong_splitters(node: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_folds(classes(60), node, 0)


def test_faults_are_reported_together() -> None:
    folds = [[[0, 1, 2], [2]], [[0, 1], [3]]]
    with pytest.raises(DataError) as caught:
        make_folds(classes(30), {"use": f"{HERE}:Fixed", "folds": folds}, 0)
    assert len(caught.value.problems) == 2
