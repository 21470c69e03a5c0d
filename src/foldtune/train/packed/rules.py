"""Update rules of torch.optim on a flat (M, P) parameter tensor, every hyperparameter a vector over the M models.

Law: equal to `torch.optim` step by step, in float64 to rounding. Rows are independent: a NaN stays in its row.
What depends on hyperparameters and step numbers alone is computed once an epoch, for each job by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from foldtune.values import Floats

Hyper = Mapping[str, Floats]
"""Values per step and model, shape (S, m); `t` counts the steps of each model, from 1."""

Factors = Mapping[str, Tensor]
"""What a step multiplies with, shape (M, 1)."""


@dataclass(frozen=True)
class Rule:
    """One optimizer class on stacked parameters.

    Args:
        hyper: names of `param_groups` that are vectors.
        fixed: settings that must have this value; a model with another cannot be packed.
        factors: from hyperparameters to what the update multiplies with.
        update_: changes parameters and both buffers (zero before the first step) in place; may overwrite gradients.
    """

    hyper: tuple[str, ...]
    fixed: Mapping[str, object]
    factors: Callable[[Hyper], dict[str, Floats]]
    update_: Callable[[Tensor, Tensor, Tensor, Tensor, Factors], None]


def _sgd(hyper: Hyper) -> dict[str, Floats]:
    """torch.optim.SGD: the first step's momentum is the gradient itself, whatever the dampening."""
    taken = np.where(hyper["t"] == 1, 1.0, 1 - hyper["dampening"])
    names = ("weight_decay", "momentum", "nesterov")
    return {**{name: hyper[name] for name in names}, "taken": taken, "step": -hyper["lr"]}


def _sgd_(params: Tensor, grads: Tensor, momentum: Tensor, _: Tensor, by: Factors) -> None:
    grads.addcmul_(params, by["weight_decay"])
    momentum.mul_(by["momentum"]).addcmul_(grads, by["taken"])
    ahead = by["nesterov"]  # 1: look ahead, 0: plain momentum
    direction = torch.lerp(momentum, torch.addcmul(grads, momentum, by["momentum"]), ahead)
    params.addcmul_(direction, by["step"])


def _adam(hyper: Hyper) -> dict[str, Floats]:
    """Kingma and Ba 2015, end of section 2: both bias corrections moved into the step size and epsilon."""
    mean, square = 1 - hyper["beta1"] ** hyper["t"], np.sqrt(1 - hyper["beta2"] ** hyper["t"])
    return {
        "new_mean": 1 - hyper["beta1"],
        "new_square": 1 - hyper["beta2"],
        "eps": hyper["eps"] * square,
        "step": -hyper["lr"] * square / mean,
        "weight_decay": hyper["weight_decay"],
    }


def _adamw(hyper: Hyper) -> dict[str, Floats]:
    return {**_adam(hyper), "kept": 1 - hyper["lr"] * hyper["weight_decay"]}


def _adam_(params: Tensor, grads: Tensor, mean: Tensor, square: Tensor, by: Factors) -> None:
    grads.addcmul_(params, by["weight_decay"])
    _adam_step_(params, grads, mean, square, by)


def _adamw_(params: Tensor, grads: Tensor, mean: Tensor, square: Tensor, by: Factors) -> None:
    params.mul_(by["kept"])
    _adam_step_(params, grads, mean, square, by)


def _adam_step_(params: Tensor, grads: Tensor, mean: Tensor, square: Tensor, by: Factors) -> None:
    mean.lerp_(grads, by["new_mean"].expand_as(grads))
    square.lerp_(grads.mul_(grads), by["new_square"].expand_as(grads))
    torch.sqrt(square, out=grads).add_(by["eps"])
    params.addcmul_(torch.div(mean, grads, out=grads), by["step"])


def _rmsprop(hyper: Hyper) -> dict[str, Floats]:
    """torch.optim.RMSprop without centering."""
    names = ("weight_decay", "momentum", "eps")
    return {**{name: hyper[name] for name in names}, "new_square": 1 - hyper["alpha"], "step": -hyper["lr"]}


def _rmsprop_(params: Tensor, grads: Tensor, square: Tensor, momentum: Tensor, by: Factors) -> None:
    grads.addcmul_(params, by["weight_decay"])
    square.lerp_(grads * grads, by["new_square"].expand_as(grads))
    momentum.mul_(by["momentum"]).add_(grads.div_(square.sqrt().add_(by["eps"])))
    params.addcmul_(momentum, by["step"])


_ADAM = ("lr", "beta1", "beta2", "eps", "weight_decay")
_PLAIN = {"maximize": False, "differentiable": False}

RULES: Mapping[type[Optimizer], Rule] = {
    SGD: Rule(("lr", "momentum", "dampening", "weight_decay", "nesterov"), _PLAIN, _sgd, _sgd_),
    Adam: Rule(_ADAM, {**_PLAIN, "amsgrad": False, "decoupled_weight_decay": False}, _adam, _adam_),
    AdamW: Rule(_ADAM, {**_PLAIN, "amsgrad": False}, _adamw, _adamw_),
    RMSprop: Rule(
        ("lr", "alpha", "eps", "weight_decay", "momentum"), {**_PLAIN, "centered": False}, _rmsprop, _rmsprop_
    ),
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
