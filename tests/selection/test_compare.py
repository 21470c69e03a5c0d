"""Comparisons, against scikit-learn's published example and the distribution's own laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

from foldtune.errors import DataError
from foldtune.selection.compare import compare, default_rope, holm
from foldtune.values import Direction, Floats

SCORES = arrays(np.float64, (2, 5), elements=st.floats(0, 1).map(lambda score: round(score, 3)))
DIRECTIONS: Any = st.sampled_from(["minimize", "maximize"])
LAW = settings(deadline=None, max_examples=50)


def test_moons_as_in_scikit_learns_gallery() -> None:
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    splits = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=kernel, random_state=0), x, y, scoring="roc_auc", cv=splits).reshape(10, 10)
        for kernel in ("rbf", "linear")
    )
    found = compare(rbf, linear, direction="maximize", rope=0.01, test_share=1 / 9)
    plain = compare(rbf, linear, direction="maximize", rope=0.01, test_share=0.0)
    assert [round(number, 4) for number in (found.t, found.p / 2, found.same)] == [0.7503, 0.2274, 0.4317]
    assert [round(number, 4) for number in (plain.t, plain.p / 2)] == [2.6112, 0.0052]
    without = compare(rbf, linear, direction="maximize", rope=0.0, test_share=1 / 9)
    assert round(without.better, 4) == 0.7726


@given(SCORES, SCORES, DIRECTIONS, st.sampled_from([0.0, 0.01, 0.1]))
@LAW
def test_probabilities_are_those_of_students_distribution(
    first: Floats, second: Floats, direction: Direction, rope: float
) -> None:
    found = compare(first, second, direction=direction, rope=rope, test_share=0.25)
    assert found.worse + found.same + found.better == pytest.approx(1)
    if found.error > 1e-9:
        student = stats.t(9, loc=found.mean, scale=found.error)
        assert found.worse == pytest.approx(student.cdf(-rope))
        assert found.better == pytest.approx(student.sf(rope))
        assert found.interval() == pytest.approx(student.interval(0.95))


@given(SCORES, SCORES, st.sampled_from([0.0, 0.01]))
@LAW
def test_exchanging_the_two_exchanges_worse_and_better(first: Floats, second: Floats, rope: float) -> None:
    one = compare(first, second, direction="maximize", rope=rope, test_share=0.25)
    other = compare(second, first, direction="maximize", rope=rope, test_share=0.25)
    mirrored = compare(first, second, direction="minimize", rope=rope, test_share=0.25)
    assert other == mirrored
    assert (one.better, one.same) == pytest.approx((other.worse, other.same), abs=1e-12)
    assert one.p == pytest.approx(other.p)


def test_one_partition_leans_at_most() -> None:
    better, worse = np.array([[0.90, 0.91, 0.92, 0.90, 0.91]]), np.array([[0.5, 0.5, 0.5, 0.51, 0.5]])
    once = compare(better, worse, direction="maximize", rope=0.01, test_share=0.25)
    assert once.better > 0.99
    assert once.verdict == "leaning better"
    assert compare(worse, better, direction="maximize", rope=0.01, test_share=0.25).verdict == "leaning worse"
    twice = compare(np.tile(better, (2, 1)), np.tile(worse, (2, 1)), direction="maximize", rope=0.01, test_share=0.25)
    assert twice.verdict == "better"


@pytest.mark.parametrize(
    ("difference", "verdict"), [(0, "the same"), (1 / 32, "better"), (-1 / 32, "worse"), (1 / 64, "the same")]
)
def test_differences_that_are_one_number(difference: float, verdict: str) -> None:
    zeros = np.zeros((2, 5))
    found = compare(zeros + difference, zeros, direction="maximize", rope=1 / 64, test_share=0.25)
    assert found.verdict == verdict
    assert found.p == (1.0 if difference == 0 else 0.0)


def test_noise_cannot_be_told() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 1, 5))
    assert compare(first, second, direction="maximize", rope=0.01, test_share=0.25).verdict == "cannot tell"


def test_scores_of_other_splits_are_refused() -> None:
    with pytest.raises(DataError, match="a comparison needs at least 2 scores of both on the same splits, however: "):
        compare(np.zeros((1, 5)), np.zeros((2, 5)), direction="maximize", rope=0.01, test_share=0.25)
    with pytest.raises(DataError, match="at least 2 scores"):
        compare(np.zeros((1, 1)), np.zeros((1, 1)), direction="maximize", rope=0.01, test_share=0.25)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@LAW
def test_holm_keeps_the_order_and_lowers_nothing(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(0 <= before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))
    by_p = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def test_the_region_of_losses_grows_with_them() -> None:
    assert default_rope("minimize", -3.0) == pytest.approx(0.06)
