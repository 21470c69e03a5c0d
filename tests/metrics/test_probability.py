"""Metrics of probabilities equal scikit-learn's, on folds with ties, padding and absent classes."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from foldtune.metrics import build_metric
from foldtune.testing.metric_laws import (
    Array,
    check_metric_equals_sklearn,
    classification_sample,
)
from tests.metrics.checks import check_of_classes

pytestmark = pytest.mark.filterwarnings("ignore:(Only one class|No positive class)")

LAW = settings(deadline=None, max_examples=40)

SEEDS = st.integers(0, 2**16)
ROWS = st.integers(1, 40)


@LAW
@given(seed=SEEDS, n_classes=st.integers(2, 5), n_rows=ROWS)
def test_log_loss_equals_sklearn(seed: int, n_classes: int, n_rows: int) -> None:
    check_of_classes("log_loss", partial(log_loss, labels=range(n_classes)), seed, n_classes, n_rows)


@LAW
@given(seed=SEEDS, n_classes=st.integers(2, 5), n_rows=ROWS)
def test_brier_score_loss_equals_sklearn(seed: int, n_classes: int, n_rows: int) -> None:
    check_of_classes("brier_score_loss", partial(brier_score_loss, labels=range(n_classes)), seed, n_classes, n_rows)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
@LAW
@given(seed=SEEDS, n_rows=ROWS)
def test_binary_ranking_equals_sklearn(name: str, seed: int, n_rows: int) -> None:
    score = roc_auc_score if name == "roc_auc" else average_precision_score
    check_of_classes(name, lambda y_true, y_pred: score(y_true, y_pred[:, 1]), seed, 2, n_rows)


@LAW
@given(
    seed=SEEDS,
    n_classes=st.integers(3, 5),
    n_rows=ROWS,
    options=st.sampled_from(
        [{}, {"average": "weighted"}, {"average": "micro"}, {"multi_class": "ovo"}, {"multi_class": "ovr"}]
    ),
)
def test_multiclass_roc_auc_equals_sklearn(seed: int, n_classes: int, n_rows: int, options: dict[str, str]) -> None:
    arguments: dict[str, Any] = {"multi_class": "ovr", "labels": range(n_classes), **options}
    check_of_classes({"use": "roc_auc", **options}, partial(_roc_auc, **arguments), seed, n_classes, n_rows)


@LAW
@given(seed=SEEDS, n_classes=st.integers(3, 5), n_rows=ROWS, average=st.sampled_from(["macro", "weighted", "micro"]))
def test_multiclass_average_precision_equals_sklearn(seed: int, n_classes: int, n_rows: int, average: str) -> None:
    def reference(y_true: Array, y_pred: Array) -> float:
        return float(average_precision_score(np.eye(n_classes, dtype=int)[y_true], y_pred, average=average))

    check_of_classes({"use": "average_precision", "average": average}, reference, seed, n_classes, n_rows)


@LAW
@given(seed=SEEDS, n_classes=st.integers(3, 5))
def test_average_precision_takes_codes_as_sklearn_does_where_no_class_is_absent(seed: int, n_classes: int) -> None:
    metric = build_metric("average_precision", task="classification", n_classes=n_classes, path=())
    sample = classification_sample(seed, n_classes=n_classes, n_rows=20, complete=True)
    check_metric_equals_sklearn(metric, average_precision_score, sample=sample)


def _roc_auc(y_true: Array, y_pred: Array, **arguments: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `ovo` of a single class: the mean of no pairs
        return float(roc_auc_score(y_true, y_pred, **arguments))
