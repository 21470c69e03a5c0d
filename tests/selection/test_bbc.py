"""The correction, against the authors' algorithm one draw at a time, and its laws."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from foldtune.errors import DataError
from foldtune.selection import bbc
from foldtune.selection.bbc import Candidates, correct, fold_correction, out_of_bag
from foldtune.selection.gains import Alignment, align, reference_trials, unaligned
from foldtune.selection.resampling import group_units, row_units
from foldtune.selection.scorers import BinaryRanking, EachDraw, RowMeans, Scorer, ScoreRows, mean_over_folds
from foldtune.values import Direction, Floats, Rows
from tests.selection.worlds import all_complete, as_counts, authors_draws, beta_9_6, corrected, folds, independent

DIRECTIONS: Any = st.sampled_from(["minimize", "maximize"])


@given(st.integers(0, 2**32 - 1), st.integers(5, 40), st.integers(1, 8), DIRECTIONS)
@settings(deadline=None, max_examples=40)
def test_draws_equal_the_authors_algorithm(seed: int, n_rows: int, n_trials: int, direction: Direction) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(n_rows, n_trials))
    indices = generator.integers(n_rows, size=(6, n_rows))
    indices[:, 0] = indices[:, 1]  # something is left out
    sign = 1.0 if direction == "maximize" else -1.0
    scorer = RowMeans(values, np.zeros(n_rows, np.int64))
    ours = out_of_bag(
        scorer,
        all_complete(n_trials),
        counts=as_counts(indices, n_rows),
        direction=direction,
        ties=np.zeros((6, n_trials)),
    )
    np.testing.assert_allclose(sign * ours, authors_draws(sign * values, indices), rtol=1e-12, atol=1e-12)  # summation


@given(st.integers(0, 2**32 - 1), DIRECTIONS)
@settings(deadline=None, max_examples=20)
def test_the_order_of_trials_changes_nothing(seed: int, direction: Direction) -> None:
    generator = np.random.default_rng(seed)
    hits = independent(40, np.full(12, 0.5), generator)  # full of ties
    order = generator.permutation(12)
    found = []
    for numbers in (np.arange(12), order):
        trials = Candidates(numbers, np.ones(12, bool), unaligned(12))
        scorer = RowMeans(hits[:, numbers], np.zeros(40, np.int64))
        found.append(correct(scorer, trials, units=row_units(40), direction=direction, seed=7, draws=50))
    assert found[0].naive == found[1].naive
    assert (found[0].draws == found[1].draws).all()


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=10)
def test_losses_mirror_scores(seed: int) -> None:
    hits = independent(30, np.full(5, 0.5), np.random.default_rng(seed))
    up, down = corrected(hits, draws=40), corrected(-hits, draws=40, direction="minimize")
    assert (up.naive, up.score, up.optimism) == (-down.naive, -down.score, down.optimism)
    assert up.interval(0.9) == pytest.approx([-end for end in reversed(down.interval(0.9))], rel=1e-12)


def test_ties_are_broken_at_random() -> None:
    odd = np.arange(40) % 2
    two = np.stack([odd, 1 - odd], axis=1).astype(np.float64)  # equal on every draw that is stratified by `odd`
    units = row_units(40, odd)
    both, first = corrected(two, units=units), corrected(two[:, :1], units=units)
    differing = first.draws != 0.5
    share = (both.draws == first.draws)[differing].mean()
    assert 0.4 < share < 0.6  # 300 draws: the standard error is 0.03


def test_a_single_trial_has_no_optimism() -> None:
    values = np.random.default_rng(0).normal(size=(400, 1))
    found = corrected(values, draws=1000)
    assert abs(found.optimism) < 0.01  # the spread of the mean of 1000 draws is 0.002


def test_blocks_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = independent(60, np.full(9, 0.6), np.random.default_rng(1))
    whole = corrected(hits, draws=37)
    monkeypatch.setattr(bbc, "BLOCK_BYTES", 8 * 60 * 4)
    assert (corrected(hits, draws=37).draws == whole.draws).all()


def test_another_seed_is_another_sample() -> None:
    losses = np.random.default_rng(1).normal(size=(60, 9))  # without ties
    one, same, other = (corrected(losses, seed=seed).score for seed in (1, 1, 2))
    assert one == same != other


def test_groups_that_repeat_their_rows_widen_the_interval() -> None:
    hits = np.repeat(independent(40, np.full(5, 0.6), np.random.default_rng(0)), 10, axis=0)
    rows = corrected(hits).interval()
    groups = corrected(hits, units=group_units(np.repeat(np.arange(40), 10))).interval()
    assert groups[1] - groups[0] > 2 * (rows[1] - rows[0])


def test_a_pruned_trial_wins_draws_by_its_aligned_score() -> None:
    generator = np.random.default_rng(0)
    low, high = independent(100, np.full(3, 0.3), generator), independent(100, np.full(3, 0.6), generator)
    scorer = RowMeans(np.concatenate([low, high], axis=1), np.zeros(100, np.int64))
    complete = np.array([False] * 3 + [True] * 3)
    gained = Candidates(np.arange(6), complete, Alignment(np.ones(6), np.where(complete, 0.0, 0.5)))
    found = correct(scorer, gained, units=row_units(100), direction="maximize", seed=0, draws=200)
    assert found.score > 0.7 > found.naive


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_row_means_equal_the_metric_drawn_row_by_row(seed: int, n_folds: int) -> None:
    generator = np.random.default_rng(seed)
    errors, fold = generator.exponential(size=(20, 3)), generator.integers(n_folds, size=20)
    counts = generator.integers(0, 3, size=(5, 20)).astype(np.float64)
    plain = EachDraw(3, mean_over_folds(lambda rows, trials: np.sqrt(errors[np.ix_(rows, trials)].mean(axis=0)), fold))
    fast = RowMeans(errors, fold, np.sqrt)
    chosen = generator.integers(3, size=5)
    np.testing.assert_allclose(fast.every(counts), plain.every(counts), rtol=1e-12)  # summation order
    np.testing.assert_allclose(fast.one(counts, chosen), plain.one(counts, chosen), rtol=1e-12)


def test_means_of_hits_give_f1() -> None:
    generator = np.random.default_rng(0)
    truth, guess = generator.integers(2, size=30), generator.integers(2, size=(30, 3))
    hits = np.stack([guess * truth[:, None], guess + truth[:, None]], axis=2).astype(np.float64)
    fast = RowMeans(hits, folds(30, 2), lambda mean: 2 * mean[..., 0] / mean[..., 1])
    agree(fast, by_scikit_learn(f1_score, truth, guess), folds(30, 2), generator)


def test_means_of_squares_give_r2() -> None:
    generator = np.random.default_rng(0)
    target, values = generator.normal(size=30), generator.normal(size=(30, 3))
    parts = np.broadcast_arrays(target[:, None], target[:, None] ** 2, (target[:, None] - values) ** 2)
    squares = np.stack(parts, axis=2)
    fast = RowMeans(squares, folds(30, 2), lambda mean: 1 - mean[..., 2] / (mean[..., 1] - mean[..., 0] ** 2))
    agree(fast, by_scikit_learn(r2_score, target, values), folds(30, 2), generator)


@pytest.mark.parametrize("levels", [2, 1000])
def test_areas_equal_scikit_learns(levels: int) -> None:
    generator = np.random.default_rng(levels)
    truth, scores = generator.integers(2, size=30), generator.integers(levels, size=(30, 3)) / levels
    fast = BinaryRanking(scores, truth > 0, folds(30, 2))
    agree(fast, by_scikit_learn(roc_auc_score, truth, scores), folds(30, 2), generator)


def by_scikit_learn(function: Callable[..., float], target: Rows | Floats, predictions: Rows | Floats) -> ScoreRows:
    return lambda rows, trials: np.array([function(target[rows], predictions[rows, trial]) for trial in trials])


def agree(fast: Scorer, plain: ScoreRows, fold: Rows, generator: np.random.Generator) -> None:
    """Three trials score alike on four draws, within what the order of sums and a difference of squares cost."""
    slow, chosen = EachDraw(3, mean_over_folds(plain, fold)), generator.integers(3, size=4)
    counts = generator.integers(0, 3, size=(4, len(fold))).astype(np.float64)
    np.testing.assert_allclose(fast.every(counts), slow.every(counts), rtol=1e-9)
    np.testing.assert_allclose(fast.one(counts, chosen), slow.one(counts, chosen), rtol=1e-9)


def test_a_fold_with_one_class_has_no_area() -> None:
    ranking = BinaryRanking(np.array([[0.1], [0.2], [0.3], [0.4]]), np.array([0, 1, 1, 1]) > 0, np.array([0, 0, 1, 1]))
    assert ranking.every(np.ones((1, 4))).tolist() == [[1.0]]
    assert np.isnan(ranking.every(np.array([[1.0, 0.0, 1.0, 1.0]]))).all()


def test_the_naive_score_is_the_trials_own_value() -> None:
    losses = np.random.default_rng(0).exponential(size=(23, 4))
    fold = np.repeat([0, 1, 2], [3, 10, 10])
    values = np.mean([losses[fold == one].mean(axis=0) for one in range(3)], axis=0)
    complete = np.arange(4) != values.argmin()  # the best one was pruned
    trials = Candidates(np.arange(4), complete, unaligned(4))
    found = correct(RowMeans(losses, fold), trials, units=row_units(23), direction="minimize", seed=0, draws=20)
    assert found.naive == pytest.approx(values[complete].min(), rel=1e-12)


def test_a_rank_metric_is_corrected_fold_by_fold() -> None:
    generator = np.random.default_rng(0)
    target, scores, fold = generator.integers(0, 2, 90), generator.normal(size=(90, 6)), folds(90, 3)

    def area(rows: Rows, trials: Rows) -> Floats:
        if len(np.unique(target[rows])) < 2:
            return np.full(len(trials), np.nan)
        positive, negative = (scores[np.ix_(rows[target[rows] == one], trials)] for one in (1, 0))
        wins: Floats = (positive[:, None] > negative[None]).mean(axis=(0, 1))
        return wins

    scorer = EachDraw(6, mean_over_folds(area, fold))
    units = row_units(90, target)
    found = correct(scorer, all_complete(6), units=units, direction="maximize", seed=0, draws=40)
    each = [np.mean([area(np.flatnonzero(fold == one), np.array([t]))[0] for one in range(3)]) for t in range(6)]
    assert found.naive == pytest.approx(max(each), rel=1e-12)
    assert found.score < found.naive
    assert len(found.draws) == 40


def test_draws_without_rows_left_are_no_draws() -> None:
    hits = independent(20, np.full(3, 0.6), np.random.default_rng(0))
    found = corrected(hits, units=group_units(np.repeat([0, 1], 10)))
    assert 100 < len(found.draws) < 200  # of 300, half leave nothing


def test_what_cannot_be_corrected_is_refused() -> None:
    hits = np.ones((4, 2))
    pruned = Candidates(np.arange(2), np.zeros(2, bool), unaligned(2))
    with pytest.raises(DataError, match="a score needs at least one complete trial, however: 0"):
        correct(RowMeans(hits, folds(4)), pruned, units=row_units(4), direction="maximize", seed=0)
    with pytest.raises(DataError, match=r"every row's number must be finite, however: \[2, 1\] \(row, trial\)"):
        RowMeans(np.array([[0.0, 0.0], [0.0, 0.0], [0.0, np.inf]]), folds(3))
    with pytest.raises(DataError, match="a draw must leave rows on which the metric is defined, however: none did"):
        corrected(hits, units=row_units(4, [0, 1, 2, 3]))


def test_the_coarse_correction_is_stricter() -> None:
    generator = np.random.default_rng(0)
    fine, coarse = [], []
    for seed in range(40):
        hits = independent(100, beta_9_6(50, generator), generator)
        by_fold = np.stack([hits[folds(100) == one].mean(axis=0) for one in range(5)], axis=1)
        fine.append(corrected(hits, seed=seed, draws=100).optimism)
        coarse.append(fold_correction(by_fold, "maximize"))
        assert fold_correction(-by_fold, "minimize") == coarse[-1] >= 0
    assert np.mean(coarse) > np.mean(fine) + 0.003


def test_gains_are_those_of_exempt_trials() -> None:
    complete, exempt = np.array([True, True, False, True]), np.array([True, False, True, False])
    assert reference_trials(complete, exempt).tolist() == [0]
    assert reference_trials(complete, np.zeros(4, bool)).tolist() == [0, 1, 3]


@given(st.integers(0, 2**32 - 1), DIRECTIONS)
@settings(deadline=None, max_examples=20)
def test_equal_shares_are_aligned_exactly(seed: int, direction: Direction) -> None:
    generator = np.random.default_rng(seed)
    left, end = generator.uniform(0.1, 1.5, (1, 3)), generator.uniform(0.1, 0.6, (5, 1))
    distance = np.concatenate([end / left, end], axis=1)
    reference = distance if direction == "minimize" else 1 - distance
    found = align(reference, np.arange(4), reference[0], direction)
    np.testing.assert_allclose(found(reference[0]), np.repeat(reference[0, -1], 4), atol=1e-12)
    assert (found.scale[3], found.shift[3]) == (1.0, 0.0)


@given(st.integers(0, 2**32 - 1), DIRECTIONS)
@settings(deadline=None, max_examples=20)
def test_no_trial_is_aligned_past_perfection(seed: int, direction: Direction) -> None:
    generator = np.random.default_rng(seed)
    distance = np.sort(generator.exponential(size=(5, 4)), axis=1)[:, ::-1] * generator.integers(0, 2, (5, 4))
    own = generator.exponential(size=20) * 0.1  # better at the rung than most reference trials
    stopped, drawn = generator.integers(0, 4, 20), generator.exponential(size=(50, 20)) * 0.1
    if direction == "minimize":
        assert (align(distance, stopped, own, direction)(drawn) >= 0).all()
    else:
        assert (align(1 - distance, stopped, 1 - own, direction)(1 - drawn) <= 1).all()


def test_a_poor_trial_among_good_ones_stays_possible() -> None:
    """Reference trials fall from 0.9 to 0.05: a loss of 0.65 does not come to -0.2."""
    reference = np.array([[0.9, 0.05], [1.0, 0.04], [0.8, 0.06]])
    assert align(reference, np.array([0]), np.array([0.65]), "minimize")(np.array([0.65]))[0] == pytest.approx(
        0.036, abs=0.001
    )


@given(st.integers(0, 2**32 - 1), DIRECTIONS, st.sampled_from([0.0, 2.0]))
@settings(deadline=None, max_examples=20)
def test_what_learns_fast_is_not_aligned_past_the_best_that_was_finished(
    seed: int, direction: Direction, beyond: float
) -> None:
    generator = np.random.default_rng(seed)
    distance = np.sort(generator.uniform(0.1, 1.0, (5, 4)), axis=1)[:, ::-1] - beyond  # below 0, gains are added
    own = np.concatenate([distance[:2, 3], generator.uniform(0.01, 1.0, 20) - beyond])
    stopped, sign = np.array([3, 3, *generator.integers(0, 3, 20)]), 1.0
    if direction == "maximize":
        distance, own, sign = 1 - distance, 1 - own, -1.0
    found, alone = (align(distance, stopped[some], own[some], direction) for some in (slice(None), slice(2, None)))
    ends, best = found(own), sign * (sign * own[:2]).min()
    np.testing.assert_allclose(ends[:2], own[:2], rtol=1e-12, err_msg="complete trials stay as they are")
    bounded = sign * np.maximum(sign * alone(own[2:]), sign * best)
    np.testing.assert_allclose(ends[2:], bounded, atol=1e-12, err_msg="and nobody passes the best of them")


def test_scores_that_pass_the_perfect_one_gain_what_others_gain() -> None:
    profits = np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 5.0]])
    own = np.array([0.0, 0.0, 9.0])
    assert align(profits, np.array([0, 1, 2]), own, "maximize")(own).tolist() == [3.0, 2.5, 9.0]
    assert align(profits / 10, np.array([0]), np.array([2.0]), "maximize")(np.array([2.0])).tolist() == [2.3]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_gain_is_over_the_baseline_on_the_same_rows_and_free_of_the_choice(direction: Direction) -> None:
    values = independent(200, np.full(100, 0.5), np.random.default_rng(0))
    values[:, 7] = values[:, 3]  # whatever is chosen, the two are one
    options: dict[str, Any] = {"units": row_units(200), "direction": direction, "seed": 0, "draws": 300}
    means = RowMeans(values, folds(200))
    found = correct(means, all_complete(100), **options, baseline=3)
    assert abs(found.gains.mean()) < 0.06 and found.gains.std() > 0.01 and len(found.gains) == len(found.draws)
    sign = 1.0 if direction == "maximize" else -1.0
    better = values.copy()
    better[:, 50] += sign  # the best on every row
    found = correct(RowMeans(better, folds(200)), all_complete(100), **options, baseline=3)
    assert found.gains.min() > 0.5
    two = correct(RowMeans(values[:, [3, 7]], folds(200)), all_complete(2), **options, baseline=0)
    assert (two.gains == 0).all() and len(correct(means, all_complete(100), **options).gains) == 0
