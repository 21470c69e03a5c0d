"""Penalties and clipping, applied to gradients in place."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from foldtune.spec.schema import RegularizationSpec


@torch.no_grad()
def regularize_(parameters: Sequence[Parameter], rule: RegularizationSpec) -> Tensor | float:
    """Add the penalties' gradients, then clip by value, then by norm.

    Penalties are `l1 * sum |w|` and `l2 * sum w**2` over weights; biases and norms (less than two
    dimensions) have none.

    Args:
        parameters: the model's parameters, gradients computed.
        rule: the strengths.

    Returns:
        The penalties, which the line search of an optimizer such as LBFGS must see.
    """
    penalty: Tensor | float = 0.0
    if rule.l1 or rule.l2:
        for parameter in parameters:
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad.add_(parameter.sign(), alpha=rule.l1).add_(parameter, alpha=2 * rule.l2)
                penalty = penalty + rule.l1 * parameter.abs().sum() + rule.l2 * parameter.square().sum()
    if rule.clip_value is not None:
        clip_grad_value_(parameters, rule.clip_value)
    if rule.clip_norm is not None:
        clip_grad_norm_(parameters, rule.clip_norm)
    return penalty
