"""Which rows a model trains on, in which order and in which portions; the same for every engine."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from foldtune import seeds


def rows_per_epoch(sizes: Sequence[int]) -> list[int]:
    """Folds whose sizes differ by one row are trimmed to the smaller, so that all have the same batches.

    Example:
        >>> rows_per_epoch([20, 21, 21]), rows_per_epoch([20, 25])
        ([20, 20, 20], [20, 25])
    """
    return [min(sizes)] * len(sizes) if max(sizes) - min(sizes) == 1 else list(sizes)


def epoch_order(rows: Tensor, count: int, key: tuple[int, ...], epoch: int) -> Tensor:  # (n,) -> (count,) int64
    """A fold's training rows, shuffled for an epoch; those left out are others each time.

    Args:
        rows: the fold's training rows.
        count: rows of an epoch.
        key: (study seed, trial, repeat, fold).
        epoch: from 1.
    """
    shuffled = torch.randperm(len(rows), generator=seeds.generator(*key, "shuffle", epoch))
    return rows[shuffled[:count]]


def batch_bounds(rows: int, size: int, *, batch_norm: bool) -> list[tuple[int, int]]:
    """Batches of an epoch; the last partial one is kept, except a single row in front of a batch norm.

    Example:
        >>> batch_bounds(9, 4, batch_norm=False), batch_bounds(9, 4, batch_norm=True)
        ([(0, 4), (4, 8), (8, 9)], [(0, 4), (4, 8)])
    """
    count = math.ceil(rows / size)
    bounds = [(index * size, min((index + 1) * size, rows)) for index in range(count)]
    single = bounds[-1][1] - bounds[-1][0] == 1
    return bounds[:-1] if single and batch_norm and len(bounds) > 1 else bounds


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a single row cannot be trained on."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())
