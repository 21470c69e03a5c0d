"""What a metric is, and what every metric does with padding and with models that went wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from foldtune.values import Direction

Needs = Literal["labels", "probabilities", "values"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What M models predict on their validation rows, made ready for any number of metrics.

    Args:
        target: (M, N) int64, none of them outside 0 .. C-1, (M, N, T) int64 of 0 and 1, or (M, N, T) float64.
        values: (M, N, C) or (M, N, T) float64, finite wherever the mask holds.
        mask: (M, N) bool, the rows that count: none of a model that predicts NaN or infinity.
    """

    target: Tensor
    values: Tensor
    mask: Tensor

    @cached_property
    def classes(self) -> Tensor:  # (M, N) int64
        """The most probable class of each row, the first of equals."""
        return self.values.max(dim=-1).indices  # a third faster than `argmax`

    @classmethod
    def of(cls, target: Tensor, prediction: Tensor, mask: Tensor) -> "Predictions":
        """Predictions that may hold anything: see `Metric.__call__`."""
        finite = prediction.isfinite().all(dim=-1) | ~mask
        rows = mask & finite.all(dim=1, keepdim=True)
        inside = rows.reshape(rows.shape + (1,) * (target.ndim - 2))
        return cls(torch.where(inside, target, 0), prediction, rows)


Compute = Callable[[Predictions], Tensor]
"""From predictions to a number for each model, (M,) float64; what it gives for a model without rows is not used."""


@dataclass(frozen=True)
class Metric:
    """A number for each of M models from its predictions on its validation rows.

    Args:
        label: what it is called in tables: `f1_macro` for `{use: f1, average: macro}`.
        direction: whether smaller or larger is better.
        needs: what it reads: the most probable class (or labels), the probabilities, or a regression's values.
        compute: the formula.
        one_by_one: whether it calls a function for each model, about a millisecond a call.
    """

    label: str
    direction: Direction
    needs: Needs
    compute: Compute
    one_by_one: bool = False

    def __call__(self, target: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
        """Score M models at once.

        Args:
            target: class codes 0 .. C-1, (M, N) int64; several labels: 0 and 1, (M, N, T) int64; regression:
                (M, N, T) float64.
            prediction: probabilities, (M, N, C) float64, rows sum to 1; several labels: each one's probability,
                (M, N, T) float64; regression: values, (M, N, T) float64.
            mask: (M, N) bool, False on padding, whose content does not matter.

        Returns:
            (M,) float64 on the same device. NaN for a model without rows, for one whose predictions are not all
            finite, and where scikit-learn's own function gives NaN.
        """
        return self.score(Predictions.of(target, prediction, mask))

    def score(self, predictions: Predictions) -> Tensor:  # (M,)
        """Score M models by predictions that other metrics may read, too."""
        return self.compute(predictions).where(predictions.mask.any(dim=1), torch.nan)


@dataclass(frozen=True)
class TorchMetric:
    """A metric of scikit-learn's that is computed in torch.

    Args:
        direction: whether smaller or larger is better.
        needs: what it reads.
        compute: `compute(predictions, **options)`.
        options: arguments that `compute` takes, with the values it knows; others are left to scikit-learn.
        neutral: arguments that change nothing at these values.
    """

    direction: Direction
    needs: Needs
    compute: Callable[..., Tensor]
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def row_mean(
    values: Tensor,  # (M, N) float64
    mask: Tensor,  # (M, N) bool
) -> Tensor:  # (M,) float64
    """The mean over each model's own rows; NaN without any.

    Example:
        >>> row_mean(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
        [2.0]
    """
    return values.where(mask, 0.0).sum(dim=1) / mask.sum(dim=1)
