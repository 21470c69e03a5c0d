"""Simulations whose truth is known, at the size of seconds: what the statistics promise, and what they replace.

Bounds are around the values of larger runs; each has room for three standard errors of its own repetitions.
"""

import numpy as np
import pytest

from foldtune.selection.bbc import Candidates, correct
from foldtune.selection.calibrate import cv_plus, residual_quantile
from foldtune.selection.compare import compare
from foldtune.selection.gains import aligned_gains
from foldtune.selection.resampling import row_units
from foldtune.selection.scorers import RowMeans
from foldtune.selection.winner import Finalist, confirm, repeats_help, to_confirm
from foldtune.train.stopping import choose_epochs
from foldtune.values import Floats
from tests.selection.worlds import Abilities, beta_9_6, coins, corrected, folds, halving, independent


def random_search(abilities: Abilities, *, n_rows: int, n_trials: int, studies: int) -> Floats:
    """Naive, corrected, true score of the chosen, whether its interval and a naive normal one hold it, (studies, 5)."""
    found = []
    for seed in range(studies):
        generator = np.random.default_rng(seed)
        truth = abilities(n_trials, generator)
        hits = independent(n_rows, truth, generator)
        true = truth[hits.mean(axis=0).argmax()]
        study = corrected(hits, seed=seed)
        low, high = study.interval()
        half = 1.96 * np.sqrt(study.naive * (1 - study.naive) / n_rows)
        found.append((study.naive, study.score, true, low <= true <= high, abs(study.naive - true) <= half))
    return np.array(found, dtype=np.float64)


def test_a_search_over_noise_is_corrected_to_chance() -> None:
    naive, score, _, covered, normal = random_search(coins, n_rows=200, n_trials=100, studies=200).mean(axis=0)
    assert naive == pytest.approx(0.587, abs=0.02)
    assert score == pytest.approx(0.50, abs=0.01)
    assert covered >= 0.95
    assert normal <= 0.10


@pytest.mark.parametrize(
    ("n_rows", "n_trials", "expected"), [(100, 50, (0.867, 0.822, 0.829)), (200, 100, (0.875, 0.847, 0.853))]
)
def test_the_published_design_is_a_little_pessimistic(
    n_rows: int, n_trials: int, expected: tuple[float, float, float]
) -> None:
    studies = random_search(beta_9_6, n_rows=n_rows, n_trials=n_trials, studies=150)
    naive, score, true, covered, _ = studies.mean(axis=0)
    assert (naive, score, true) == pytest.approx(expected, abs=0.015)
    assert -0.015 <= score - true <= 0.003
    assert covered >= 0.95


