"""Scorers of the common metrics equal the metrics themselves, fold by fold, also on rows that repeat."""

import numpy as np
import pytest
import torch

from foldtune.metrics import build_metric
from foldtune.selection.known import scorer_of
from foldtune.selection.scorers import EachDraw, RowMeans, ScoreRows, mean_over_folds
from foldtune.values import Floats, Rows, Task
from tests.selection.worlds import folds

CLASSIFICATION = ("log_loss", "brier_score_loss", "accuracy", "balanced_accuracy", "roc_auc")
LABELS = ("log_loss", "brier_score_loss", "accuracy", "hamming_loss")
REGRESSION = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2")
CASES = [
    *[("classification", name, 2) for name in CLASSIFICATION],
    *[("classification", name, 3) for name in CLASSIFICATION[:-1]],
    ("classification", "hamming_loss", 3),
    *[("multilabel", name, outputs) for name in LABELS for outputs in (2, 3)],
    *[("regression", name, outputs) for name in REGRESSION for outputs in (1, 2)],
]


def world(task: Task, outputs: int) -> tuple[Rows | Floats, Floats]:
    """The target of 40 rows and the predictions of 4 trials."""
    generator = np.random.default_rng(outputs)
    if task == "regression":
        return 5 + generator.normal(size=(40, outputs)), 5 + generator.normal(size=(4, 40, outputs))
    if task == "multilabel":
        return generator.integers(2, size=(40, outputs)), generator.random(size=(4, 40, outputs))
    weights = generator.exponential(size=(4, 40, outputs))
    return generator.integers(outputs, size=40), weights / weights.sum(axis=2, keepdims=True)


def metric_itself(task: Task, name: str, target: Rows | Floats, predictions: Floats) -> ScoreRows:
    metric = build_metric(name, task=task, n_classes=predictions.shape[2], path=())

    def score(rows: Rows, trials: Rows) -> Floats:
        values = torch.tensor(predictions[trials][:, rows])
        truth = torch.tensor(np.stack([target[rows]] * len(trials)))
        scores: Floats = metric(truth, values, torch.ones(values.shape[:2], dtype=torch.bool)).numpy()
        return scores

    return score


@pytest.mark.parametrize(("task", "name", "outputs"), CASES)
def test_scorers_equal_the_metrics(task: Task, name: str, outputs: int) -> None:
    target, predictions = world(task, outputs)
    generator = np.random.default_rng(0)
    counts, chosen = generator.integers(0, 3, size=(5, 40)).astype(np.float64), generator.integers(4, size=5)
    known = scorer_of(name, target=target, predictions=predictions, fold=folds(40, 3))
    plain = EachDraw(4, mean_over_folds(metric_itself(task, name, target, predictions), folds(40, 3)))
    assert known is not None
    np.testing.assert_allclose(known.every(counts), plain.every(counts), rtol=1e-9)  # differences of squares
    np.testing.assert_allclose(known.one(counts, chosen), plain.one(counts, chosen), rtol=1e-9)


@pytest.mark.parametrize("name", ["balanced_accuracy", "r2", "accuracy", "mean_squared_error"])
def test_a_fold_without_rows_is_left_out(name: str) -> None:
    task: Task = "regression" if name in REGRESSION else "classification"
    target, predictions = world(task, 2)
    fold, counts = folds(40, 2), np.ones((1, 40))
    counts[0, fold == 1] = 0
    known = scorer_of(name, target=target, predictions=predictions, fold=fold)
    assert known is not None
    alone = scorer_of(name, target=target[::2], predictions=predictions[:, ::2], fold=fold[::2])
    assert alone is not None
    np.testing.assert_allclose(known.every(counts), alone.every(np.ones((1, 20))), rtol=1e-9)


def test_other_metrics_have_none() -> None:
    target, predictions = world("classification", 3)
    for name in ("roc_auc", "f1_macro"):
        assert scorer_of(name, target=target, predictions=predictions, fold=folds(40)) is None


@pytest.mark.parametrize("name", ["roc_auc", "f1", "average_precision"])
def test_rankings_of_two_labels_have_none(name: str) -> None:
    target, predictions = world("multilabel", 2)
    assert scorer_of(name, target=target, predictions=predictions, fold=folds(40)) is None


def test_a_constant_target_has_no_r2() -> None:
    known = scorer_of("r2", target=np.full((10, 1), 3.1), predictions=np.zeros((2, 10, 1)), fold=folds(10, 2))
    assert isinstance(known, RowMeans)
    assert np.isnan(known.every(np.ones((1, 10)))).all()
