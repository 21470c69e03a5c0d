"""Experiments on the correction for selection, and on confirmation: worlds without training, whose truth is known."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import ndtri

from benchmarks.honesty_claims import Claim, Experiment, near
from foldtune.selection.bbc import Candidates, correct, fold_correction
from foldtune.selection.gains import align, shrinkage
from foldtune.selection.resampling import row_units
from foldtune.selection.scorers import RowMeans, rows_of_folds
from foldtune.selection.winner import Finalist, confirm, repeats_help, to_confirm
from foldtune.values import Floats
from tests.selection.worlds import Abilities, beta_9_6, coins, corrected, folds, halving, independent, learning

TRIALS = 90
EXEMPT = 5


def random_search(studies: int, abilities: Abilities, *, n_rows: int, n_trials: int) -> Floats:
    """Means over studies, (7,).

    Naive, corrected, true score of the chosen; whether its interval and a normal one around the naive best hold it; how
    wide the first is in widths of a normal one around the corrected score; what the fold correction says.
    """
    found = []
    for seed in range(studies):
        generator = np.random.default_rng(seed)
        truth = abilities(n_trials, generator)
        hits = independent(n_rows, truth, generator)
        true = truth[hits.mean(axis=0).argmax()]
        study = corrected(hits, seed=seed)
        low, high = study.interval()
        half = 1.96 * np.sqrt(study.naive * (1 - study.naive) / n_rows)
        normal = 2 * 1.96 * np.sqrt(study.score * (1 - study.score) / n_rows)
        by_fold = np.stack([hits[rows].mean(axis=0) for rows in rows_of_folds(folds(n_rows))], axis=1)
        fallback = study.naive - fold_correction(by_fold, "maximize")
        held = low <= true <= high, abs(study.naive - true) <= half
        found.append((study.naive, study.score, true, *held, (high - low) / normal, fallback))
    means: Floats = np.array(found, dtype=np.float64).mean(axis=0)
    return means


def noise(studies: int, *, n_rows: int, naive: float, normal: float) -> list[Claim]:
    """Labels of noise: every configuration guesses."""
    found, score, _, covered, wald, width, fallback = random_search(studies, coins, n_rows=n_rows, n_trials=100)
    return [
        near("naive best", found, naive, 0.02),
        near("corrected score (truth 0.500)", score, 0.5, 0.01),
        Claim("its 95% interval holds the truth", covered, low=0.95),
        Claim("its width, in those of a normal one", width, 1.3, 2.0, form=".2f"),
        Claim("a normal interval around the naive best holds it", wald, high=normal),
        Claim("fold correction, for lack of predictions: too strict", fallback, 0.47, 0.495),
    ]


def published(
    studies: int, *, n_rows: int, n_trials: int, expected: tuple[float, ...], below: float = 0.01
) -> list[Claim]:
    """A cell of the design of Tsamardinos, Greasidou and Borboudakis (2018), section 5.1.

    Args:
        studies: repetitions.
        n_rows: N.
        n_trials: C.
        expected: naive best, corrected score and true score of the chosen.
        below: by how much the correction may be too strict.
    """
    naive, score, true, covered, _, width, fallback = random_search(studies, beta_9_6, n_rows=n_rows, n_trials=n_trials)
    whats = ("naive best", "corrected score", "true score of the chosen")
    return [
        *(near(what, seen, saw, 0.01) for what, seen, saw in zip(whats, (naive, score, true), expected, strict=True)),
        Claim("corrected minus true", score - true, -below, 0.003),
        Claim("the 95% interval holds the truth", covered, low=0.95),
        Claim("its width, in those of a normal one", width, 1.3, 2.0, form=".2f"),
        Claim("fold correction minus true", fallback - true, -0.03, 0.003),
    ]


def pruned_search(hits: list[Floats], truth: Floats, generator: np.random.Generator, seed: int) -> tuple[float, ...]:
    """Completed trials alone, all trials aligned, truth: two thirds of the trials dropped at each rung, 5 exempt.

    Args:
        hits: which rows each trial gets right at each rung and, last, at its end, each of shape (N, C).
        truth: at the end, shape (C,).
        generator: of the exempt trials.
        seed: of the correction.
    """
    n_rows, n_trials = hits[0].shape
    stopped, end = np.zeros(n_trials, np.int64), len(hits) - 1
    alive = np.arange(n_trials)
    for rung in range(end):
        alive = alive[np.argsort(-hits[rung][:, alive].mean(axis=0))[: len(alive) // 3]]
        stopped[alive] = rung + 1
    exempt = generator.permutation(n_trials)[:EXEMPT]
    stopped[exempt] = end
    last = np.stack([hits[rung][:, trial] for trial, rung in enumerate(stopped)], axis=1)
    reference = np.stack([one[:, exempt].mean(axis=0) for one in hits], axis=1)
    complete, units = stopped == end, row_units(n_rows)
    found = []
    for columns in (np.flatnonzero(complete), np.arange(n_trials)):
        scorer = RowMeans(last[:, columns], np.zeros(n_rows, np.int64))
        shrink = shrinkage(scorer, units, np.searchsorted(columns, exempt), np.random.default_rng(seed))
        own = last[:, columns].mean(axis=0)
        alignment = align(reference, stopped[columns], own, "maximize", shrink=shrink)
        trials = Candidates(columns, complete[columns], alignment)
        found.append(correct(scorer, trials, units=units, direction="maximize", seed=seed, draws=150))
    winner = np.flatnonzero(complete)[last[:, complete].mean(axis=0).argmax()]
    return found[0].score, found[1].score, float(truth[winner])


def halved(seed: int, abilities: Abilities, growth: float) -> tuple[float, ...]:
    """90 trials on 200 rows, halved at two rungs."""
    generator = np.random.default_rng(seed)
    truth = abilities(TRIALS, generator)
    hits = halving(200, truth, generator, correlation=0.9, growth=growth)
    return pruned_search(hits, truth, generator, seed)


Curves = Callable[[np.random.Generator], Floats]
"""Makes accuracies after 1, 3, 9 and 27 epochs, (C, 4)."""


def learned(seed: int, made: Curves) -> tuple[float, ...]:
    """90 trials on 200 rows that learn as nets do, halved at three rungs."""
    generator = np.random.default_rng(seed)
    curves = made(generator)
    return pruned_search(learning(200, curves, generator, correlation=0.9), curves[:, -1], generator, seed)


def alike(_: np.random.Generator) -> Floats:
    """From 0.60 to 0.95, every trial."""
    return np.tile([0.6, 0.8, 0.9, 0.95], (TRIALS, 1))


def crossing(generator: np.random.Generator) -> Floats:
    """They end around 0.95."""
    end, rise = 0.97 - abs(generator.normal(0, 0.03, TRIALS)), generator.uniform(0.1, 0.5, TRIALS)
    return _rising(end, rise, np.exp(generator.normal(np.log(5), 0.5, TRIALS)))


def levelling(generator: np.random.Generator) -> Floats:
    """From 0.5 to 0.9: some are there after an epoch, others not after 27."""
    return _rising(np.full(TRIALS, 0.9), np.full(TRIALS, 0.4), np.exp(generator.normal(np.log(5), 1.2, TRIALS)))


def _rising(end: Floats, rise: Floats, speed: Floats) -> Floats:
    curves: Floats = end[:, None] - rise[:, None] * np.exp(-np.array([1, 3, 9, 27]) / speed[:, None])
    return curves


def pruning(studies: int, *, growth: float) -> list[Claim]:
    """Labels of noise, with pruning."""
    found = [halved(seed, coins, growth) for seed in range(studies)]
    alone, aligned, _ = np.mean(found, axis=0)
    return [
        Claim("corrected by completed trials alone (truth 0.500)", alone, 0.515, 0.535),
        near("corrected with pruned trials aligned", aligned, 0.5, 0.01),
    ]


def unequal_pruning(studies: int) -> list[Claim]:
    """Configurations that differ, with pruning."""
    found = [halved(seed, beta_9_6, 0.2) for seed in range(studies)]
    _, aligned, true = np.mean(found, axis=0)
    return [Claim("corrected minus true", aligned - true, -0.02, 0.005)]


def learning_pruning(studies: int, *, made: Curves) -> list[Claim]:
    """Curves that come close to a perfect score, where a gain that is added would pass it, or that level off early."""
    alone, aligned, true = np.mean([learned(seed, made) for seed in range(studies)], axis=0)
    return [
        Claim("corrected by completed trials alone, minus true", alone - true),
        Claim("corrected with pruned trials aligned, minus true", aligned - true, -0.015, 0.005),
    ]


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


def _confirmed(studies: int, sample: float, split: float) -> Floats:
    generator = np.random.default_rng(0)
    means: Floats = np.mean([confirmed_search(generator, sample, split) for _ in range(studies)], axis=0)
    return means


def confirmation_pays(studies: int) -> list[Claim]:
    """Partitions and seeds change scores more than the rows do."""
    best, flattery, winner, left, helps = _confirmed(studies, sample=0.5, split=0.7)
    return [
        Claim("true quality gained by confirming, in its standard deviations", winner - best, low=0.15),
        Claim("optimism left, as a share of what it was", left / flattery, high=0.7),
        Claim("studies in which repeats are said to help", helps, low=0.95),
    ]


def confirmation_brings_nothing(studies: int) -> list[Claim]:
    """The rows are the noise."""
    best, _, winner, _, helps = _confirmed(studies, sample=1.0, split=0.3)
    return [
        Claim("true quality gained by confirming, in its standard deviations", winner - best, -0.02, 0.12),
        Claim("studies in which repeats are said to help", helps, high=0.05),
    ]


def corrected_and_confirmed(seed: int, abilities: Abilities) -> tuple[float, float]:
    """The corrected score of the first run, and the true score of the winner that two more runs confirm.

    Half of what decides whether a configuration gets a row right is its own, from run to run; the rest stays.
    """
    generator = np.random.default_rng(seed)
    truth = abilities(100, generator)
    stays = generator.standard_normal((200, 100))
    runs = np.sqrt(0.5) * (stays + generator.standard_normal((3, 200, 100))) + ndtri(truth) > 0
    values = runs.mean(axis=1)
    top = to_confirm(list(enumerate(values[0])), "maximize", 100)
    winner = max(top, key=lambda number: values[:, number].mean())
    return corrected(runs[0].astype(np.float64), seed=seed).score, float(truth[winner])


def confirmed_beside_corrected(studies: int, *, abilities: Abilities, low: float, high: float) -> list[Claim]:
    """The correction replays the choice of the first run, not that of confirmation."""
    score, true = np.mean([corrected_and_confirmed(seed, abilities) for seed in range(studies)], axis=0)
    return [
        Claim("true score of the confirmed winner", true),
        Claim("corrected minus true", score - true, low, high),
    ]


EXPERIMENTS = (
    Experiment(
        1,
        "Noise labels, 200 rows, 100 configurations, random search",
        partial(noise, n_rows=200, naive=0.587, normal=0.1),
        full=1000,
        small=200,
    ),
    Experiment(1, "The same, 500 rows", partial(noise, n_rows=500, naive=0.557, normal=0.1), full=1000),
    Experiment(
        1,
        "Published design, 100 rows, 50 configurations",
        partial(published, n_rows=100, n_trials=50, expected=(0.867, 0.822, 0.829), below=0.015),
        full=1000,
        small=150,
    ),
    Experiment(
        1,
        "Published design, 200 rows, 100 configurations",
        partial(published, n_rows=200, n_trials=100, expected=(0.875, 0.847, 0.853)),
        full=1000,
        small=150,
    ),
    Experiment(
        1,
        "Published design, 1000 rows, 100 configurations",
        partial(published, n_rows=1000, n_trials=100, expected=(0.866, 0.859, 0.863)),
        full=400,
    ),
    Experiment(3, "Noise labels, 90 trials halved at two rungs, 200 rows", partial(pruning, growth=0.0), 1000, 100),
    Experiment(3, "The same, scores growing with epochs", partial(pruning, growth=0.2), 1000, 100),
    Experiment(3, "The same, configurations that differ", unequal_pruning, 1000, 100),
    Experiment(
        3,
        "90 alike configurations that learn from 0.60 to 0.95, three rungs",
        partial(learning_pruning, made=alike),
        full=1000,
        small=60,
    ),
    Experiment(
        3,
        "90 configurations whose curves cross on their way to 0.95",
        partial(learning_pruning, made=crossing),
        1000,
        60,
    ),
    Experiment(
        3,
        "90 configurations that all come to 0.90, some at once, some not in 27 epochs",
        partial(learning_pruning, made=levelling),
        full=1000,
        small=60,
    ),
    Experiment(7, "Top 10 of 100 on 4 fresh partitions; noise: rows 0.5, partitions 0.7", confirmation_pays, 4000, 400),
    Experiment(7, "The same; noise: rows 1.0, partitions 0.3", confirmation_brings_nothing, 4000, 400),
    Experiment(
        7,
        "Top 10 of 100 trained on 2 more partitions, 200 rows of noise labels",
        partial(confirmed_beside_corrected, abilities=coins, low=-0.01, high=0.01),
        full=1000,
        small=100,
    ),
    Experiment(
        7,
        "The same, configurations that differ",
        partial(confirmed_beside_corrected, abilities=beta_9_6, low=-0.02, high=0.003),
        full=1000,
        small=100,
    ),
)
