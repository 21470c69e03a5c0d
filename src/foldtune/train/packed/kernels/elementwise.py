"""Functions of single numbers, and dropout. They run over whole slabs: see `foldtune.train.packed.buffers`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.train.packed.buffers import Buffer
from foldtune.train.packed.kernel import Place

aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Function:
    """A function and its derivative, both writing where they are told.

    Args:
        forward: (x, out).
        backward: (grad, x, output, grad_x).
    """

    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], object]


class Elementwise:
    """One function of every number."""

    def __init__(self, place: Place, function: Function) -> None:
        self.x, self.out = _alike(*place.inputs, place.output)
        self.function = function
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grad, *grads = _alike(place.grad, *([] if grad_x is None else [grad_x]))
            self.grad_x = grads[0] if grads else None

    def forward(self) -> None:
        self.function.forward(self.x, self.out)

    def backward(self) -> None:
        if self.grad_x is not None:
            self.function.backward(self.grad, self.x, self.out, self.grad_x)


class Dropout:
    """Zeroes elements with each model's probability and scales the others."""

    def __init__(self, place: Place) -> None:
        (source,), (grad_x,) = place.inputs, place.grad_inputs
        assert place.masks is not None
        self.masks, self.wanted = place.masks, grad_x is not None
        ours = [source, place.output, place.grad, grad_x or place.grad]
        self.x, self.out, self.grad, self.grad_x = (_in_order_of(place.output, buffer) for buffer in ours)

    def forward(self) -> None:
        self.factors = self.masks.draw().view(self.out.shape)
        torch.mul(self.x, self.factors, out=self.out)

    def backward(self) -> None:
        if self.wanted:
            torch.mul(self.grad, self.factors, out=self.grad_x)


class Add:
    """The sum of two values of one shape."""

    def __init__(self, place: Place) -> None:
        self.first, self.second, self.out = _alike(*place.inputs, place.output)
        if place.training:
            wanted = [grad for grad in place.grad_inputs if grad is not None]
            self.grad, *self.grads = _alike(place.grad, *wanted)

    def forward(self) -> None:
        torch.add(self.first, self.second, out=self.out)

    def backward(self) -> None:
        for grad in self.grads:
            grad.copy_(self.grad)


def _in_order_of(output: Buffer, buffer: Buffer) -> Tensor:
    """A value as memory holds the output: (m, C, B), or (m, B, ...)."""
    return buffer.cols if output.columns else buffer.rows


def _alike(*buffers: Buffer) -> list[Tensor]:
    """Whole slabs, or values where their memory orders differ.

    Slabs are seen as pairs side by side, the same to torch's own loops. As contiguous tensors they would go to oneDNN
    where there is a choice (GELU), which takes 10 us before it begins: longer than small nets need for all of it.
    """
    same = len({buffer.columns for buffer in buffers}) == 1
    return [buffer.flat.view(-1, 2).mT if same else buffer.rows for buffer in buffers]


def _relu(_: nn.Module) -> Function:
    return Function(
        lambda x, out: torch.clamp_min(x, 0, out=out),
        lambda grad, x, y, out: aten.threshold_backward.grad_input(grad, y, 0, grad_input=out),
    )


def _leaky_relu(layer: nn.Module) -> Function:
    slope = float(layer.negative_slope)  # type: ignore[arg-type]
    return Function(
        lambda x, out: aten.leaky_relu.out(x, slope, out=out),
        lambda grad, x, y, out: aten.leaky_relu_backward.grad_input(grad, x, slope, False, grad_input=out),
    )


def _gelu(layer: nn.Module) -> Function:
    kind = str(layer.approximate)
    return Function(
        lambda x, out: aten.gelu.out(x, approximate=kind, out=out),
        lambda grad, x, y, out: aten.gelu_backward.grad_input(grad, x, approximate=kind, grad_input=out),
    )


def _silu(_: nn.Module) -> Function:
    return Function(
        lambda x, out: aten.silu.out(x, out=out),
        lambda grad, x, y, out: aten.silu_backward.grad_input(grad, x, grad_input=out),
    )


def _tanh(_: nn.Module) -> Function:
    return Function(
        lambda x, out: torch.tanh(x, out=out),
        lambda grad, x, y, out: aten.tanh_backward.grad_input(grad, y, grad_input=out),
    )


def _sigmoid(_: nn.Module) -> Function:
    return Function(
        lambda x, out: torch.sigmoid(x, out=out),
        lambda grad, x, y, out: aten.sigmoid_backward.grad_input(grad, y, grad_input=out),
    )


FUNCTIONS: Mapping[type[nn.Module], Callable[[nn.Module], Function]] = {
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.GELU: _gelu,
    nn.SiLU: _silu,
    nn.Tanh: _tanh,
    nn.Sigmoid: _sigmoid,
}
"""Layers whose derivative has a kernel of torch's own; others are differentiated by autograd."""
