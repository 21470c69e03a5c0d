"""Update rules of torch.optim for models with hyperparameters of their own, read from tensors alone.

Law: equal to `torch.optim` step by step. What follows from hyperparameters and the step's number is computed before an
epoch, in float64: a step reads a column of factors, so that a captured one stays right. Rows are independent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from foldtune.values import Floats


@dataclass(frozen=True)
class Numbers:
    """Parameters of some models, (n, LANES) each: a row is part of one model.

    Args:
        params: their values.
        grads: gradients; an update may overwrite them.
        first: what the rule keeps, zero before the first step.
        second: a second such buffer.
    """

    params: Tensor
    grads: Tensor
    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class DeviceRule:
    """One optimizer class.

    Args:
        count: how many factors it reads.
        factors: from hyperparameters by name, arrays of one shape with `t` among them, to what `update_` reads.
        update_: changes parameters and both buffers in place; factors are columns (n, 1).
    """

    count: int
    factors: Callable[[Mapping[str, Floats]], Sequence[Floats]]
    update_: Callable[[Numbers, Sequence[Tensor]], None]


def _sgd(by: Mapping[str, Floats]) -> Sequence[Floats]:
    """Decay; the buffer's share of itself and of the gradient; the step along the gradient and along the buffer."""
    moving, nesterov = by["momentum"] != 0, by["nesterov"] != 0
    keep = np.where(moving, by["momentum"], 1.0)
    take = np.where(moving, np.where(by["t"] == 1, 1.0, 1 - by["dampening"]), 0.0)
    along_grad = np.where(moving & ~nesterov, 0.0, -by["lr"])
    along_buffer = np.where(moving, np.where(nesterov, by["momentum"], 1) * -by["lr"], 0.0)
    return by["weight_decay"], keep, take, along_grad, along_buffer


def _sgd_(numbers: Numbers, factors: Sequence[Tensor]) -> None:
    decay, keep, take, along_grad, along_buffer = factors
    numbers.grads.addcmul_(numbers.params, decay)
    numbers.first.mul_(keep).addcmul_(numbers.grads, take)
    numbers.params.addcmul_(numbers.grads, along_grad).addcmul_(numbers.first, along_buffer)


def _adam(by: Mapping[str, Floats]) -> Sequence[Floats]:
    """Decay, then as `_moments` says."""
    return by["weight_decay"], *_moments(by)


def _adamw(by: Mapping[str, Floats]) -> Sequence[Floats]:
    """What is left of parameters, then as `_moments` says."""
    return 1 - by["lr"] * by["weight_decay"], *_moments(by)


def _moments(by: Mapping[str, Floats]) -> Sequence[Floats]:
    """The gradient's share of the mean; the square mean's share of itself and of the gradient; scale and floor of its
    root; the step."""
    scale = 1 / np.sqrt(1 - by["beta2"] ** by["t"])
    step = -by["lr"] / (1 - by["beta1"] ** by["t"])
    return 1 - by["beta1"], by["beta2"], 1 - by["beta2"], scale, by["eps"], step


def _adam_(numbers: Numbers, factors: Sequence[Tensor]) -> None:
    numbers.grads.addcmul_(numbers.params, factors[0])
    _follow_(numbers, factors[1:])


def _adamw_(numbers: Numbers, factors: Sequence[Tensor]) -> None:
    numbers.params.mul_(factors[0])
    _follow_(numbers, factors[1:])


def _follow_(numbers: Numbers, factors: Sequence[Tensor]) -> None:
    share, keep, take, scale, eps, step = factors
    scratch, mean, square = numbers.grads, numbers.first, numbers.second
    mean.lerp_(scratch, share)
    square.mul_(keep).addcmul_(scratch.mul_(scratch), take)
    torch.addcmul(eps, torch.sqrt(square, out=scratch), scale, out=scratch)
    numbers.params.addcmul_(torch.div(mean, scratch, out=scratch), step)


def _rmsprop(by: Mapping[str, Floats]) -> Sequence[Floats]:
    """Decay; the square mean's share of itself and of the gradient; eps; the buffer's share of itself and of the
    scaled gradient; the step along that gradient and along the buffer."""
    moving = by["momentum"] != 0
    keep, take = np.where(moving, by["momentum"], 1.0), np.where(moving, 1.0, 0.0)
    along_grad, along_buffer = np.where(moving, 0.0, -by["lr"]), np.where(moving, -by["lr"], 0.0)
    return by["weight_decay"], by["alpha"], 1 - by["alpha"], by["eps"], keep, take, along_grad, along_buffer


def _rmsprop_(numbers: Numbers, factors: Sequence[Tensor]) -> None:
    decay, alpha, rest, eps, keep, take, along_grad, along_buffer = factors
    grads, square, momentum = numbers.grads, numbers.first, numbers.second
    grads.addcmul_(numbers.params, decay)
    square.mul_(alpha).addcmul_(grads * grads, rest)
    grads.div_(square.sqrt().add_(eps))
    momentum.mul_(keep).addcmul_(grads, take)
    numbers.params.addcmul_(grads, along_grad).addcmul_(momentum, along_buffer)


DEVICE_RULES: Mapping[type[Optimizer], DeviceRule] = {
    SGD: DeviceRule(5, _sgd, _sgd_),
    Adam: DeviceRule(7, _adam, _adam_),
    AdamW: DeviceRule(7, _adamw, _adamw_),
    RMSprop: DeviceRule(8, _rmsprop, _rmsprop_),
}
"""For the classes of `foldtune.train.packed.rules.RULES`."""
