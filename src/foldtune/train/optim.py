"""Optimizers and schedules from references, each stepped where PyTorch says."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from foldtune import refs
from foldtune.values import Direction

PER_BATCH = (OneCycleLR, CyclicLR)
"""Schedules that PyTorch's documentation steps after every batch; all others are stepped after every epoch."""


def build_optimizer(node: Mapping[str, Any], parameters: Iterable[Parameter], device: str) -> Optimizer:
    """The optimizer that a reference describes; torch's fused implementation where there is one and none was asked for.

    Raises:
        SpecError: the class refuses its arguments.
    """
    fill: dict[str, Any] = {"params": list(parameters)}
    if device != "meta" and not {"foreach", "fused", "differentiable"} & node.keys():
        fill["fused"] = True
    built: Optimizer = refs.build(node, refs.OPTIMIZER, ("optimizer",), fill)
    return built


def build_scheduler(
    node: Mapping[str, Any] | None, optimizer: Optimizer, *, epochs: int, steps: int, direction: Direction
) -> LRScheduler | None:
    """The schedule that a reference describes.

    Args:
        node: the reference; None for a constant learning rate.
        optimizer: what it drives.
        epochs: the trial's epochs, the default of `T_max`.
        steps: the trial's batches, the default of `OneCycleLR`'s `total_steps`.
        direction: the objective's, the default of `ReduceLROnPlateau`'s `mode`.

    Raises:
        SpecError: the class refuses its arguments.
    """
    if node is None:
        return None
    fill: dict[str, Any] = {"optimizer": optimizer, "T_max": epochs, "max_lr": optimizer.param_groups[0]["lr"]}
    fill |= {"mode": direction[:3]} if refs.label(node) == "ReduceLROnPlateau" else {}
    fill |= {"total_steps": steps} if "steps_per_epoch" not in node else {}
    built: LRScheduler = refs.build(node, refs.SCHEDULER, ("scheduler",), fill)
    return built


def end_epoch_(scheduler: LRScheduler | None, others_mean: float) -> None:
    """Step a per-epoch schedule; ReduceLROnPlateau reads the mean of the other folds."""
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(others_mean)
    elif scheduler is not None and not isinstance(scheduler, PER_BATCH):
        scheduler.step()
