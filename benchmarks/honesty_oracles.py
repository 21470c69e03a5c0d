"""foldtune's statistics beside those of others, on the same rows, draws and folds."""

from importlib.util import find_spec

import numpy as np

from benchmarks.honesty_claims import Claim, Experiment
from foldtune.selection.bbc import out_of_bag
from foldtune.selection.calibrate import cv_plus
from foldtune.selection.scorers import RowMeans
from foldtune.values import Floats
from tests.selection.worlds import all_complete, as_counts, authors_draws, beta_9_6, folds, independent

CELLS = ((20, 50), (60, 200), (100, 500), (500, 100))
"""Rows and configurations, out of the grid of the published simulation."""
DRAWS = 50
LEVELS = (0.5, 0.8, 0.9, 0.95)


def authors_algorithm(studies: int) -> list[Claim]:
    """The published algorithm, transcribed from the authors' simulation, on the same bootstrap draws."""
    claims = []
    for n_rows, n_trials in CELLS:
        differences = [_difference(n_rows, n_trials, seed) for seed in range(studies)]
        what = f"largest difference of a draw's score: {n_rows} rows, {n_trials} configurations"
        claims.append(Claim(what, float(np.max(differences)), high=1e-12, form=".1g"))
    return claims


def _difference(n_rows: int, n_trials: int, seed: int) -> float:
    """The largest one; ties between configurations go to the first, as the authors' do."""
    generator = np.random.default_rng(seed)
    hits = independent(n_rows, beta_9_6(n_trials, generator), generator)
    indices = generator.integers(n_rows, size=(DRAWS, n_rows))
    scorer, counts = RowMeans(hits, np.zeros(n_rows, np.int64)), as_counts(indices, n_rows)
    ties = np.zeros((DRAWS, n_trials))
    ours = out_of_bag(scorer, all_complete(n_trials), counts=counts, direction="maximize", ties=ties)
    return float(np.abs(ours - authors_draws(hits, indices)).max())


def mapie(studies: int) -> list[Claim]:
    """CV+ intervals of MAPIE for ridge regressions, with the same folds."""
    return [
        Claim(
            f"largest difference of an interval's end, level {level}",
            float(np.max([_beside_mapie(seed, level) for seed in range(studies)])),
            high=1e-9,
            form=".1g",
        )
        for level in LEVELS
    ]


def _beside_mapie(seed: int, level: float) -> float:
    from mapie.regression import CrossConformalRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import PredefinedSplit

    generator = np.random.default_rng(seed)
    x, new = generator.standard_normal((100, 8)), generator.standard_normal((40, 8))
    y = x.sum(axis=1) + generator.standard_normal(100)
    fold = generator.permutation(folds(100))
    theirs = CrossConformalRegressor(
        Ridge(), confidence_level=level, method="plus", cv=PredefinedSplit(fold), random_state=0
    )
    ends: Floats = theirs.fit_conformalize(x, y).predict_interval(new)[1][:, :, 0]
    models = [Ridge().fit(x[fold != one], y[fold != one]) for one in range(5)]
    residuals = np.empty(100)
    for one, model in enumerate(models):
        residuals[fold == one] = np.abs(y[fold == one] - model.predict(x[fold == one]))
    ours = cv_plus(np.stack([model.predict(new) for model in models]), residuals, fold, level)
    return float(np.abs(np.stack(ours, axis=1) - ends).max())


EXPERIMENTS = (
    Experiment(1, "The authors' algorithm beside ours, cells of the published design", authors_algorithm, 20, 1),
    *(
        [Experiment(8, "CV+ of MAPIE beside ours, the same 5 folds, ridge regression", mapie, 20)]
        if find_spec("mapie")
        else []
    ),
)
LEFT_OUT = () if find_spec("mapie") else ("MAPIE, as it is not installed (`make honesty` installs it)",)
