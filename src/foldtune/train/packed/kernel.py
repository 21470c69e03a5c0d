"""What a stacked kernel is: a layer or function of m models, bound to the memory it works on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from foldtune.train.packed.buffers import Buffer
from foldtune.train.packed.masks import Masks


class Kernel(Protocol):
    """Reads and writes fixed memory; a step calls `forward` of all, then `backward` of all in reverse."""

    def forward(self) -> None:
        """Compute the output."""

    def backward(self) -> None:
        """Compute the gradients of inputs and parameters from that of the output."""


@dataclass(frozen=True)
class Place:
    """The memory of one kernel; models are the first dimension everywhere.

    Args:
        inputs: what it reads.
        output: what it writes.
        params: the layer's parameters by their names in the layer, (m, *shape).
        buffers: its buffers likewise; changed in place in training.
        grad_inputs: where gradients of the inputs go; None where none is wanted.
        grad_output: the gradient of the output; None outside of training.
        grads: where gradients of the parameters go.
        masks: random bits, for dropout in training.
        shared: memory for use within one call, the same for all kernels of a tape.
    """

    inputs: tuple[Buffer, ...]
    output: Buffer
    params: Mapping[str, Tensor] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    grad_inputs: tuple[Buffer | None, ...] = ()
    grad_output: Buffer | None = None
    grads: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Masks | None = None
    shared: Tensor | None = None

    @property
    def training(self) -> bool:
        return self.grad_output is not None

    @property
    def grad(self) -> Buffer:
        """The gradient of the output, in training."""
        assert self.grad_output is not None
        return self.grad_output


Bind = Callable[[Place], Kernel]
"""Makes a kernel for some memory."""
