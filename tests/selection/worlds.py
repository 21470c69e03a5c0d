"""Made worlds whose truth is known."""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from foldtune.selection.bbc import Candidates, Corrected, correct
from foldtune.selection.gains import unaligned
from foldtune.selection.resampling import Units, row_units
from foldtune.selection.scorers import RowMeans
from foldtune.values import Direction, Floats, Rows

Abilities = Callable[[int, np.random.Generator], Floats]
"""True accuracies of C configurations."""


def coins(n_trials: int, generator: np.random.Generator) -> Floats:
    """Labels of noise: all configurations guess."""
    return np.full(n_trials, 0.5)


def beta_9_6(n_trials: int, generator: np.random.Generator) -> Floats:
    """The design of Tsamardinos, Greasidou and Borboudakis (2018), section 5.1."""
    return np.clip(generator.beta(9, 6, n_trials), 0.02, 0.98)


def independent(n_rows: int, truth: Floats, generator: np.random.Generator) -> Floats:
    """Which rows each configuration gets right, shape (N, C)."""
    return (generator.random((n_rows, len(truth))) < truth).astype(np.float64)


def halving(
    n_rows: int, truth: Floats, generator: np.random.Generator, *, correlation: float, growth: float
) -> list[Floats]:
    """What configurations get right at two rungs and their end, correlated from one to the next, three of (N, C)."""
    curves = ndtr(ndtri(truth)[:, None] - growth * np.array([2, 1, 0]))
    return learning(n_rows, curves, generator, correlation=correlation)


def learning(n_rows: int, curves: Floats, generator: np.random.Generator, *, correlation: float) -> list[Floats]:
    """What configurations get right at each rung, (N, C) each, by their true accuracies there, (C, T)."""
    latent = generator.standard_normal((n_rows, len(curves)))
    hits = []
    for accuracy in curves.T:
        hits.append((latent + ndtri(accuracy) > 0).astype(np.float64))
        fresh = generator.standard_normal(latent.shape)
        latent = correlation * latent + np.sqrt(1 - correlation**2) * fresh
    return hits


def folds(n_rows: int, k: int = 5) -> Rows:
    """The fold of each row."""
    return np.arange(n_rows) % k


def all_complete(n_trials: int) -> Candidates:
    """A search without pruning."""
    return Candidates(np.arange(n_trials), np.ones(n_trials, bool), unaligned(n_trials))


def corrected(
    values: Floats, *, direction: Direction = "maximize", seed: int = 0, draws: int = 300, units: Units | None = None
) -> Corrected:
    """The correction of a search without pruning, of a metric that is a mean over rows, (N, C)."""
    n_rows, n_trials = values.shape
    scorer = RowMeans(values, np.zeros(n_rows, np.int64))
    units = units or row_units(n_rows)
    return correct(scorer, all_complete(n_trials), units=units, direction=direction, seed=seed, draws=draws)


def authors_draws(predictions: Floats, indices: Rows) -> list[float]:
    """`BBC_CV` of the authors' own simulation, on given bootstrap indices, shape (B, N)."""
    scores = []
    for in_samples in indices:
        out_samples = sorted(set(range(len(predictions))) - set(in_samples.tolist()))
        best = int(predictions[in_samples].mean(axis=0).argmax())
        scores.append(float(predictions[out_samples, best].mean()))
    return scores


def as_counts(indices: Rows, n_rows: int) -> Floats:
    return np.stack([np.bincount(one, minlength=n_rows) for one in indices]).astype(np.float64)
