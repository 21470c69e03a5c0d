"""foldtune's nested cross-validation beside scikit-learn's, on the same outer and inner folds.

The net is one layer that begins at zero and takes one step on all rows, so that both come to the same numbers.
"""

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GridSearchCV
from torch import nn

from benchmarks.honesty_claims import Claim, Experiment
from benchmarks.honesty_command import foldtune
from foldtune.store.store import Store
from foldtune.values import Floats

OUTER = 3
RATES = tuple(round(0.1 * step, 1) for step in range(1, 9))
STUDY = {
    "name": "nested",
    "data": {"table": "data.csv", "target": "y", "task": "regression"},
    "validation": {"use": "KFold", "n_splits": 5},
    "preprocessing": {"numeric": [{"use": "StandardScaler"}]},
    "objective": "mean_squared_error",
    "metrics": ["mean_squared_error"],
    "model": {"use": "benchmarks.honesty_nested:from_zero"},
    "loss": "MSELoss",
    "optimizer": {"use": "SGD", "lr": {"float": [RATES[0], RATES[-1]], "step": 0.1, "default": RATES[0]}},
    "training": {"epochs": 1, "batch_size": 1000},
    "search": {"trials": len(RATES) + 1, "sampler": "GridSampler", "pruner": "NopPruner", "confirm": 0},
}


def from_zero(in_features: int, out_features: int) -> nn.Module:
    """A linear layer whose weights are 0."""
    layer = nn.Linear(in_features, out_features)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class OneStep(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The same in scikit-learn's terms: standardise, then one step of gradient descent from zero."""

    def __init__(self, lr: float = 0.1) -> None:
        self.lr = lr

    def fit(self, x: Floats, y: Floats) -> "OneStep":
        self.mean_, self.scale_, self.target_ = x.mean(axis=0), x.std(axis=0), (y.mean(), y.std())
        self.weights_ = self.lr * 2 / len(x) * self._standard(x).T @ ((y - y.mean()) / y.std())
        return self

    def predict(self, x: Floats) -> Floats:
        answers: Floats = self._standard(x) @ self.weights_ * self.target_[1] + self.target_[0]
        return answers

    def _standard(self, x: Floats) -> Floats:
        standard: Floats = (x - self.mean_) / self.scale_
        return standard


def nested(studies: int) -> list[Claim]:
    """Scores and winners of every outer fold."""
    differences, others = [], 0
    for seed in range(studies):
        generator = np.random.default_rng(seed)
        x = generator.standard_normal((90, 5))
        y = x @ np.array([2.0, 1.0, 0.5, 0.0, 0.0]) + generator.standard_normal(90)
        for ours, theirs in _both(x, y, seed):
            differences.append(abs(ours[0] / theirs[0] - 1))
            others += abs(ours[1] - theirs[1]) > 1e-9
    return [
        Claim("largest relative difference of an outer fold's score", max(differences), high=1e-5, form=".1g"),
        Claim("outer folds with another winner", others, 0, 0, form=".0f"),
    ]


def _both(x: Floats, y: Floats, seed: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Score and winning rate of every outer fold: foldtune's and scikit-learn's."""
    with TemporaryDirectory() as folder:
        pd.DataFrame(x, columns=list("abcde")).assign(y=y).to_csv(Path(folder) / "data.csv", index=False)
        study: dict[str, Any] = {**STUDY, "search": {**STUDY["search"], "seed": seed}}  # type: ignore[dict-item]
        (Path(folder) / "study.yaml").write_text(json.dumps(study), encoding="utf-8")
        shown = foldtune(folder, "run", "study.yaml", "--nested", str(OUTER))
        (found,) = (audit for audit in shown["audits"] if audit["finding"] == "nested")
        with closing(Store(f"sqlite:///{folder}/foldtune.db", create=False)) as store:
            return [
                (_ours(store, fold, score), _theirs(store, fold["study"], x, y))
                for fold, score in zip(found["folds"], found["fold_scores"], strict=True)
            ]


def _ours(store: Store, fold: dict[str, Any], score: float) -> tuple[float, float]:
    trial = store.trial(store.study(fold["study"]).uuid, fold["trial"])
    return score, float(str(trial.params["optimizer.lr"]))


def _theirs(store: Store, name: str, x: Floats, y: Floats) -> tuple[float, float]:
    record = store.study(name)
    train = np.setdiff1d(np.arange(len(y)), record.locked)
    folds = [(fold.train, fold.valid) for fold in record.folds]
    search = GridSearchCV(OneStep(), {"lr": RATES}, scoring="neg_mean_squared_error", cv=folds)
    search.fit(x[train], y[train])
    score = mean_squared_error(y[record.locked], search.predict(x[record.locked]))
    return float(score), float(search.best_params_["lr"])


EXPERIMENTS = (Experiment(2, "Nested cross-validation of scikit-learn beside ours, the same folds, a grid", nested, 3),)
