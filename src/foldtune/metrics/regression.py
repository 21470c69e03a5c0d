"""Metrics of predicted values; with several targets the mean over targets."""

import torch
from torch import Tensor

from foldtune.metrics.metric import Predictions, TorchMetric


def mean_absolute_error(predictions: Predictions) -> Tensor:
    """The mean of |y - prediction|."""
    return _target_means(_errors(predictions).abs(), predictions.mask).mean(dim=1)


def mean_squared_error(predictions: Predictions) -> Tensor:
    """The mean of (y - prediction)^2."""
    return _target_means(_errors(predictions).square(), predictions.mask).mean(dim=1)


def root_mean_squared_error(predictions: Predictions) -> Tensor:
    """The root of each target's mean squared error."""
    return _target_means(_errors(predictions).square(), predictions.mask).sqrt().mean(dim=1)


def r2(predictions: Predictions) -> Tensor:
    """The share of variance explained, as scikit-learn's with `force_finite`: NaN for fewer than two rows.

    A target that is constant in a fold counts as 1 when predicted exactly, else as 0. We differ where the constant's
    mean is not exact in floating point: scikit-learn then divides by a rounding error.
    """
    target, mask = predictions.target, predictions.mask
    error = _target_means(_errors(predictions).square(), mask)
    any_row = mask.int().argmax(dim=1).reshape(-1, 1, 1).expand(-1, 1, target.shape[2])
    shifted = target - target.gather(1, any_row)  # exactly zero for a constant target
    spread = _target_means((shifted - _target_means(shifted, mask).unsqueeze(1)).square(), mask)
    undefined = (error == 0).to(torch.float64)
    score = torch.where(spread == 0, undefined, 1 - error / spread).mean(dim=1)
    return score.where(mask.sum(dim=1) >= 2, torch.nan)


def _errors(predictions: Predictions) -> Tensor:  # (M, N, T)
    return predictions.target - predictions.values


def _target_means(
    values: Tensor,  # (M, N, T) float64
    mask: Tensor,  # (M, N) bool
) -> Tensor:  # (M, T) float64
    return values.where(mask.unsqueeze(2), 0.0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


_UNIFORM = {"multioutput": ("uniform_average",)}

VALUE_METRICS = {
    "mean_absolute_error": TorchMetric("minimize", "values", mean_absolute_error, neutral=_UNIFORM),
    "mean_squared_error": TorchMetric("minimize", "values", mean_squared_error, neutral=_UNIFORM),
    "root_mean_squared_error": TorchMetric("minimize", "values", root_mean_squared_error, neutral=_UNIFORM),
    "r2": TorchMetric("maximize", "values", r2, neutral={**_UNIFORM, "force_finite": (True,)}),
}
"""By scikit-learn's function name without `_score`."""
