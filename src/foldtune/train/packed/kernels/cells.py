"""What recurrent layers do with the products of a step: their gates, for all models at once, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from foldtune.train.packed.buffers import LANES
from foldtune.train.packed.kernels.elementwise import Function

aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Steps:
    """What the steps of a layer work on.

    Args:
        gates: products with the weights, which a cell makes gates of, (m, T, G, H, B).
        before: `h_t-1`, (m, T, H, B).
        after: `h_t` likewise.
        reverse: whether the last moment comes first.
    """

    gates: Tensor
    before: Tensor
    after: Tensor
    reverse: bool


@dataclass(frozen=True)
class Grads:
    """Their gradients.

    Args:
        gates: of the products of one step, (m, G, H, B).
        before: of `h_t-1`, (m, T, H, B), to be added to.
        after: of `h_t` likewise, to be read.
    """

    gates: Tensor
    before: Tensor
    after: Tensor


class Cell(Protocol):
    """One step of all models."""

    def forward(self, step: int) -> None:
        """Compute `h_t` from the products."""

    def backward(self, step: int) -> None:
        """Compute the products' gradients from that of `h_t`, and add to that of `h_t-1` what the gates give it."""


class Plain:
    """The cell of `torch.nn.RNN`: one function."""

    def __init__(self, function: Function, steps: Steps, grads: Grads | None) -> None:
        self.function = function
        self.steps = _each(steps.gates[:, :, 0], steps.after)
        if grads is not None:
            self.grads, self.grad = _each(grads.after), grads.gates[:, 0]

    def forward(self, step: int) -> None:
        product, hidden = self.steps[step]
        self.function.forward(product, hidden)

    def backward(self, step: int) -> None:
        (grad,), (product, hidden) = self.grads[step], self.steps[step]
        self.function.backward(grad, product, hidden, self.grad)


class LSTM:
    """The cell of `torch.nn.LSTM`; gates o, i, f, g."""

    def __init__(self, steps: Steps, grads: Grads | None) -> None:
        models, count, _, *shape = steps.gates.shape
        states = around(memory(models, (count + 1, *shape), steps.gates), reverse=steps.reverse)
        squashed = memory(models, (count, *shape), steps.gates)
        self.steps = _each(steps.gates[:, :, :3], *steps.gates.unbind(2), *states, squashed, steps.after)
        if grads is not None:
            self.grads, self.gates, self.last = _each(grads.after), grads.gates, 0 if steps.reverse else count - 1
            self.slope, self.grad_state = (memory(models, shape, steps.gates) for _ in range(2))

    def forward(self, step: int) -> None:
        sigmoids, o, i, f, g, before, after, squashed, hidden = self.steps[step]
        torch.sigmoid(sigmoids, out=sigmoids)
        torch.tanh(g, out=g)
        torch.mul(f, before, out=after).addcmul_(i, g)
        torch.tanh(after, out=squashed)
        torch.mul(o, squashed, out=hidden)

    def backward(self, step: int) -> None:
        _, o, i, f, g, before, _, squashed, _ = self.steps[step]
        (grad,), (grad_o, grad_i, grad_f, grad_g) = self.grads[step], self.gates.unbind(1)
        if step == self.last:
            self.grad_state.zero_()
        aten.tanh_backward.grad_input(o, squashed, grad_input=self.slope)
        self.grad_state.addcmul_(grad, self.slope)
        aten.sigmoid_backward.grad_input(squashed, o, grad_input=grad_o)
        aten.sigmoid_backward.grad_input(g, i, grad_input=grad_i)
        aten.sigmoid_backward.grad_input(before, f, grad_input=grad_f)
        aten.tanh_backward.grad_input(i, g, grad_input=grad_g)
        grad_o.mul_(grad)
        self.gates[:, 1:].mul_(self.grad_state[:, None])
        self.grad_state.mul_(f)


class GRU:
    """The cell of `torch.nn.GRU`; gates: the part of n that comes from `h_t-1`, r, z, n."""

    def __init__(self, steps: Steps, grads: Grads | None) -> None:
        self.steps = _each(steps.gates[:, :, 1:3], *steps.gates.unbind(2), steps.before, steps.after)
        if grads is not None:
            self.grads, self.gates, self.one = _each(grads.before, grads.after), grads.gates, steps.gates.new_ones(())

    def forward(self, step: int) -> None:
        sigmoids, part, r, z, n, before, hidden = self.steps[step]
        torch.sigmoid(sigmoids, out=sigmoids)
        n.addcmul_(r, part)
        torch.tanh(n, out=n)
        torch.lerp(n, before, z, out=hidden)

    def backward(self, step: int) -> None:
        _, part, r, z, n, before, _ = self.steps[step]
        (grad_before, grad), (grad_part, grad_r, grad_z, grad_n) = self.grads[step], self.gates.unbind(1)
        torch.sub(before, n, out=grad_z)
        aten.sigmoid_backward.grad_input(grad_z, z, grad_input=grad_z)
        torch.sub(self.one, z, out=grad_n)
        aten.tanh_backward.grad_input(grad_n, n, grad_input=grad_n)
        self.gates[:, 2:].mul_(grad[:, None])
        torch.mul(grad_n, r, out=grad_part)
        aten.sigmoid_backward.grad_input(part, r, grad_input=grad_r)
        grad_r.mul_(grad_n)
        grad_before.addcmul_(grad, z)


def memory(models: int, shape: Sequence[int], like: Tensor) -> Tensor:  # (m, *shape)
    """Zeros; see `LANES`."""
    size = prod(shape)
    return like.new_zeros(models, size + -size % LANES)[:, :size].view(models, *shape)


def around(states: Tensor, *, reverse: bool) -> tuple[Tensor, Tensor]:  # (m, T + 1, ...) -> (m, T, ...) twice
    """What is there before and after each step; the first before is what nobody writes."""
    earlier, later = states[:, :-1], states[:, 1:]
    return (later, earlier) if reverse else (earlier, later)


def _each(*values: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of (m, T, ...) at every step."""
    return list(zip(*(value.unbind(1) for value in values), strict=True))
