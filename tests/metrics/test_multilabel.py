"""Metrics of several labels equal scikit-learn's of the indicator matrix, with ties, padding and constant labels."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from foldtune.errors import SpecError
from foldtune.metrics import Metric, build_metric
from foldtune.metrics.functions import sklearn_functions
from foldtune.testing.metric_laws import (
    Array,
    check_metric_equals_sklearn,
    multilabel_sample,
)
from tests.metrics.checks import check_metric

LAW = settings(deadline=None, max_examples=20)


def build(node: Any, n_labels: int = 3) -> Metric:
    return build_metric(node, task="multilabel", n_classes=n_labels, path=("objective",))


def over_labels(function: Callable[..., float]) -> Callable[[Array, Array], float]:
    """The mean over labels of a function of two classes."""

    def mean(y_true: Array, y_pred: Array) -> float:
        return float(np.mean([function(*columns) for columns in zip(y_true.T, y_pred.T, strict=True)]))

    return mean


AVERAGED: dict[str, Callable[..., float]] = {
    "f1": partial(metrics.f1_score, zero_division=0),
    "precision": partial(metrics.precision_score, zero_division=0),
    "recall": partial(metrics.recall_score, zero_division=0),
    "jaccard": partial(metrics.jaccard_score, zero_division=0),
    "roc_auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
}
PLAIN: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": metrics.accuracy_score,
    "hamming_loss": metrics.hamming_loss,
    "zero_one_loss": metrics.zero_one_loss,
    "coverage_error": metrics.coverage_error,
    "label_ranking_loss": metrics.label_ranking_loss,
    "log_loss": over_labels(partial(metrics.log_loss, labels=[0, 1])),
    "brier_score_loss": over_labels(partial(metrics.brier_score_loss, labels=[0, 1])),
}
CASES: dict[str, tuple[Any, Callable[[Array, Array], float]]] = {
    **{name: (name, function) for name, function in PLAIN.items()},
    **{name: (name, partial(function, average="macro")) for name, function in AVERAGED.items()},
    **{
        f"{name} {average}": ({"use": name, "average": average}, partial(function, average=average))
        for name, function in AVERAGED.items()
        for average in ("micro", "weighted")
    },
}


@pytest.mark.filterwarnings("ignore:(Only one class|No positive class)")
@pytest.mark.parametrize("name", CASES)
@LAW
@given(seed=st.integers(0, 2**16), n_labels=st.integers(2, 4), n_rows=st.integers(1, 30))
def test_metrics_equal_sklearn(name: str, seed: int, n_labels: int, n_rows: int) -> None:
    node, reference = CASES[name]
    metric, sample = build(node, n_labels), multilabel_sample(seed, n_labels=n_labels, n_rows=n_rows)
    check_metric(metric, reference, sample)


def test_the_common_ones_are_computed_for_all_models_at_once() -> None:
    slow = {name for name, (node, _) in CASES.items() if build(node).one_by_one}
    others = {"zero_one_loss", "coverage_error", "label_ranking_loss", "jaccard", "jaccard micro"}
    assert slow == {name for name in CASES if "weighted" in name} | others


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("balanced_accuracy", r"objective: `balanced_accuracy` is a classification metric, however: task=multilabel"),
        ("matthews_corrcoef", r"`matthews_corrcoef` is a classification metric"),
        ("d2_log_loss", r"`d2_log_loss` is a classification metric"),
        ("r2", r"`r2` is a regression metric, however: task=multilabel"),
        ("logloss", r"there is no multilabel metric `logloss`\. Did you mean log_loss"),
        ({"use": "log_loss", "normalize": False}, r"objective\.normalize: `log_loss` takes no `normalize`"),
        ({"use": "f1", "average": "binary"}, r"Target is multilabel-indicator but average='binary'"),
        ({"use": "f1", "average": None}, r"the metric must give one number"),
    ],
)
def test_metrics_without_a_meaning_are_refused(node: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(node)


def test_functions_that_take_indicators_for_something_else_are_left_out() -> None:
    """Whatever else of scikit-learn's takes an indicator matrix and probabilities reads one distribution a row."""
    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    others = set(sklearn_functions("classification")) - set(sklearn_functions("multilabel"))
    taken = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in others:
            try:
                float(sklearn_functions("classification")[name](labels, 0.25 + 0.5 * labels))
                taken.add(name)
            except (TypeError, ValueError):
                pass
    assert taken == {"log_loss", "brier_score_loss", "d2_log_loss", "d2_brier"}


def cells(y_true: Array, y_pred: Array) -> float:
    assert y_true.shape == y_pred.shape and y_pred.dtype == np.int64
    return float((y_true == y_pred).mean())


def chances(y_true: Array, y_pred: Array) -> float:
    assert y_true.shape == y_pred.shape and y_pred.dtype == np.float64
    return float(np.abs(y_true - y_pred).mean())


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_metric_of_ones_own_gets_the_indicator_matrix(n_labels: int) -> None:
    sample = multilabel_sample(1, n_labels=n_labels)
    for function, needs in ((cells, "labels"), (chances, "probabilities")):
        node = {"use": f"{__name__}:{function.__name__}", "direction": "maximize", "needs": needs}
        check_metric_equals_sklearn(build(node, n_labels), function, sample=sample)
