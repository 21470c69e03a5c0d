"""Update rules of torch.optim for models that share hyperparameters, such as the folds of one job.

Law: equal to `torch.optim` step by step. Rows are independent: a NaN stays in its model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

Hyper = Mapping[str, float]
"""Hyperparameters of one step; `t` counts the models' steps, from 1."""


@dataclass(frozen=True)
class Slices:
    """Parameters of some models, one tensor (m, slab) each.

    Args:
        params: their values.
        grads: gradients; an update may overwrite them.
        first: what the rule keeps, zero before the first step.
        second: a second such buffer.
        steps: a number for each parameter, where torch's kernels read `t`.
    """

    params: list[Tensor]
    grads: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]


@dataclass(frozen=True)
class Rule:
    """One optimizer class.

    Args:
        hyper: names of `param_groups` that it reads.
        fixed: settings that must have this value.
        update_: changes parameters and both buffers in place.
    """

    hyper: tuple[str, ...]
    fixed: Mapping[str, object]
    update_: Callable[[Slices, Hyper], None]


def _sgd_(part: Slices, by: Hyper) -> None:
    torch._fused_sgd_(
        part.params,
        part.grads,
        part.first if by["momentum"] else [],
        weight_decay=by["weight_decay"],
        momentum=by["momentum"],
        lr=by["lr"],
        dampening=by["dampening"],
        nesterov=bool(by["nesterov"]),
        maximize=False,
        is_first_step=by["t"] == 1,
    )


def _adam_(part: Slices, by: Hyper) -> None:
    _adaptive_(torch._fused_adam_, part, by)


def _adamw_(part: Slices, by: Hyper) -> None:
    _adaptive_(torch._fused_adamw_, part, by)


def _adaptive_(kernel: Any, part: Slices, by: Hyper) -> None:
    for step in part.steps[:1]:  # all are the same tensor
        step.fill_(by["t"])
    kernel(
        part.params,
        part.grads,
        part.first,
        part.second,
        [],
        part.steps,
        lr=by["lr"],
        beta1=by["beta1"],
        beta2=by["beta2"],
        weight_decay=by["weight_decay"],
        eps=by["eps"],
        amsgrad=False,
        maximize=False,
    )


def _rmsprop_(part: Slices, by: Hyper) -> None:
    """torch.optim.RMSprop without centering, which has no fused kernel."""
    for params, grads, square, momentum in zip(part.params, part.grads, part.first, part.second, strict=True):
        if by["weight_decay"]:
            grads.add_(params, alpha=by["weight_decay"])
        square.mul_(by["alpha"]).addcmul_(grads, grads, value=1 - by["alpha"])
        grads.div_(square.sqrt().add_(by["eps"]))
        if by["momentum"]:
            grads = momentum.mul_(by["momentum"]).add_(grads)
        params.add_(grads, alpha=-by["lr"])


_ADAM = ("lr", "beta1", "beta2", "eps", "weight_decay")
_PLAIN = {"maximize": False, "differentiable": False}

RULES: Mapping[type[Optimizer], Rule] = {
    SGD: Rule(("lr", "momentum", "dampening", "weight_decay", "nesterov"), _PLAIN, _sgd_),
    Adam: Rule(_ADAM, {**_PLAIN, "amsgrad": False, "decoupled_weight_decay": False}, _adam_),
    AdamW: Rule(_ADAM, {**_PLAIN, "amsgrad": False}, _adamw_),
    RMSprop: Rule(("lr", "alpha", "eps", "weight_decay", "momentum"), {**_PLAIN, "centered": False}, _rmsprop_),
}


def hyperparameters(optimizer: Optimizer) -> dict[str, float]:
    """What a rule needs of a torch optimizer with one parameter group.

    Raises:
        KeyError: the class has no rule.

    Example:
        >>> weight = torch.zeros(1, requires_grad=True)
        >>> hyperparameters(SGD([weight], lr=0.1))["momentum"]
        0.0
    """
    (group,) = optimizer.param_groups
    settings = {**group, **dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))}
    return {name: float(settings[name]) for name in RULES[type(optimizer)].hyper}


def has_rule(optimizer: Optimizer) -> bool:
    """Whether a rule computes exactly what this optimizer does."""
    rule = RULES.get(type(optimizer))
    return rule is not None and all(
        group.get("eps", 1) > 0 and all(group.get(name, wanted) == wanted for name, wanted in rule.fixed.items())
        for group in optimizer.param_groups
    )
