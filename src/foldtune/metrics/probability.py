"""Metrics of predicted probabilities: how good they are, and how well they rank the rows.

With two classes the ranking is that of the second class's probability. With more, each class is ranked against the
rest; the loop goes over classes, so that memory stays at (M, N).
"""

from typing import Literal

import torch
from torch import Tensor

from foldtune.metrics.metric import Predictions, TorchMetric, row_mean


def log_loss(predictions: Predictions) -> Tensor:
    """The mean of -log of the true class's probability, which is kept off 0 by the float64 epsilon."""
    target, values, mask = predictions.target, predictions.values, predictions.mask
    epsilon = torch.finfo(torch.float64).eps
    probability = values.gather(2, target.unsqueeze(2)).squeeze(2)
    return row_mean(-probability.clamp(epsilon, 1 - epsilon).log(), mask)


def brier_score_loss(predictions: Predictions) -> Tensor:
    """The mean squared error of the probabilities: of one class where there are two, else summed over classes."""
    target, values, mask = predictions.target, predictions.values, predictions.mask
    if values.shape[2] == 2:
        return row_mean((values[..., 1] - target).square(), mask)
    classes = torch.arange(values.shape[2], device=target.device)
    return row_mean((values - (target.unsqueeze(2) == classes).to(torch.float64)).square().sum(dim=2), mask)


def roc_auc(predictions: Predictions, *, average: Literal["macro", "weighted"] = "macro") -> Tensor:
    """The area under the ROC curve; one class against the rest where there are more than two.

    As in scikit-learn, NaN where the fold has one class only, and where it lacks a class (`macro`).
    """
    target, values, mask = predictions.target, predictions.values, predictions.mask
    if values.shape[2] == 2:
        return _area(values[..., 1], mask & (target == 1), mask & (target != 1))
    classes = range(values.shape[2])
    areas = torch.stack([_area(values[..., c], mask & (target == c), mask & (target != c)) for c in classes], dim=1)
    if average == "macro":
        return areas.mean(dim=1)
    weight = torch.stack([(mask & (target == c)).sum(dim=1) for c in classes], dim=1)
    return (areas.where(weight > 0, 0.0) * weight).sum(dim=1) / weight.sum(dim=1)


def average_precision(predictions: Predictions) -> Tensor:
    """The mean precision at each positive row's threshold; with more than two classes the mean over all classes.

    A class that the fold lacks counts as 0, as scikit-learn has it for an indicator matrix.
    """
    target, values, mask = predictions.target, predictions.values, predictions.mask
    classes = (1,) if values.shape[2] == 2 else range(values.shape[2])
    areas = [_step_area(values[..., c], mask & (target == c), mask) for c in classes]
    return torch.stack(areas, dim=1).mean(dim=1)


def _area(
    score: Tensor,  # (M, N) float64
    positive: Tensor,  # (M, N) bool
    negative: Tensor,  # (M, N) bool
) -> Tensor:  # (M,) float64
    """The share of (positive, negative) pairs in the right order, ties counting half."""
    negatives = _sorted(score, negative)
    score = score.contiguous()
    twice = torch.searchsorted(negatives, score) + torch.searchsorted(negatives, score, right=True)
    wins = twice.to(torch.float64).where(positive, 0.0).sum(dim=1) / 2
    return wins / (positive.sum(dim=1) * negative.sum(dim=1))


def _step_area(
    score: Tensor,  # (M, N) float64
    positive: Tensor,  # (M, N) bool
    mask: Tensor,  # (M, N) bool
) -> Tensor:  # (M,) float64
    score = score.contiguous()
    found = _at_least(score, positive)
    precision = found / _at_least(score, mask)
    return precision.where(positive, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def _at_least(score: Tensor, among: Tensor) -> Tensor:
    """For each row, how many rows of `among` score as much or more: (M, N) float64."""
    below = torch.searchsorted(_sorted(score, among), score)
    return (among.sum(dim=1, keepdim=True) - below).to(torch.float64)


def _sorted(score: Tensor, among: Tensor) -> Tensor:
    return score.masked_fill(~among, torch.inf).sort(dim=1).values


PROBABILITY_METRICS = {
    "log_loss": TorchMetric("minimize", "probabilities", log_loss, neutral={"normalize": (True,), "labels": (None,)}),
    "brier_score_loss": TorchMetric(
        "minimize", "probabilities", brier_score_loss, neutral={"scale_by_half": ("auto",), "labels": (None,)}
    ),
    "roc_auc": TorchMetric(
        "maximize",
        "probabilities",
        roc_auc,
        {"average": ("macro", "weighted")},
        {"multi_class": ("ovr",), "max_fpr": (None,), "labels": (None,)},
    ),
    "average_precision": TorchMetric(
        "maximize", "probabilities", average_precision, neutral={"average": ("macro",), "pos_label": (1,)}
    ),
}
"""By scikit-learn's function name without `_score`."""
