"""What every metric must satisfy, whoever wrote it.

Each law takes a metric and made-up rows, and raises `AssertionError` where the metric breaks it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldtune.metrics import Metric

Array = NDArray[Any]
Reference = Callable[[Array, Array], float]
"""`reference(y_true, y_pred)` on one model's rows: codes and codes (n,), codes and probabilities (n, C), labels (n, T)
twice, labels and probabilities (n, T), or values (n, T) twice, as the metric needs."""


@dataclass(frozen=True, eq=False)
class MetricSample:
    """Validation rows of M models, as a metric reads them.

    Args:
        target: (M, N) int64 class codes, (M, N, T) int64 labels, or (M, N, T) float64.
        prediction: (M, N, C) or, of labels, (M, N, T) float64 probabilities, or (M, N, T) float64.
        mask: (M, N) bool, False on padding, which holds NaN predictions.
    """

    target: Tensor
    prediction: Tensor
    mask: Tensor


def classification_sample(
    seed: int, *, n_classes: int, n_models: int = 4, n_rows: int = 12, complete: bool = False
) -> MetricSample:
    """Made-up classes and probabilities; odd seeds give many ties, zeros and ones.

    Args:
        seed: any integer from 0.
        n_classes: C, at least 2.
        n_models: M.
        n_rows: N, at least 2 C when `complete`; each model has between N / 2 and N rows of its own.
        complete: whether every model's rows hold every class; otherwise models lack some.
    """
    rng = np.random.default_rng(seed)
    mask = _mask(rng, n_models, n_rows)
    present = rng.integers(1, n_classes + 1, size=(n_models, 1))
    target = mask.cumsum(axis=1) % n_classes if complete else rng.integers(present, size=mask.shape)
    shape = (n_models, n_rows, n_classes)
    weight = rng.integers(4, size=shape).astype(np.float64) if seed % 2 else rng.random(shape)
    weight[weight.sum(axis=2) == 0] = 1.0
    return _padded(np.where(mask, target, -1), weight / weight.sum(axis=2, keepdims=True), mask)


def multilabel_sample(seed: int, *, n_labels: int, n_models: int = 4, n_rows: int = 12) -> MetricSample:
    """Made-up labels, some of them of no row or of all, and probabilities; odd seeds give many ties, zeros and ones.

    Args:
        seed: any integer from 0.
        n_labels: T, at least 2.
        n_models: M.
        n_rows: N; each model has between N / 2 and N rows of its own.
    """
    rng = np.random.default_rng(seed)
    mask, shape = _mask(rng, n_models, n_rows), (n_models, n_rows, n_labels)
    share = rng.choice([0.0, 0.2, 0.5, 1.0], size=(n_models, 1, n_labels), p=[0.1, 0.4, 0.4, 0.1])
    target = (rng.random(shape) < share).astype(np.int64)
    chance = rng.integers(5, size=shape) / 4 if seed % 2 else rng.random(shape)
    return _padded(np.where(mask[:, :, None], target, -1), chance, mask)


def regression_sample(seed: int, *, n_targets: int = 1, n_models: int = 4, n_rows: int = 12) -> MetricSample:
    """Made-up positive values in eighths, so that sums are exact; constant and perfectly predicted targets among them.

    Args:
        seed: any integer from 0.
        n_targets: T.
        n_models: M.
        n_rows: N; each model has between N / 2 and N rows of its own.
    """
    rng = np.random.default_rng(seed)
    mask = _mask(rng, n_models, n_rows)
    levels = rng.integers(1, 5, size=(n_models, 1, n_targets))
    target = 1 + rng.integers(levels, size=(n_models, n_rows, n_targets)) / 8
    wrong = rng.random(levels.shape) < 0.8
    return _padded(target, target + wrong * rng.integers(-7, 8, size=target.shape) / 8, mask)


def check_metric_equals_sklearn(
    metric: Metric, reference: Reference, *, sample: MetricSample, tolerance: float = 1e-10
) -> None:
    """Every model's score is what the reference gives for its rows alone; NaN where the reference gives NaN.

    Args:
        metric: the metric under test.
        reference: scikit-learn's function, with its arguments bound.
        sample: the rows.
        tolerance: largest difference, relative for scores beyond 1. The default leaves room for sums in another order.

    Example:
        >>> from sklearn.metrics import accuracy_score
        >>> from foldtune.metrics import build_metric
        >>> metric = build_metric("accuracy", task="classification", n_classes=3, path=())
        >>> check_metric_equals_sklearn(metric, accuracy_score, sample=classification_sample(0, n_classes=3))
    """
    scores = metric(sample.target, sample.prediction, sample.mask)
    assert scores.dtype == torch.float64 and scores.shape == sample.mask.shape[:1]
    for model, rows in enumerate(sample.mask):
        truth, guess = sample.target[model][rows].numpy(), sample.prediction[model][rows].numpy()
        labels = guess.argmax(axis=1) if truth.ndim == 1 else (guess > 0.5).astype(np.int64)
        expected = float(reference(truth, labels if metric.needs == "labels" else guess))
        np.testing.assert_allclose(scores[model].item(), expected, rtol=tolerance, atol=tolerance, err_msg=metric.label)


def check_models_are_independent(metric: Metric, *, sample: MetricSample) -> None:
    """A model's score is that of its rows alone, whatever its neighbours and the padding hold.

    A model whose predictions are not all finite, and one without rows, score NaN and raise nothing.

    Args:
        metric: the metric under test.
        sample: rows of at least three models.
    """
    expected = metric(sample.target, sample.prediction, sample.mask)
    ruined, empty = sample.prediction.clone(), sample.mask.clone()
    ruined[0, sample.mask[0].nonzero()[0]] = torch.inf
    empty[-1] = False
    scores = metric(sample.target, ruined, empty)
    assert scores[0].isnan() and scores[-1].isnan()
    torch.testing.assert_close(scores[1:-1], expected[1:-1], rtol=0, atol=0, equal_nan=True)
    alone = metric(*(tensor[1:2, sample.mask[1]] for tensor in (sample.target, sample.prediction, sample.mask)))
    torch.testing.assert_close(alone, expected[1:2], rtol=1e-12, atol=1e-12, equal_nan=True)  # sums in another order


def _mask(rng: np.random.Generator, n_models: int, n_rows: int) -> Array:
    sizes = rng.integers((n_rows + 1) // 2, n_rows, size=(n_models, 1), endpoint=True)
    return rng.permuted(np.arange(n_rows) < sizes, axis=1)


def _padded(target: Array, prediction: Array, mask: Array) -> MetricSample:
    prediction[~mask] = np.nan
    return MetricSample(torch.from_numpy(target), torch.from_numpy(prediction), torch.from_numpy(mask))
