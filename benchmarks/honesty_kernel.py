"""Experiments on adaptive search, end to end: a kernel machine tuned on labels of noise by foldtune's own sampler.

One machine has 7 hyperparameters: the width of each of 6 features, and the ridge. Everything that it learns, it
imagines: the true accuracy of any configuration is 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.honesty_claims import Claim, Experiment
from foldtune.search.mirror import Mirror
from foldtune.seeds import derive
from foldtune.selection.labels import ADAPTIVE, label
from foldtune.spec import domains
from foldtune.values import Config, Floats, Rows
from tests.selection.worlds import corrected

ROWS, LOCKED, FEATURES, FOLDS, TRIALS = 120, 30, 6, 5, 60
SCALE = {"float": [10**-1.5, 10**0.7], "log": True}
RIDGE = {"float": [1e-3, 10**1.5], "log": True}
SPACE = {"model": {**{f"scale{index}": SCALE for index in range(FEATURES)}, "ridge": RIDGE}, "training": {"epochs": 1}}
RANDOM = {"use": "RandomSampler"}


@dataclass(frozen=True, eq=False)
class Found:
    """A search's outcome.

    Args:
        hits: which rows each trial gets right out of fold, shape (N, trials).
        best: the configuration that gets the most right.
    """

    hits: Floats
    best: Config


def noise(generator: np.random.Generator, n_rows: int) -> tuple[Floats, Floats]:
    """Features, and as many labels of -1 as of 1 that have nothing to do with them."""
    return generator.standard_normal((n_rows, FEATURES)), np.where(generator.permutation(n_rows) % 2, 1.0, -1.0)


def dealt(y: Floats, generator: np.random.Generator) -> Rows:
    """Stratified folds: the fold of each row."""
    fold = np.empty(len(y), np.int64)
    for one in (-1.0, 1.0):
        rows = generator.permutation(np.flatnonzero(y == one))
        fold[rows] = np.arange(len(rows)) % FOLDS
    return fold


def answers(config: Mapping[str, Any], train: tuple[Floats, Floats], x: Floats) -> Floats:
    """What the machine that was fitted on some rows says of others."""
    model = config["model"]
    scale = np.array([model[f"scale{index}"] for index in range(FEATURES)])
    old, new = train[0] * scale, x * scale
    weights = np.linalg.solve(_kernel(old, old) + model["ridge"] * np.eye(len(old)), train[1])
    said: Floats = _kernel(new, old) @ weights
    return said


def _kernel(one: Floats, other: Floats) -> Floats:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    near: Floats = np.exp(-squares / 2)
    return near


def search(
    x: Floats, y: Floats, fold: Rows, *, seed: int, sampler: Mapping[str, Any] | None = None, visible: int = FOLDS
) -> Found:
    """60 trials; each is scored by cross-validation, all folds trained on.

    Args:
        x: features, shape (N, 6).
        y: labels, shape (N,).
        fold: of each row, shape (N,).
        seed: of the search.
        sampler: a reference; None for foldtune's default, TPE.
        visible: the first so many folds count; rows of the others train, and are not scored.
    """
    tree = domains.parse(SPACE)[0]
    mirror = Mirror("noise", ("maximize",), tree=tree, seed=seed, sampler=sampler, pruner={"use": "NopPruner"})
    scored = fold < visible
    columns, configs = [], []
    for number in range(TRIALS):
        _, config = mirror.ask(number)
        said = np.zeros(len(y))
        for one in range(visible):
            said[fold == one] = answers(config, (x[fold != one], y[fold != one]), x[fold == one])
        hits = (np.sign(said) == y)[scored].astype(np.float64)
        mirror.tell(number, "complete", [float(hits.mean())])
        columns.append(hits)
        configs.append(config)
    hits = np.stack(columns, axis=1)
    return Found(hits, configs[int(hits.mean(axis=0).argmax())])


def accuracy(config: Config, train: tuple[Floats, Floats], test: tuple[Floats, Floats]) -> float:
    """Of a machine fitted on some rows, on others."""
    return float((np.sign(answers(config, train, test[0])) == test[1]).mean())


def locked_study(seed: int, sampler: Mapping[str, Any] | None) -> tuple[float, ...]:
    """Naive best, corrected score, whether its interval holds 0.5, and the score on rows that nothing touched."""
    generator = np.random.default_rng(seed)
    x, y = noise(generator, ROWS)
    locked = noise(generator, LOCKED)
    found = search(x, y, dealt(y, generator), seed=seed, sampler=sampler)
    study = corrected(found.hits, seed=seed)
    low, high = study.interval()
    return study.naive, study.score, low <= 0.5 <= high, accuracy(found.best, (x, y), locked)


def hidden_study(seed: int) -> float:
    """The winner's score on a fold that no trial was scored on, but whose rows trained every trial's other folds."""
    generator = np.random.default_rng(seed)
    x, y = noise(generator, ROWS)
    fold = dealt(y, generator)
    last = fold == FOLDS - 1
    best = search(x, y, fold, seed=seed, visible=FOLDS - 1).best
    return accuracy(best, (x[~last], y[~last]), (x[last], y[last]))


def nested_study(seed: int) -> float:
    """The whole search inside each outer fold, scored on rows that it never saw."""
    generator = np.random.default_rng(seed)
    x, y = noise(generator, ROWS)
    outer, scores = dealt(y, generator), []
    for one in range(FOLDS):
        inside, outside = outer != one, outer == one
        train = x[inside], y[inside]
        best = search(*train, dealt(y[inside], generator), seed=derive(seed, "outer", one)).best
        scores.append(accuracy(best, train, (x[outside], y[outside])))
    return float(np.mean(scores))


def tpe(studies: int) -> list[Claim]:
    """foldtune's default sampler."""
    naive, score, covered, locked = np.mean([locked_study(seed, None) for seed in range(studies)], axis=0)
    said = label("TPESampler", ROWS) == ADAPTIVE
    return [
        Claim("naive best (truth 0.500)", naive, low=0.6),
        Claim("corrected score: better, and still too good", score, 0.505, naive - 0.03),
        Claim("its 95% interval holds the truth (not promised)", covered, steady=False),
        chance("locked test", locked, studies * LOCKED),
        Claim("the report says that adaptive search is not corrected for", said, 1, 1, form=".0f"),
    ]


