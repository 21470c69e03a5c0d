"""Purged splitters beside a search of all pairs of rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.data.purged import PurgedKFold, PurgedTimeSeriesSplit
from foldtune.data.splitters import make_folds
from foldtune.errors import DataError, SpecError

from .makers import classes

Drawn = tuple[Any, Any, float]


@st.composite
def stretches(draw: st.DrawFn) -> Drawn:
    """Times in any order with ties, ends of labels, and an embargo or gap."""
    rows = draw(st.integers(12, 40))
    times = np.array(draw(st.lists(st.integers(0, 60), min_size=rows, max_size=rows)), dtype=np.float64)
    lasting = np.array(draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows)))
    return times, times + lasting, draw(st.integers(0, 6))


def meet(starts: Any, ends: Any, one: Any, other: Any) -> bool:
    """Whether any label of one set is made in a stretch that meets one of the other set's: all pairs."""
    return any(starts[i] <= ends[j] and starts[j] <= ends[i] for i in one for j in other)


@settings(max_examples=60, deadline=None)
@given(stretches(), st.integers(2, 4))
def test_no_training_label_meets_a_validation_label(drawn: Drawn, k: int) -> None:
    starts, ends, embargo = drawn
    folds = list(PurgedKFold(k, times=starts, label_end=ends, embargo=embargo).split(starts))
    assert np.sort(np.concatenate([valid for _, valid in folds])).tolist() == list(range(len(starts)))
    for train, valid in folds:
        assert not meet(starts, ends, train, valid)
        last = ends[valid].max()
        assert not ((starts[train] > last) & (starts[train] <= last + embargo)).any()
        kept = set(train.tolist()) | set(valid.tolist())
        for row in set(range(len(starts))) - kept:  # nothing is dropped without a reason
            span = starts[row] <= last and ends[row] >= starts[valid].min()
            assert span or last < starts[row] <= last + embargo


@settings(max_examples=60, deadline=None)
@given(stretches(), st.integers(2, 4))
def test_every_training_label_is_known_before_the_gap(drawn: Drawn, k: int) -> None:
    starts, ends, gap = drawn
    for train, valid in PurgedTimeSeriesSplit(k, times=starts, label_end=ends, gap=gap).split(starts):
        assert len(valid) == len(starts) // (k + 1)
        assert not meet(starts, ends, train, valid)
        assert not len(train) or ends[train].max() + gap < starts[valid].min()
        early = np.flatnonzero(ends + gap < starts[valid].min())
        assert np.array_equal(train, early)


def test_without_labels_that_last_it_is_the_time_series_split() -> None:
    from sklearn.model_selection import TimeSeriesSplit

    times = np.arange(30.0)
    ours = PurgedTimeSeriesSplit(4, times=times, test_size=5, max_train_size=7).split(times)
    theirs = TimeSeriesSplit(4, test_size=5, max_train_size=7).split(times)
    for (train, valid), (their_train, their_valid) in zip(ours, theirs, strict=True):
        assert train.tolist() == their_train.tolist() and valid.tolist() == their_valid.tolist()


def test_durations_are_seconds_of_dates() -> None:
    day = 86400.0
    folds = PurgedKFold(2, times=np.arange(8) * day, label_duration="2d", embargo="36h").split([0] * 8)
    assert [train.tolist() for train, _ in folds] == [[7], [0, 1]]


@pytest.mark.parametrize(
    ("splitter", "arguments", "message"),
    [
        (PurgedKFold, {"n_splits": 1}, r"validation\.n_splits: `n_splits` must be at least 2"),
        (PurgedKFold, {"label_duration": "5 days"}, r"validation\.label_duration: a time must be .*: 5 days"),
        (PurgedKFold, {"embargo": -1}, r"`embargo` must be finite and not negative, however: -1"),
        (PurgedTimeSeriesSplit, {"gap": float("inf")}, r"`gap` must be finite"),
        (PurgedKFold, {"label_end": [0, 0, 2]}, r"a label must not be known before .* 1 of 3 rows, the first 1"),
        (PurgedKFold, {"label_end": [9, 9, 9], "label_duration": 1}, r"only one of `label_end` and `label_duration`"),
    ],
)
def test_arguments_are_checked(splitter: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        splitter(**arguments, times=[0, 1, 2])


@pytest.mark.parametrize("splitter", [PurgedKFold, PurgedTimeSeriesSplit])
def test_too_few_rows_are_refused(splitter: Any) -> None:
    with pytest.raises(ValueError, match="rows cannot make 5 folds"):
        list(splitter(5, times=[0, 1, 2]).split([0] * 3))


def test_a_study_gives_the_times() -> None:
    data = classes(40, 2, time=True)  # the last row is the first in time
    first = make_folds(data, {"use": "PurgedTimeSeriesSplit", "n_splits": 3, "label_duration": 4}, 0)[0]
    assert first.valid.tolist() == list(range(20, 30)) and first.train.tolist() == list(range(34, 40))
    middle = make_folds(data, {"use": "PurgedKFold", "n_splits": 4, "label_duration": 2, "embargo": 3}, 0)[1]
    assert middle.valid.tolist() == list(range(20, 30))
    assert middle.train.tolist() == [*range(15), *range(32, 40)]
    with pytest.raises(DataError, match=r"`PurgedKFold` needs times\. Name their column in `data\.time`"):
        make_folds(classes(40), "PurgedKFold", 0)
    with pytest.raises(DataError, match=r"`PurgedKFold` must leave training rows in every fold"):
        make_folds(data, {"use": "PurgedKFold", "label_duration": 100}, 0)