def pruned_search(abilities: Abilities, *, growth: float, seed: int) -> tuple[float, float, float]:
    """Completed trials alone, all trials aligned, truth: 90 trials, two thirds dropped at two rungs, 5 exempt."""
    generator = np.random.default_rng(seed)
    truth = abilities(90, generator)
    hits = halving(200, truth, generator, correlation=0.9, growth=growth)
    stopped = np.zeros(90, np.int64)
    alive = np.arange(90)
    for rung in (0, 1):
        alive = alive[np.argsort(-hits[rung][:, alive].mean(axis=0))[: len(alive) // 3]]
        stopped[alive] = rung + 1
    exempt = generator.permutation(90)[:5]
    stopped[exempt] = 2
    last = np.stack([hits[rung][:, trial] for trial, rung in enumerate(stopped)], axis=1)
    reference = np.stack([one[:, exempt].mean(axis=0) for one in hits], axis=1)
    complete, units = stopped == 2, row_units(200)
    found = []
    for columns in (np.flatnonzero(complete), np.arange(90)):
        gains = aligned_gains(reference, stopped[columns])
        trials = Candidates(columns, complete[columns], gains)
        scorer = RowMeans(last[:, columns], np.zeros(200, np.int64))
        found.append(correct(scorer, trials, units=units, direction="maximize", seed=seed, draws=150))
    winner = np.flatnonzero(complete)[last[:, complete].mean(axis=0).argmax()]
    return found[0].score, found[1].score, float(truth[winner])


@pytest.mark.parametrize("growth", [0.0, 0.2])
def test_pruned_trials_count_in_the_correction(growth: float) -> None:
    alone, aligned, _ = np.mean([pruned_search(coins, growth=growth, seed=seed) for seed in range(100)], axis=0)
    assert 0.515 <= alone <= 0.535
    assert aligned == pytest.approx(0.50, abs=0.01)


def test_aligned_scores_are_right_where_trials_differ() -> None:
    found = [pruned_search(beta_9_6, growth=0.2, seed=seed) for seed in range(100)]
    _, aligned, true = np.mean(found, axis=0)
    assert -0.02 <= aligned - true <= 0.005


def test_the_epoch_rule_does_not_flatter() -> None:
    generator, epochs, n_folds, size = np.random.default_rng(0), 50, 5, 40
    eligible = tuple(range(1, epochs + 1))
    own, common, ours = [], [], []
    for _ in range(150):
        latent = generator.standard_normal((n_folds, size))
        curves = np.empty((epochs, n_folds))
        for epoch in range(epochs):
            curves[epoch] = (latent < 0.5244).mean(axis=1)  # right for 70% of rows, at every epoch
            latent = 0.9 * latent + np.sqrt(1 - 0.9**2) * generator.standard_normal(latent.shape)
        chosen = choose_epochs(curves, "maximize", eligible)
        own.append(curves.max(axis=0).mean() - 0.7)
        common.append(curves.mean(axis=1).max() - 0.7)
        ours.append(curves[chosen - 1, np.arange(n_folds)].mean() - 0.7)
    assert np.mean(own) >= 0.07
    assert np.mean(common) >= 0.03
    assert abs(np.mean(ours)) <= 0.01


def ridge_differences(generator: np.random.Generator, *, repeats: int, n_rows: int = 100, half: int = 10) -> Floats:
    """Squared errors of ridge regressions on two halves of the features that matter alike, (2, repeats, 5)."""
    x = generator.standard_normal((n_rows, 2, half))
    y = 0.3 * x.sum(axis=(1, 2)) + generator.standard_normal(n_rows)
    fold = np.stack([generator.permutation(folds(n_rows)) for _ in range(repeats)])
    valid = (fold[:, None] == np.arange(5)[None, :, None]).astype(np.float64).reshape(-1, n_rows)  # (5 repeats, N)
    errors = []
    for one in (0, 1):
        products = np.einsum("ni,nj->nij", x[:, one], x[:, one]).reshape(n_rows, -1)
        gram = ((1 - valid) @ products).reshape(-1, half, half) + np.eye(half)
        weights = np.linalg.solve(gram, ((1 - valid) @ (x[:, one] * y[:, None]))[:, :, None])[:, :, 0]
        squared = (y - weights @ x[:, one].T) ** 2
        errors.append(((squared * valid).sum(axis=1) / valid.sum(axis=1)).reshape(repeats, 5))
    return np.stack(errors)


def test_the_corrected_test_is_wrong_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    plain: list[bool] = []
    ours: list[bool] = []
    for _ in range(400):
        first, second = ridge_differences(generator, repeats=5)
        for share, rejected in ((0.0, plain), (1 / 4, ours)):
            rejected.append(compare(first, second, direction="minimize", rope=0.0, test_share=share).p < 0.05)
    assert np.mean(plain) >= 0.30
    assert 0.02 <= np.mean(ours) <= 0.08


def confirmed_search(generator: np.random.Generator, sample: float, split: float) -> tuple[float, ...]:
    """Quality and optimism of the first run's best and of the confirmed winner, and whether repeats seem to help."""
    quality, rows = generator.standard_normal(100), sample * generator.standard_normal(100)
    scores = quality[:, None, None] + rows[:, None, None] + split * np.sqrt(5) * generator.standard_normal((100, 5, 5))
    once = scores[:, 0].mean(axis=1)
    top = to_confirm(list(enumerate(once)), "maximize", 100)
    found = confirm([Finalist(number, scores[number]) for number in top], "maximize", 1 / 4)
    return (
        quality[top[0]],
        once[top[0]] - quality[top[0]],
        quality[found.winner],
        found.means[0] - quality[found.winner],
        repeats_help(found.run_to_run, np.hypot(sample, split)),
    )


def test_confirmation_pays_where_partitions_and_seeds_matter() -> None:
    generator = np.random.default_rng(0)
    runs = [confirmed_search(generator, sample=0.5, split=0.7) for _ in range(400)]
    best, flattery, winner, left, helps = np.mean(runs, axis=0)
    assert winner - best >= 0.15
    assert left <= 0.7 * flattery
    assert helps >= 0.95


def test_confirmation_brings_nothing_where_rows_are_the_noise() -> None:
    generator = np.random.default_rng(0)
    runs = [confirmed_search(generator, sample=1.0, split=0.3) for _ in range(400)]
    best, _, winner, _, helps = np.mean(runs, axis=0)
    assert -0.02 <= winner - best <= 0.12
    assert helps <= 0.05


def interval_coverage(generator: np.random.Generator, n_rows: int = 100, features: int = 20) -> tuple[float, ...]:
    """Share of new rows inside 90% intervals: CV+, out-of-fold quantile, and the quantile of training residuals."""
    weights = 0.3 * generator.standard_normal(features)
    x, new = generator.standard_normal((n_rows, features)), generator.standard_normal((20, features))
    y, truth = (some @ weights + generator.standard_normal(len(some)) for some in (x, new))
    fold = generator.permutation(folds(n_rows))

    def ridge(rows: Floats, target: Floats) -> Floats:
        return np.asarray(np.linalg.solve(rows.T @ rows + 0.1 * np.eye(features), rows.T @ target), np.float64)

    models = np.stack([ridge(x[fold != one], y[fold != one]) for one in range(5)])
    residuals = np.abs(y - np.einsum("nf,nf->n", x, models[fold]))
    lower, upper = cv_plus(models @ new.T, residuals, fold, 0.9)
    refit = ridge(x, y)
    miss = np.abs(truth - new @ refit)
    return (
        ((lower <= truth) & (truth <= upper)).mean(),
        (miss <= residual_quantile(residuals, 0.9)).mean(),
        (miss <= np.quantile(np.abs(y - x @ refit), 0.9)).mean(),
    )


def test_intervals_hold_what_training_residuals_do_not() -> None:
    generator = np.random.default_rng(0)
    kept, refitted, training = np.mean([interval_coverage(generator) for _ in range(400)], axis=0)
    assert kept >= 0.88
    assert refitted >= 0.88
    assert training < 0.85
