"""Experiments on the epoch rule, the comparison of two configurations, and intervals of predictions."""

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

from benchmarks.honesty_claims import Claim, Experiment, near
from foldtune.selection.calibrate import cv_plus, residual_quantile
from foldtune.selection.compare import compare
from foldtune.train.stopping import choose_epochs
from foldtune.values import Floats
from tests.selection.worlds import folds


def epoch_rule(studies: int) -> list[Claim]:
    """A flat curve at 0.70: whatever is above it was flattered."""
    generator, epochs, n_folds, size = np.random.default_rng(0), 50, 5, 40
    eligible = tuple(range(1, epochs + 1))
    own, common, ours = [], [], []
    moved = 0
    for _ in range(studies):
        latent = generator.standard_normal((n_folds, size))
        curves = np.empty((epochs, n_folds))
        for epoch in range(epochs):
            curves[epoch] = (latent < 0.5244).mean(axis=1)  # right for 70% of rows, at every epoch
            latent = 0.9 * latent + np.sqrt(1 - 0.9**2) * generator.standard_normal(latent.shape)
        chosen = choose_epochs(curves, "maximize", eligible)
        own.append(curves.max(axis=0).mean() - 0.7)
        common.append(curves.mean(axis=1).max() - 0.7)
        ours.append(curves[chosen - 1, np.arange(n_folds)].mean() - 0.7)
        for fold in range(n_folds):
            other = curves.copy()
            other[:, fold] = generator.random(epochs)
            moved += choose_epochs(other, "maximize", eligible)[fold] != chosen[fold]
    return [
        Claim("each fold's own best epoch flatters by", float(np.mean(own)), low=0.07),
        Claim("the mean curve's best epoch flatters by", float(np.mean(common)), low=0.03),
        near("the other folds' best epoch flatters by", float(np.mean(ours)), 0.0, 0.01),
        Claim("folds whose epoch moves with their own curve", moved, 0, 0, form=".0f"),
    ]


def moons(_: int) -> list[Claim]:
    """scikit-learn's published example of a comparison on the same splits."""
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    splits = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=kernel, random_state=0), x, y, scoring="roc_auc", cv=splits).reshape(10, 10)
        for kernel in ("rbf", "linear")
    )
    found = compare(rbf, linear, direction="maximize", rope=0.01, test_share=1 / 9)
    plain = compare(rbf, linear, direction="maximize", rope=0.01, test_share=0.0)
    without = compare(rbf, linear, direction="maximize", rope=0.0, test_share=1 / 9)
    figures = {
        "corrected t": (found.t, 0.7503),
        "its one-sided p": (found.p / 2, 0.2274),
        "uncorrected t": (plain.t, 2.6112),
        "its one-sided p ": (plain.p / 2, 0.0052),
        "P(better)": (without.better, 0.7726),
        "P(they differ by less than 0.01)": (found.same, 0.4317),
    }
    return [Claim(what, round(seen, 4), known, known, form=".4f") for what, (seen, known) in figures.items()]


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


def false_alarms(studies: int) -> list[Claim]:
    """Two learners that are exchangeable: whoever tells them apart is wrong."""
    generator = np.random.default_rng(0)
    plain: list[bool] = []
    ours: list[bool] = []
    for _ in range(studies):
        first, second = ridge_differences(generator, repeats=5)
        for share, rejected in ((0.0, plain), (1 / 4, ours)):
            rejected.append(compare(first, second, direction="minimize", rope=0.0, test_share=share).p < 0.05)
    return [
        Claim("plain paired t rejects at 5%", float(np.mean(plain)), low=0.3),
        Claim("the corrected one rejects at 5%", float(np.mean(ours)), 0.02, 0.08),
    ]


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


def coverage(studies: int) -> list[Claim]:
    """90% intervals around ridge predictions: 100 rows, 20 features, 5 folds."""
    generator = np.random.default_rng(0)
    kept, refitted, training = np.mean([interval_coverage(generator) for _ in range(studies)], axis=0)
    return [
        Claim("CV+ holds new rows", kept, low=0.88),
        Claim("refit with out-of-fold residuals holds them", refitted, low=0.88),
        Claim("refit with training residuals holds them (why they are not used)", training, high=0.85),
    ]


EXPERIMENTS = (
    Experiment(4, "Flat curve at 0.70, 5 folds of 40 rows, 50 epochs", epoch_rule, full=1000, small=150),
    Experiment(5, "scikit-learn's gallery: moons, two SVMs, 10 x 10 folds", moons, full=1),
    Experiment(5, "Two exchangeable ridge regressions, 5 x 5 folds", false_alarms, full=4000, small=400),
    Experiment(8, "90% intervals of predictions, 100 rows, 20 features", coverage, full=4000, small=400),
)
