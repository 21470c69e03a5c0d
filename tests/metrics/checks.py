"""What every metric that equals one of scikit-learn's must do."""

import warnings
from typing import Any

from foldtune.metrics import Metric, build_metric
from foldtune.testing.metric_laws import (
    MetricSample,
    Reference,
    check_metric_equals_sklearn,
    check_models_are_independent,
    classification_sample,
)


def check_metric(metric: Metric, reference: Reference, sample: MetricSample) -> None:
    """It equals its reference, which may warn, and scores each model by itself, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_models_are_independent(metric, sample=sample)
    check_metric_equals_sklearn(metric, reference, sample=sample)


def check_of_classes(node: str | dict[str, Any], reference: Reference, seed: int, n_classes: int, n_rows: int) -> None:
    metric = build_metric(node, task="classification", n_classes=n_classes, path=())
    check_metric(metric, reference, classification_sample(seed, n_classes=n_classes, n_rows=n_rows))
