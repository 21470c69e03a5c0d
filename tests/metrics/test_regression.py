"""Metrics of values equal scikit-learn's, with several targets, constant targets and padding."""

from functools import partial
from typing import Any

import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.metrics import build_metric
from foldtune.testing.metric_laws import (
    Reference,
    regression_sample,
)
from tests.metrics.checks import check_metric

pytestmark = pytest.mark.filterwarnings("ignore:R.2 score is not well-defined")

LAW = settings(deadline=None, max_examples=40)

SKLEARN: list[tuple[str | dict[str, Any], Reference]] = [
    ("mean_absolute_error", sklearn.metrics.mean_absolute_error),
    ("mean_squared_error", sklearn.metrics.mean_squared_error),
    ("root_mean_squared_error", sklearn.metrics.root_mean_squared_error),
    ("r2", sklearn.metrics.r2_score),
    ("median_absolute_error", sklearn.metrics.median_absolute_error),
    ({"use": "mean_pinball_loss", "alpha": 0.1}, partial(sklearn.metrics.mean_pinball_loss, alpha=0.1)),
    (
        {"use": "r2", "multioutput": "variance_weighted"},
        partial(sklearn.metrics.r2_score, multioutput="variance_weighted"),
    ),
]


@pytest.mark.parametrize(("node", "reference"), SKLEARN)
@LAW
@given(seed=st.integers(0, 2**16), n_targets=st.integers(1, 3), n_rows=st.integers(1, 30))
def test_equals_sklearn(
    node: str | dict[str, Any], reference: Reference, seed: int, n_targets: int, n_rows: int
) -> None:
    metric = build_metric(node, task="regression", n_classes=n_targets, path=())
    sample = regression_sample(seed, n_targets=n_targets, n_rows=n_rows)
    check_metric(metric, reference, sample)


def test_r2_of_a_constant_without_an_exact_mean_is_zero() -> None:
    metric = build_metric("r2", task="regression", n_classes=1, path=())
    target = torch.full((1, 3, 1), 0.1, dtype=torch.float64)
    assert metric(target, target + 0.5, torch.ones(1, 3, dtype=torch.bool)).tolist() == [0.0]


def test_r2_of_large_values_keeps_its_digits() -> None:
    metric = build_metric("r2", task="regression", n_classes=1, path=())
    target = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64).reshape(1, -1, 1)
    rows, prediction = torch.ones(1, 4, dtype=torch.bool), target + 0.5
    shifted = metric(target + 2.0**40, prediction + 2.0**40, rows)
    torch.testing.assert_close(shifted, metric(target, prediction, rows), rtol=1e-12, atol=0)  # rounding of the mean
