from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.data.multilabel import MultilabelStratifiedKFold
from foldtune.data.splitters import make_folds
from foldtune.errors import DataError, SpecError

from .makers import numbers


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(20, 90), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_every_label_is_spread_evenly(k: int, rows: int, labels: int, seed: int) -> None:
    random = np.random.RandomState(seed % 10_000)
    y = (random.rand(rows, labels) < random.uniform(0.02, 0.6, labels)).astype(float)
    folds = [valid for _, valid in MultilabelStratifiedKFold(k, random_state=seed).split(y, y)]
    assert np.sort(np.concatenate(folds)).tolist() == list(range(rows))
    rarest = y[:, np.where(y.any(axis=0), y.sum(axis=0), np.inf).argmin()]
    counts = [rarest[valid].sum() for valid in folds]
    assert max(counts) - min(counts) <= 1  # it was dealt first
    for label in y.T:
        shares = np.array([label[valid].sum() for valid in folds])
        assert np.abs(shares - label.sum() / k).max() <= labels + 1


def test_it_is_fairer_than_chance_where_labels_are_rare() -> None:
    from sklearn.model_selection import KFold

    y = (np.random.RandomState(0).rand(400, 6) < 0.05).astype(float)

    def unevenness(splitter: object) -> float:
        return float(sum(np.std([y[valid].sum(axis=0) for _, valid in splitter.split(y, y)], axis=0)))  # type: ignore[attr-defined]

    ours = unevenness(MultilabelStratifiedKFold(5, random_state=0))
    assert ours < 0.5 * min(unevenness(KFold(5, shuffle=True, random_state=seed)) for seed in range(10))


def test_the_seed_decides() -> None:
    y = (np.random.RandomState(0).rand(60, 3) < 0.3).astype(float)
    deals = [
        [valid.tolist() for _, valid in MultilabelStratifiedKFold(3, random_state=s).split(y, y)] for s in (0, 0, 1)
    ]
    assert deals[0] == deals[1] != deals[2]


def test_a_study_may_use_it_for_several_targets() -> None:
    y = (np.random.RandomState(0).rand(60, 3) < 0.3).astype(float)
    data = replace(numbers(60, 3), target=y)
    folds = make_folds(data, {"use": "MultilabelStratifiedKFold", "n_splits": 3}, 0)
    assert {int(data.target[fold.valid].sum()) for fold in folds} <= set(
        range(int(y.sum() // 3) - 2, int(y.sum() // 3) + 4)
    )
    with pytest.raises(DataError, match=r"targets of several labels are 0 or 1, not "):
        make_folds(numbers(60, 3), "MultilabelStratifiedKFold", 0)
    with pytest.raises(SpecError, match=r"`n_splits` must be at least 2"):
        MultilabelStratifiedKFold(1)
