from dataclasses import replace

import numpy as np
import pytest

from foldtune.data.drift import tell_apart
from foldtune.errors import DataError

from .makers import classes


def test_rows_of_one_kind_cannot_be_told_apart() -> None:
    """Under no difference p-values are small as often as they say: of 10 pairs one at most here."""
    found = [
        tell_apart(classes(80, seed=seed), (other.numeric, other.categorical), seed=0)
        for seed in range(10)
        for other in [classes(60, seed=seed + 1000)]
    ]
    assert sum(drift.p_value <= 0.05 for drift in found) <= 1
    assert 0.44 < np.mean([drift.auc for drift in found]) < 0.56


def test_the_column_that_drifted_is_named_first() -> None:
    own, other = classes(300), classes(200, seed=1)
    drift = tell_apart(own, (other.numeric + np.array([0.0, 1.5]), other.categorical), seed=0)
    assert drift.auc > 0.75 and drift.p_value == 0.002 and drift.rows == (300, 200)
    assert drift.columns[0][0] == "z" and drift.columns[0][1] > 0.75 > drift.columns[1][1]


def test_new_categories_and_missing_cells_are_drift() -> None:
    own, other = classes(200), classes(200, seed=1)
    fresh = np.where(other.categorical == "a", "new", other.categorical)
    assert tell_apart(own, (other.numeric, fresh), seed=0).columns[0][0] == "c"
    holes = other.numeric.copy()
    holes[::2, 1] = np.nan
    assert tell_apart(own, (holes, other.categorical), seed=0).columns[0][0] == "z"


def test_the_same_seed_says_the_same() -> None:
    own, other = classes(60), classes(60, seed=1)
    first, second = (tell_apart(own, (other.numeric, other.categorical), seed=4) for _ in range(2))
    assert first == second


def test_targets_are_not_looked_at() -> None:
    own, other = classes(60), classes(60, seed=1)
    drift = tell_apart(own, (other.numeric, other.categorical), seed=0)
    assert drift == tell_apart(replace(own, target=own.target[::-1]), (other.numeric, other.categorical), seed=0)


def test_a_handful_of_rows_is_refused() -> None:
    with pytest.raises(DataError, match=r"20 or more of each side, however: 5"):
        tell_apart(classes(60), (classes(5).numeric, classes(5).categorical), seed=0)
