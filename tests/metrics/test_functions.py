"""Functions called once per model: the rest of scikit-learn, and the user's own."""

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.errors import SpecError
from foldtune.metrics import build_metric
from foldtune.metrics.build import _TORCH
from foldtune.metrics.functions import options, sklearn_direction, sklearn_functions, sklearn_needs
from foldtune.testing.metric_laws import (
    check_metric_equals_sklearn,
    check_models_are_independent,
    classification_sample,
    regression_sample,
)
from foldtune.values import Task

LAW = settings(deadline=None, max_examples=20)

SOURCE = """
def cost(y_true, y_pred, *, price=1.0):
    return price * float((y_true != y_pred).mean())

def mean_certainty(y_true, y_pred):
    assert y_pred.ndim == SHAPE
    return y_pred.max()

def broken(y_true, y_pred):
    raise ZeroDivisionError("mine")

class Thing:
    pass

def alone(y_true):
    return 0.0
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "own_metrics_for_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_metrics_for_test", raising=False)
    return __import__("own_metrics_for_test")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_sklearn_names_tell_the_direction_and_needs_of_the_torch_metrics(task: Task) -> None:
    functions = sklearn_functions(task)
    for name, metric in _TORCH[task].items():
        assert sklearn_direction(functions[name]) == metric.direction, name
        assert sklearn_needs(functions[name], task) == metric.needs, name
        assert {*metric.options, *metric.neutral} <= set(options(functions[name])), name


REQUIRED: dict[str, dict[str, Any]] = {"fbeta": {"beta": 2.0}, "top_k_accuracy": {"k": 1}}


@pytest.mark.parametrize("n_classes", [2, 4])
def test_every_sklearn_classification_metric_scores_every_model(n_classes: int) -> None:
    sample = classification_sample(1, n_classes=n_classes)
    for name in sklearn_functions("classification"):
        node: dict[str, Any] = {"use": name, **REQUIRED.get(name, {})}
        metric = build_metric(node, task="classification", n_classes=n_classes, path=())
        scores = metric(sample.target, sample.prediction, sample.mask)
        assert scores.shape == (4,) and scores.dtype == torch.float64
        assert name in ("roc_auc", "cohen_kappa", "d2_log_loss", "d2_brier") or scores.isfinite().all(), name


def test_every_sklearn_regression_metric_scores_every_model() -> None:
    sample = regression_sample(1)
    for name in sklearn_functions("regression"):
        metric = build_metric(name, task="regression", n_classes=1, path=())
        scores = metric(sample.target, sample.prediction.abs() + 0.1, sample.mask)
        assert name == "d2_tweedie" or scores.isfinite().all(), name  # that one divides by the spread


@LAW
@given(seed=st.integers(0, 2**16), k=st.integers(1, 3))
def test_top_k_accuracy_equals_sklearn(seed: int, k: int) -> None:
    metric = build_metric({"use": "top_k_accuracy", "k": k}, task="classification", n_classes=4, path=())
    sample = classification_sample(seed, n_classes=4)
    check_metric_equals_sklearn(
        metric,
        lambda y_true, y_pred: sklearn.metrics.top_k_accuracy_score(y_true, y_pred, k=k, labels=range(4)),
        sample=sample,
    )
    check_models_are_independent(metric, sample=sample)


def test_predictions_that_sklearn_refuses_score_nan_for_that_model_only() -> None:
    metric = build_metric("mean_squared_log_error", task="regression", n_classes=1, path=())
    target = torch.ones(2, 3, 1, dtype=torch.float64)
    prediction = torch.stack([target[0], -2 * target[1]])
    scores = metric(target, prediction, torch.ones(2, 3, dtype=torch.bool))
    assert scores[0] == 0 and scores[1].isnan()


def test_own_function_scores_each_fold_with_its_arguments(own: ModuleType) -> None:
    node = {"use": "own_metrics_for_test:cost", "direction": "minimize", "price": 2}
    metric = build_metric(node, task="classification", n_classes=3, path=())
    sample = classification_sample(0, n_classes=3)
    check_metric_equals_sklearn(metric, lambda a, b: 2 * float(np.mean(a != b)), sample=sample)
    check_models_are_independent(metric, sample=sample)
    assert (metric.label, metric.direction, metric.needs) == ("cost_2", "minimize", "labels")


@pytest.mark.parametrize(("n_classes", "ndim"), [(2, 1), (3, 2)])
def test_own_function_reads_probabilities_as_sklearn_passes_them(own: ModuleType, n_classes: int, ndim: int) -> None:
    own.__dict__["SHAPE"] = ndim
    node = {"use": "own_metrics_for_test:mean_certainty", "direction": "maximize", "needs": "probabilities"}
    metric = build_metric(node, task="classification", n_classes=n_classes, path=())
    sample = classification_sample(0, n_classes=n_classes)
    assert metric(sample.target, sample.prediction, sample.mask).isfinite().all()


@pytest.mark.parametrize(("n_targets", "ndim"), [(1, 1), (2, 2)])
def test_own_function_reads_values_in_regression(own: ModuleType, n_targets: int, ndim: int) -> None:
    own.__dict__["SHAPE"] = ndim
    node = {"use": "own_metrics_for_test:mean_certainty", "direction": "minimize"}
    metric = build_metric(node, task="regression", n_classes=n_targets, path=())
    assert metric.needs == "values"
    check_models_are_independent(metric, sample=regression_sample(0, n_targets=n_targets))


def test_what_an_own_function_raises_reaches_the_caller(own: ModuleType) -> None:
    node = {"use": "own_metrics_for_test:broken", "direction": "minimize"}
    metric = build_metric(node, task="classification", n_classes=2, path=())
    sample = classification_sample(0, n_classes=2)
    with pytest.raises(ZeroDivisionError, match="mine"):
        metric(sample.target, sample.prediction, sample.mask)


OWN_PROBLEMS: list[tuple[dict[str, Any], Task, str]] = [
    ({"use": "cost"}, "classification", r"metrics\.1\.direction: the direction of a metric of your own must be given"),
    ({"use": "cost", "direction": "up"}, "classification", r"metrics\.1\.direction: .*Write `direction: minimize`"),
    (
        {"use": "cost", "direction": "minimize", "needs": "values"},
        "classification",
        r"`needs` must be labels or probabilities for classification, however: values\.",
    ),
    (
        {"use": "cost", "direction": "minimize", "needs": "labels"},
        "regression",
        r"`needs` must be values for regression, however: labels\.",
    ),
    (
        {"use": "cost", "direction": "minimize", "prise": 2},
        "classification",
        r"metrics\.1\.prise: `cost` takes no `prise`\. Did you mean price\?",
    ),
    (
        {"use": "alone", "direction": "minimize"},
        "classification",
        r"must be a function of \(y_true, y_pred\), however: own_metrics_for_test:alone\(y_true\)\.",
    ),
    ({"use": "Thing", "direction": "minimize"}, "classification", r"a metric must be a .*Function.*:Thing"),
    ({"use": "mising", "direction": "minimize"}, "classification", r"has no `mising`"),
]


@pytest.mark.parametrize(("node", "task", "message"), OWN_PROBLEMS)
def test_own_function_problems_are_named(own: ModuleType, node: dict[str, Any], task: Task, message: str) -> None:
    node = {**node, "use": f"own_metrics_for_test:{node['use']}"}
    with pytest.raises(SpecError, match=message):
        build_metric(node, task=task, n_classes=2, path=("metrics", 1))


def test_all_problems_of_an_own_function_come_at_once(own: ModuleType) -> None:
    node = {"use": "own_metrics_for_test:cost", "needs": "values", "prise": 2}
    with pytest.raises(SpecError) as caught:
        build_metric(node, task="classification", n_classes=2, path=())
    assert [problem.path for problem in caught.value.problems] == [("prise",), ("direction",), ("needs",)]


def test_sklearn_warnings_are_silenced() -> None:
    metric = build_metric({"use": "roc_auc", "multi_class": "ovo"}, task="classification", n_classes=3, path=())
    sample = classification_sample(0, n_classes=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric(torch.zeros_like(sample.target), sample.prediction, sample.mask)
