"""Metrics of predicted classes, from counts of rows per class; nothing of size C x C is built.

The predicted class is the most probable one, the first of equals. As in scikit-learn, a mean over classes goes over
those present in a fold's truth or predictions, and a ratio whose denominator is zero counts as 0.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from foldtune.metrics.metric import Predictions, TorchMetric, row_mean

Average = Literal["binary", "macro", "micro", "weighted"]


@dataclass(frozen=True, eq=False)
class Counts:
    """Rows of each class, (M, C) float64.

    Args:
        hits: rows of the class that were predicted as such.
        true: rows of the class.
        predicted: rows predicted as the class.
    """

    hits: Tensor
    true: Tensor
    predicted: Tensor


def count(predictions: Predictions) -> Counts:
    """Count each model's rows by class.

    Example:
        >>> rows = torch.tensor([[0, 1, 1]]), torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]]), torch.ones(1, 3) > 0
        >>> count(Predictions(*rows)).predicted.tolist()
        [[2.0, 1.0]]
    """
    target, guess = predictions.target, predictions.classes
    weight = predictions.mask.to(torch.float64)
    zeros = weight.new_zeros(len(weight), predictions.values.shape[-1])
    return Counts(
        hits=zeros.scatter_add(1, target, weight * (guess == target)),
        true=zeros.scatter_add(1, target, weight),
        predicted=zeros.scatter_add(1, guess, weight),
    )


def accuracy(predictions: Predictions) -> Tensor:
    """The share of rows whose class is predicted."""
    return row_mean((predictions.classes == predictions.target).to(torch.float64), predictions.mask)


def balanced_accuracy(predictions: Predictions) -> Tensor:
    """The mean recall of the classes that occur in the fold."""
    counts = count(predictions)
    return _class_mean(_ratio(counts.hits, counts.true), (counts.true > 0).to(torch.float64))


def precision(predictions: Predictions, *, average: Average) -> Tensor:
    """The share of the rows predicted as a class that are of it."""
    counts = count(predictions)
    return _averaged(counts.hits, counts.predicted, counts, average)


def recall(predictions: Predictions, *, average: Average) -> Tensor:
    """The share of a class's rows that are predicted as such."""
    counts = count(predictions)
    return _averaged(counts.hits, counts.true, counts, average)


def f1(predictions: Predictions, *, average: Average) -> Tensor:
    """The harmonic mean of precision and recall."""
    counts = count(predictions)
    return _averaged(2 * counts.hits, counts.true + counts.predicted, counts, average)


def matthews_corrcoef(predictions: Predictions) -> Tensor:
    """The correlation of truth and prediction; 0 where either has one class only."""
    counts = count(predictions)
    n = counts.true.sum(dim=1)
    both = counts.hits.sum(dim=1) * n - (counts.true * counts.predicted).sum(dim=1)
    square = (n**2 - counts.predicted.square().sum(dim=1)) * (n**2 - counts.true.square().sum(dim=1))
    return torch.where(square == 0, 0.0, both / square.sqrt())


def cohen_kappa(predictions: Predictions) -> Tensor:
    """Agreement beyond chance; NaN where truth and prediction are one and the same class."""
    counts = count(predictions)
    n = counts.true.sum(dim=1)
    by_chance = (counts.true * counts.predicted).sum(dim=1)
    return 1 - (n - counts.hits.sum(dim=1)) * n / (n**2 - by_chance)


def _averaged(numerator: Tensor, denominator: Tensor, counts: Counts, average: Average) -> Tensor:
    if average == "binary":
        return _ratio(numerator[:, 1], denominator[:, 1])
    if average == "micro":
        return _ratio(numerator.sum(dim=1), denominator.sum(dim=1))
    seen = (counts.true + counts.predicted > 0).to(torch.float64)
    return _class_mean(_ratio(numerator, denominator), counts.true if average == "weighted" else seen)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator / denominator.clamp(min=1)  # counts: below 1 means none, and then the numerator is 0 too


def _class_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum(dim=1) / weight.sum(dim=1)


_AVERAGES = {"average": ("binary", "macro", "micro", "weighted")}
_NEUTRAL = {"pos_label": (1,), "zero_division": ("warn", 0), "labels": (None,)}

LABEL_METRICS = {
    "accuracy": TorchMetric("maximize", "labels", accuracy, neutral={"normalize": (True,)}),
    "balanced_accuracy": TorchMetric("maximize", "labels", balanced_accuracy, neutral={"adjusted": (False,)}),
    "precision": TorchMetric("maximize", "labels", precision, _AVERAGES, _NEUTRAL),
    "recall": TorchMetric("maximize", "labels", recall, _AVERAGES, _NEUTRAL),
    "f1": TorchMetric("maximize", "labels", f1, _AVERAGES, _NEUTRAL),
    "matthews_corrcoef": TorchMetric("maximize", "labels", matthews_corrcoef),
    "cohen_kappa": TorchMetric("maximize", "labels", cohen_kappa, neutral={"weights": (None,), "labels": (None,)}),
}
"""By scikit-learn's function name without `_score`."""
