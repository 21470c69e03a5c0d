"""What a draw takes: as many units of each stratum as there are, whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.errors import DataError
from foldtune.selection.resampling import Units, draw_counts, group_units, row_units, time_units

CODES = st.lists(st.integers(0, 5), min_size=2, max_size=40)
LAW = settings(deadline=None, max_examples=50)


def draws_of(units: Units, draws: int = 20, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return draw_counts(units, draws, np.random.default_rng(seed))


@given(CODES)
@LAW
def test_every_draw_keeps_the_number_of_rows_of_each_class(classes: list[int]) -> None:
    counts = draws_of(row_units(len(classes), classes))
    for one in set(classes):
        members = np.array(classes) == one
        assert (counts[:, members].sum(axis=1) == members.sum()).all()


@given(CODES.filter(lambda groups: len(set(groups)) > 1), st.data())
@LAW
def test_a_group_is_taken_whole(groups: list[int], data: st.DataObject) -> None:
    classes = data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups)))
    counts = draws_of(group_units(groups, classes))
    for one in set(groups):
        rows = counts[:, np.array(groups) == one]
        assert (rows == rows[:, :1]).all()
    first = [groups.index(one) for one in sorted(set(groups))]
    assert (counts[:, first].sum(axis=1) == len(first)).all()


def test_groups_of_one_class_each_are_stratified() -> None:
    counts = draws_of(group_units([0, 0, 1, 2, 3], ["a", "a", "b", "b", "b"]), draws=200)
    assert (counts[:, :2] == 1).all()  # the only group of its class


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60).filter(lambda times: len(set(times)) > 9))
@LAW
def test_stretches_of_time_do_not_interleave_and_part_no_time(times: list[int]) -> None:
    units, at = time_units(times).of_row, np.array(times)
    for earlier in range(units.max()):
        assert at[units == earlier].max() < at[units == earlier + 1].min()


def test_rows_are_drawn_as_often_as_each_other() -> None:
    counts = draws_of(row_units(50), draws=4000)
    assert np.abs(counts.mean(axis=0) - 1).max() < 0.08  # 5 standard errors of a Poisson mean
    assert abs((counts == 0).mean() - (1 - 1 / 50) ** 50) < 0.005


def test_one_group_is_refused() -> None:
    with pytest.raises(DataError, match="a bootstrap needs at least 2 rows or groups, however: 1"):
        group_units([7, 7, 7])