def random(studies: int) -> list[Claim]:
    """The honest control."""
    naive, score, covered, locked = np.mean([locked_study(seed, RANDOM) for seed in range(studies)], axis=0)
    return [
        Claim("naive best (truth 0.500)", naive, low=0.58),
        Claim("corrected score: a residual is left on few rows", score, 0.49, 0.55),
        Claim("its 95% interval holds the truth", covered, low=0.9),
        chance("locked test", locked, studies * LOCKED),
    ]


def hidden(studies: int) -> list[Claim]:
    """What is no locked test."""
    score = float(np.mean([hidden_study(seed) for seed in range(studies)]))
    error = _error(studies * ROWS // FOLDS)
    return [
        Claim("score on the hidden fold: too good, so foldtune locks rows before it splits", score, 0.5 + 2 * error)
    ]


def nested(studies: int) -> list[Claim]:
    """What the procedure is worth."""
    score = float(np.mean([nested_study(seed) for seed in range(studies)]))
    return [chance("nested cross-validation", score, studies * ROWS)]


def chance(what: str, seen: float, n_rows: int) -> Claim:
    """An accuracy within two standard errors of a coin's."""
    return Claim(f"{what} (0.5 ± 2 standard errors)", seen, 0.5 - 2 * _error(n_rows), 0.5 + 2 * _error(n_rows))


def _error(n_rows: int) -> float:
    return float(0.5 / np.sqrt(n_rows))


EXPERIMENTS = (
    Experiment(2, "Noise labels, 120 rows, kernel machine with 7 hyperparameters, 60 trials of TPE", tpe, 60, 3),
    Experiment(2, "The same, random search", random, 60),
    Experiment(2, "The same, TPE, one of 5 folds scored but hidden from the sampler", hidden, 60),
    Experiment(2, "The same, TPE inside each of 5 outer folds", nested, 15),
)
