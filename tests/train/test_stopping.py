"""Rules over curves, against plain references."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foldtune.spec.schema import EarlyStoppingSpec
from foldtune.train.stopping import (
    LARGEST_GRID,
    choose_epochs,
    eligible_epochs,
    first_rung,
    fold_mean,
    median_of_3,
    other_folds,
    pooled_means,
    refit_epoch,
    stops_early,
)
from foldtune.values import Direction, Floats, Fold

FINITE = st.floats(-1e6, 1e6)
DIRECTIONS: Any = st.sampled_from(["minimize", "maximize"])
CURVES = st.tuples(st.integers(1, 40), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=FINITE)
)


def reference_choice(curves: Floats, direction: Direction, eligible: tuple[int, ...]) -> list[int]:
    """e_j as statistics.md section 3 says it, one number at a time."""
    chosen = []
    for fold in range(curves.shape[1]):
        others = [sorted(value for k, value in enumerate(row) if k != fold) for row in curves.tolist()]
        means = [float(np.mean(row)) for row in others]
        smooth = [float(np.median(means[max(0, e - 1) : e + 2])) for e in range(len(means))]
        best = (max if direction == "maximize" else min)(smooth[epoch - 1] for epoch in eligible)
        chosen.append(next(epoch for epoch in eligible if smooth[epoch - 1] == best))
    return chosen


@given(CURVES, DIRECTIONS)
def test_chosen_epochs_equal_the_reference(curves: Floats, direction: Direction) -> None:
    eligible = eligible_epochs(len(curves), len(curves))
    assert choose_epochs(curves, direction, eligible).tolist() == reference_choice(curves, direction, eligible)


@given(CURVES, DIRECTIONS, st.data())
def test_chosen_epoch_never_reads_the_folds_own_curve(
    curves: Floats, direction: Direction, data: st.DataObject
) -> None:
    fold = data.draw(st.integers(0, curves.shape[1] - 1))
    altered = curves.copy()
    altered[:, fold] = data.draw(arrays(np.float64, len(curves), elements=FINITE))
    eligible = eligible_epochs(len(curves), len(curves))
    before, after = (choose_epochs(some, direction, eligible)[fold] for some in (curves, altered))
    assert before == after


@given(CURVES, DIRECTIONS, st.randoms(use_true_random=False))
def test_fold_order_changes_nothing(curves: Floats, direction: Direction, random: Any) -> None:
    order = random.sample(range(curves.shape[1]), curves.shape[1])
    eligible = eligible_epochs(len(curves), len(curves))
    chosen = choose_epochs(curves, direction, eligible)
    assert choose_epochs(curves[:, order], direction, eligible).tolist() == chosen[order].tolist()
    assert [fold_mean(row[order]) for row in curves] == [fold_mean(row) for row in curves]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_rounding_of_a_mean_does_not_choose(direction: Direction) -> None:
    numbers = [0.1, 0.2, 0.3, 0.7, 0.4]
    curves = np.array([[0.5, *numbers[shift:], *numbers[:shift]] for shift in range(5)])
    assert choose_epochs(curves, direction, (1, 2, 3, 4, 5))[0] == 1, "the others' scores are the same in every epoch"


def test_a_single_fold_takes_the_last_epoch() -> None:
    assert choose_epochs(np.array([[0.9], [0.1], [0.2]]), "maximize", (1, 2, 3)).tolist() == [3]


def folds_of(valid: list[list[int]]) -> list[Fold]:
    return [Fold(np.arange(0), np.array(rows)) for rows in valid]


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 99))
def test_folds_that_validate_common_rows_decide_nothing_for_each_other(k: int, repeats: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    partitions = [np.array_split(random.permutation(11), k) for _ in range(repeats)]
    valid = [rows.tolist() for partition in partitions for rows in partition]
    others = other_folds(folds_of(valid))
    assert others.tolist() == [[not set(one) & set(two) for two in valid] for one in valid]
    curves = random.random_sample((9, len(valid)))
    for fold in range(len(valid)):
        altered = curves.copy()
        altered[:, ~others[fold]] = random.random_sample((9, int((~others[fold]).sum())))
        chosen = (choose_epochs(some, "maximize", tuple(range(1, 10)), others) for some in (curves, altered))
        assert len({int(epochs[fold]) for epochs in chosen}) == 1


def test_a_fold_whose_rows_all_others_validate_takes_the_last_epoch() -> None:
    others = other_folds(folds_of([[0, 1], [1, 2], [2, 0]]))  # as of a ShuffleSplit
    curves = np.array([[0.9, 0.8, 0.9], [0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
    assert choose_epochs(curves, "maximize", (1, 2, 3), others).tolist() == [3, 3, 3]


def test_the_earliest_of_equal_epochs_is_chosen() -> None:
    assert choose_epochs(np.ones((5, 3)), "minimize", (2, 3, 5)).tolist() == [2, 2, 2]


@given(CURVES, DIRECTIONS)
def test_the_refit_epoch_equals_the_reference(curves: Floats, direction: Direction) -> None:
    eligible = eligible_epochs(len(curves), len(curves))
    means = [float(np.mean(sorted(row))) for row in curves.tolist()]
    smooth = [float(np.median(means[max(0, epoch - 1) : epoch + 2])) for epoch in range(len(means))]
    best = (max if direction == "maximize" else min)(smooth[epoch - 1] for epoch in eligible)
    expected = next(epoch for epoch in eligible if smooth[epoch - 1] == best)
    assert refit_epoch(means, direction, eligible) == expected


def test_a_lone_spike_is_not_the_refit_epoch() -> None:
    means = [0.5, 0.6, 0.7, 0.7, 0.7, 0.2, 0.99, 0.2]
    assert refit_epoch(means, "maximize", range(1, 9)) == 3
    assert refit_epoch(means, "maximize", (1, 2, 8)) == 2, "only eligible epochs are chosen"


@given(CURVES, CURVES, st.randoms(use_true_random=False))
def test_means_are_pooled_over_the_epochs_that_all_partitions_have(first: Floats, other: Floats, random: Any) -> None:
    means = pooled_means([first, other])
    assert len(means) == min(len(first), len(other))
    assert np.allclose(means, [np.mean([*one, *two]) for one, two in zip(first, other, strict=False)], atol=1e-9)
    order = random.sample(range(first.shape[1]), first.shape[1])
    assert pooled_means([other, first[:, order]]) == means, "their order changes nothing"


@given(arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=FINITE))
def test_median_of_3_is_the_median_of_the_neighbourhood(curves: Floats) -> None:
    expected = [np.median(curves[max(0, epoch - 1) : epoch + 2], axis=0) for epoch in range(len(curves))]
    assert np.array_equal(median_of_3(curves), np.stack(expected))


@given(st.integers(1, 2000), st.data())
def test_eligible_epochs(epochs: int, data: st.DataObject) -> None:
    trained = data.draw(st.integers(1, epochs))
    eligible = eligible_epochs(epochs, trained)
    assert list(eligible) == sorted(set(eligible)) and 1 <= eligible[0] and eligible[-1] == trained
    assert len(eligible) <= LARGEST_GRID
    rungs = {first_rung(epochs) * 3**power for power in range(8)}
    assert {rung for rung in rungs if rung <= trained} <= set(eligible)
    planned = set(eligible_epochs(epochs, epochs))
    assert set(eligible) - {trained} == {epoch for epoch in planned if epoch < trained}, "stopping moves the grid"


def test_short_jobs_may_choose_any_epoch() -> None:
    assert eligible_epochs(16, 16) == tuple(range(1, 17))
    assert eligible_epochs(16, 5) == (1, 2, 3, 4, 5)


def reference_stop(means: list[float], direction: Direction, rule: EarlyStoppingSpec) -> bool:
    """Keras's and Lightning's rule: count epochs since the best so far."""
    best, waited = None, 0
    for mean in means:
        gain = None if best is None else (mean - best if direction == "maximize" else best - mean)
        if gain is None or gain > rule.min_delta:
            best, waited = mean, 0
        else:
            waited += 1
    return waited >= rule.patience


@given(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=20),
    DIRECTIONS,
    st.integers(1, 5),
    st.sampled_from([0.0, 1.0]),
)
def test_stops_early_equals_the_reference(
    means: list[float], direction: Direction, patience: int, least: float
) -> None:
    rule = EarlyStoppingSpec(patience=patience, min_delta=least)
    assert stops_early(means, direction, rule) == reference_stop(means, direction, rule)


def test_without_a_rule_nothing_stops() -> None:
    assert not stops_early([1.0] * 1000, "minimize", None)


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (27, 1), (54, 2), (100, 3)])
def test_first_rung(epochs: int, first: int) -> None:
    assert first_rung(epochs) == first
