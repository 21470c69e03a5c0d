"""Products of hidden layers with weights, and lookups in embedding tables."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from foldtune.train.packed.buffers import Buffer
from foldtune.train.packed.kernel import Place


class Linear:
    """`torch.nn.Linear` on rows (m, B, ..., I) -> (m, B, ..., O), as products of (O, I) with (I, B * ...).

    Bound inside of `torch.autocast`, it computes in the lower precision.
    """

    def __init__(self, place: Place) -> None:
        (source,) = place.inputs
        self.x, self.out = _columns(source), _columns(place.output)
        self.lower, self.weight = autocast_dtype(self.x), place.params["weight"]
        self.bias = place.params["bias"].unsqueeze(2) if "bias" in place.params else None
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grad_x = _columns(grad_x) if grad_x is not None else None
            self.grad, self.rows, self.transposed = _columns(place.grad), self.x.mT, self.weight.mT
            self.grad_weight, self.grad_bias = (place.grads.get(name) for name in ("weight", "bias"))

    def forward(self) -> None:
        if self.lower is not None:  # which does not cast what has a place for its result
            product = torch.bmm if self.bias is None else partial(torch.baddbmm, self.bias)
            self.out.copy_(product(self.weight, self.x))
        elif self.bias is None:
            torch.bmm(self.weight, self.x, out=self.out)
        else:
            torch.baddbmm(self.bias, self.weight, self.x, out=self.out)

    def backward(self) -> None:
        if self.grad_bias is not None:
            torch.sum(self.grad, 2, out=self.grad_bias)
        grad, rows, transposed = lowered(self.lower, self.grad, self.rows, self.transposed)
        if self.grad_weight is not None:
            _product_(grad, rows, self.grad_weight)
        if self.grad_x is not None:
            _product_(transposed, grad, self.grad_x)


def autocast_dtype(like: Tensor) -> torch.dtype | None:
    """What `torch.autocast` would compute products of single-precision numbers in; None outside of it."""
    kind = like.device.type
    enabled = like.dtype is torch.float32 and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if enabled else None


def lowered(dtype: torch.dtype | None, *tensors: Tensor | None) -> tuple[Any, ...]:
    """Copies in a lower precision, where there is one; else the tensors themselves."""
    return tensors if dtype is None else tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)


def _product_(first: Tensor, second: Tensor, out: Tensor) -> None:
    if first.dtype is out.dtype:
        torch.bmm(first, second, out=out)
    else:
        out.copy_(torch.bmm(first, second))


def _columns(value: Buffer) -> Tensor:  # (m, C, B * ...), a view
    return value.cols if value.rows.dim() == 3 else value.rows.flatten(1, -2).mT


class Embedding:
    """`torch.nn.Embedding` on codes (m, B) -> (m, B, D): one lookup in m tables laid end to end."""

    def __init__(self, place: Place) -> None:
        (source,) = place.inputs
        tables = place.params["weight"]  # (m, V, D)
        models, self.size, _ = tables.shape
        self.codes, self.out = source.rows, place.output.rows
        self.tables = tables.reshape(-1, tables.shape[2]) if tables.is_contiguous() else None
        self.each, self.place = tables, place
        first = torch.arange(models, device=tables.device) * self.size
        self.first = first.view(-1, *[1] * (self.codes.dim() - 1))

    def forward(self) -> None:
        tables = self.each.flatten(0, 1) if self.tables is None else self.tables
        self.out.copy_(tables[(self.codes + self.first).reshape(-1)].view(self.out.shape))

    def backward(self) -> None:
        flat = (self.codes + self.first).reshape(-1)
        grad = self.place.grad.rows.reshape(len(flat), -1)
        found = torch.zeros(len(self.each) * self.size, grad.shape[1], dtype=grad.dtype, device=grad.device)
        self.place.grads["weight"].copy_(found.index_add_(0, flat, grad).view(self.each.shape))
