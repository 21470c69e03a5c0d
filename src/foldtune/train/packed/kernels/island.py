"""Whatever torch can differentiate, on m models: an island of autograd between the other kernels."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from foldtune.train.packed.kernel import Place

Stacked = Callable[[Sequence[Tensor], Mapping[str, Tensor], Mapping[str, Tensor], bool], Tensor]
"""Inputs (m, B, ...), parameters, buffers (changed in place), training -> (m, B, ...)."""


class Island:
    """One function of inputs and parameters, differentiated by autograd.

    Args:
        place: where it works.
        function: what it computes; rows of different models must not meet in it.
        flat: whether it acts on every number by itself, so that it can run over whole slabs.
    """

    def __init__(self, place: Place, function: Stacked, *, flat: bool = False) -> None:
        flat = flat and all(source.columns == place.output.columns for source in place.inputs)
        self.place, self.function = place, function
        self.inputs = [source.flat if flat else source.rows for source in place.inputs]
        self.out = place.output.flat if flat else place.output.rows
        self.training = place.training
        if self.training:
            self.grad = place.grad.flat if flat else place.grad.rows
            targets = [(grad.flat if flat else grad.rows) if grad is not None else None for grad in place.grad_inputs]
            self.wanted = [index for index, target in enumerate(targets) if target is not None]
            self.targets = [target for target in targets if target is not None] + list(place.grads.values())
            self.leaves: list[Tensor] = []

    def forward(self) -> None:
        place = self.place
        if not self.training:
            self.out.copy_(self.function(self.inputs, place.params, place.buffers, False))
            return
        with torch.enable_grad():
            inputs = [
                source.detach().requires_grad_() if index in self.wanted else source
                for index, source in enumerate(self.inputs)
            ]
            params = {name: param.detach().requires_grad_() for name, param in place.params.items()}
            self.leaves = [*(inputs[index] for index in self.wanted), *(params[name] for name in place.grads)]
            self.answer = self.function(inputs, params, place.buffers, True)
        self.out.copy_(self.answer.detach())

    def backward(self) -> None:
        if not self.leaves:
            return
        found = torch.autograd.grad(self.answer, self.leaves, self.grad, allow_unused=True)
        for target, grad in zip(self.targets, found, strict=True):
            if grad is None:
                target.zero_()
            else:
                target.copy_(grad)
