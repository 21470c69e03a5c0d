"""The interval of a score that nothing was selected by."""

import numpy as np
import pytest

from foldtune.errors import DataError
from foldtune.selection import interval
from foldtune.selection.interval import row_interval
from foldtune.selection.resampling import row_units
from foldtune.selection.scorers import BinaryRanking, RowMeans
from tests.selection.worlds import folds


def test_means_have_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 1))
    low, high = row_interval(RowMeans(values, np.zeros(2000, np.int64)), units=row_units(2000), seed=0, level=0.9)
    half = 1.645 / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half + 0.002)


def test_blocks_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = RowMeans(np.random.default_rng(0).normal(size=(50, 1)), folds(50))
    whole = row_interval(scorer, units=row_units(50), seed=3, draws=90)
    assert whole != row_interval(scorer, units=row_units(50), seed=4, draws=90)
    monkeypatch.setattr(interval, "BLOCK_BYTES", 8 * 50 * 7)
    assert row_interval(scorer, units=row_units(50), seed=3, draws=90) == whole


def test_a_metric_that_is_never_defined_is_refused() -> None:
    one_class = BinaryRanking(np.zeros((4, 1)), np.ones(4, bool), np.zeros(4, np.int64))
    with pytest.raises(DataError, match="a metric must be defined on some draw of the rows, however: none"):
        row_interval(one_class, units=row_units(4), seed=0)
