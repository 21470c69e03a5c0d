"""Metrics of several labels: each is a target of 0 and 1, and its probability of 1.

A label is predicted where its probability is above one half. A mean over labels (`macro`) is that of the metric of two
classes for each label, as if it were a model of its own; `micro` takes all cells of the indicator matrix for rows of
one such model.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from foldtune.metrics import classification, probability
from foldtune.metrics.metric import Predictions, TorchMetric, row_mean

HALF = 0.5
"""The probability above which a label is predicted."""

Average = Literal["macro", "micro"]


def accuracy(predictions: Predictions) -> Tensor:
    """The share of rows whose labels are all predicted."""
    return row_mean(_right(predictions).all(dim=2).to(torch.float64), predictions.mask)


def hamming_loss(predictions: Predictions) -> Tensor:
    """The share of labels that are predicted wrongly."""
    return row_mean((~_right(predictions)).to(torch.float64).mean(dim=2), predictions.mask)


def log_loss(predictions: Predictions) -> Tensor:
    """The mean over labels of the log loss of two classes; scikit-learn has none for several labels."""
    return _averaged(probability.log_loss, predictions)


def brier_score_loss(predictions: Predictions) -> Tensor:
    """The mean over labels of the squared error of the probability; scikit-learn has none for several labels."""
    return _averaged(probability.brier_score_loss, predictions)


def precision(predictions: Predictions, *, average: Average) -> Tensor:
    """The share of the rows predicted to have a label that have it."""
    return _averaged(classification.precision, predictions, average, average="binary")


def recall(predictions: Predictions, *, average: Average) -> Tensor:
    """The share of a label's rows that are predicted to have it."""
    return _averaged(classification.recall, predictions, average, average="binary")


def f1(predictions: Predictions, *, average: Average) -> Tensor:
    """The harmonic mean of precision and recall."""
    return _averaged(classification.f1, predictions, average, average="binary")


def roc_auc(predictions: Predictions, *, average: Average = "macro") -> Tensor:
    """The area under the ROC curve; NaN where all or none of the fold's rows have some label."""
    return _averaged(probability.roc_auc, predictions, average)


def average_precision(predictions: Predictions, *, average: Average = "macro") -> Tensor:
    """The mean precision at each row that has the label; a label that no row has counts as 0."""
    return _averaged(probability.average_precision, predictions, average)


def _averaged(
    compute: Callable[..., Tensor], predictions: Predictions, over: Average = "macro", **options: Any
) -> Tensor:  # (M,)
    """A metric of two classes, of every label or of all of them as one."""
    models, rows, labels = predictions.values.shape
    shape = (models, -1, rows) if over == "macro" else (models, 1, rows * labels)

    def apart(cells: Tensor) -> Tensor:  # (M, N, T) -> (M T, N), or (M, N T)
        return (cells.transpose(1, 2) if over == "macro" else cells).reshape(shape).flatten(0, 1)

    chance = apart(predictions.values)
    mask = apart(predictions.mask.unsqueeze(2).expand(-1, -1, labels))
    both = Predictions(apart(predictions.target), torch.stack([1 - chance, chance], dim=2), mask)
    return compute(both, **options).view(models, -1).mean(dim=1)


def _right(predictions: Predictions) -> Tensor:  # (M, N, T) bool
    return (predictions.values > HALF) == (predictions.target == 1)


_AVERAGES = {"average": ("macro", "micro")}
_NEUTRAL = {"pos_label": (1,), "zero_division": ("warn", 0), "labels": (None,)}

MULTILABEL_METRICS = {
    "accuracy": TorchMetric("maximize", "labels", accuracy, neutral={"normalize": (True,)}),
    "hamming_loss": TorchMetric("minimize", "labels", hamming_loss),
    "precision": TorchMetric("maximize", "labels", precision, _AVERAGES, _NEUTRAL),
    "recall": TorchMetric("maximize", "labels", recall, _AVERAGES, _NEUTRAL),
    "f1": TorchMetric("maximize", "labels", f1, _AVERAGES, _NEUTRAL),
    "log_loss": TorchMetric("minimize", "probabilities", log_loss),
    "brier_score_loss": TorchMetric("minimize", "probabilities", brier_score_loss),
    "roc_auc": TorchMetric("maximize", "probabilities", roc_auc, _AVERAGES, {"max_fpr": (None,)}),
    "average_precision": TorchMetric("maximize", "probabilities", average_precision, _AVERAGES, {"pos_label": (1,)}),
}
"""By scikit-learn's function name without `_score`."""
