"""Layers of torch.nn for M models at once: inputs (M, B, ...), parameters (M, ...)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.frame import Frame, Kernel
from foldtune.train.packed.memory import aligned, columns_first, slabs, whole_vectors

EXACT: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Hardtanh,
    nn.Threshold,
)
"""Elementwise layers whose vector and scalar code agree to the last bit."""

ROUNDED: tuple[type[nn.Module], ...] = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.LogSigmoid,
    nn.Mish,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
)
"""Elementwise layers whose vector and scalar code may differ in the last bit."""


class _Product(torch.autograd.Function):
    """`weight @ x + bias`; with `grads`, those of weight and bias are written there and not returned."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, grads: tuple[Tensor, ...]
    ) -> Tensor:  # (M, I, B), (M, O, I), (M, O) -> (M, O, B)
        x, weight = aligned(x), aligned(weight)
        ctx.save_for_backward(x, weight)
        ctx.grads, ctx.biased = grads, bias is not None
        answer = slabs((len(x), weight.shape[1], x.shape[2]), like=x)
        if bias is None:
            return torch.bmm(weight, x, out=answer)
        return torch.baddbmm(bias.unsqueeze(2), weight, x, out=answer)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad, back = aligned(grad), None
        if ctx.needs_input_grad[0]:
            back = torch.bmm(weight.transpose(1, 2), grad, out=slabs(x.shape, like=x))
        if ctx.grads:
            torch.bmm(grad, x.transpose(1, 2), out=ctx.grads[0])
            torch.sum(grad, 2, out=ctx.grads[1])
            return back, None, None, None
        found = torch.bmm(grad, x.transpose(1, 2), out=slabs(weight.shape, like=x))
        return back, found, grad.sum(2) if ctx.biased else None, None


def linear_of(x: Tensor, weight: Tensor, bias: Tensor | None, grads: tuple[Tensor, ...] = ()) -> Tensor:
    """`x @ weight.T + bias` for each model: (M, B, ..., I), (M, O, I), (M, O) -> (M, B, ..., O).

    With `grads`, those of weight and bias are written there, and autograd gets none.
    """
    rows = x.flatten(1, -2) if x.dim() > 3 else x
    answer: Tensor = columns_first(_Product.apply(columns_first(rows), weight, bias, grads))
    return answer.reshape(*x.shape[:-1], -1) if x.dim() > 3 else answer


def _linear(layer: nn.Module, name: str) -> Kernel:
    assert isinstance(layer, nn.Linear)
    weight, bias = _at(name, "weight"), _at(name, "bias")
    if layer.bias is None:
        return lambda frame, x: linear_of(x, frame.params[weight], None)

    def run(frame: Frame, x: Tensor) -> Tensor:
        grads = (frame.grads[weight], frame.grads[bias]) if weight in frame.grads else ()
        return linear_of(x, frame.params[weight], frame.params[bias], grads)

    return run


def _batch_norm(layer: nn.Module, name: str) -> Kernel:
    """One batch norm over M * C channels: statistics of a model are its own."""
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    if layer.momentum is None:
        raise NotPackable("a batch norm with `momentum: null` counts its batches")
    mean, variance, count = (_at(name, key) for key in ("running_mean", "running_var", "num_batches_tracked"))
    weight, bias = _at(name, "weight"), _at(name, "bias")
    momentum, eps, tracked, affine = layer.momentum, layer.eps, layer.track_running_stats, layer.affine

    def run(frame: Frame, x: Tensor) -> Tensor:  # (M, B, C, ...)
        channels = columns_first(x).contiguous()  # (M, C, B, ...)
        if tracked and frame.training:
            frame.buffers[count].add_(1)
        flat = channels.view(1, x.shape[0] * x.shape[2], -1)
        means, variances = (frame.buffers[key].view(-1) for key in (mean, variance)) if tracked else (None, None)
        scales, shifts = (frame.params[key].reshape(-1) for key in (weight, bias)) if affine else (None, None)
        answer = F.batch_norm(flat, means, variances, scales, shifts, frame.training or not tracked, momentum, eps)
        return columns_first(answer.view(channels.shape))

    return run


def _layer_norm(layer: nn.Module, name: str) -> Kernel:
    assert isinstance(layer, nn.LayerNorm)
    shape, eps = list(layer.normalized_shape), layer.eps
    return _scaled(lambda x: F.layer_norm(x, shape, eps=eps), layer, name)


def _rms_norm(layer: nn.Module, name: str) -> Kernel:
    assert isinstance(layer, nn.RMSNorm)
    shape, eps = list(layer.normalized_shape), layer.eps
    return _scaled(lambda x: F.rms_norm(x, shape, eps=eps), layer, name)


def _group_norm(layer: nn.Module, name: str) -> Kernel:
    assert isinstance(layer, nn.GroupNorm)
    groups, eps = layer.num_groups, layer.eps

    def plain(x: Tensor) -> Tensor:
        return F.group_norm(x.flatten(0, 1), groups, eps=eps).view(x.shape)

    return _scaled(plain, layer, name, channels=True)


def _scaled(plain: Callable[[Tensor], Tensor], layer: nn.Module, name: str, *, channels: bool = False) -> Kernel:
    """A norm of rows, then each model's own scale and shift."""
    scale, shift = _at(name, "weight"), _at(name, "bias")
    present = {_at(name, key) for key, _ in layer.named_parameters()}

    def fitted(param: Tensor, x: Tensor) -> Tensor:  # (M, *shape) -> (M, 1, ..., *shape), or (M, 1, C, 1, ...)
        if channels:
            return param.view(len(param), 1, -1, *[1] * (x.dim() - 3))
        return param.view(len(param), *[1] * (x.dim() - param.dim()), *param.shape[1:])

    def run(frame: Frame, x: Tensor) -> Tensor:
        answer = plain(x)
        if scale in present:
            answer = answer * fitted(frame.params[scale], x)
        return answer + fitted(frame.params[shift], x) if shift in present else answer

    return run


def _dropout(layer: nn.Module, name: str) -> Kernel:
    return lambda frame, x: frame.masks.dropped(name, x) if frame.masks is not None else x


def _embedding(layer: nn.Module, name: str) -> Kernel:
    assert isinstance(layer, nn.Embedding)
    given = (layer.padding_idx, layer.max_norm, layer.scale_grad_by_freq or None, layer.sparse or None)
    if any(setting is not None for setting in given):
        raise NotPackable("an embedding with `padding_idx`, `max_norm`, `scale_grad_by_freq` or `sparse`")
    key, size = _at(name, "weight"), layer.num_embeddings

    def run(frame: Frame, codes: Tensor) -> Tensor:  # (M, B, ...) -> (M, B, ..., D)
        tables = frame.params[key]  # (M, V, D)
        first = torch.arange(len(tables), device=codes.device).view(-1, *[1] * (codes.dim() - 1)) * size
        return F.embedding(codes + first, tables.flatten(0, 1))

    return run


def _prelu(layer: nn.Module, name: str) -> Kernel:
    key = _at(name, "weight")

    def run(frame: Frame, x: Tensor) -> Tensor:  # (M, B, C, ...)
        slope = frame.params[key]
        return torch.where(x > 0, x, x * slope.view(len(slope), 1, -1, *[1] * (x.dim() - 3)))

    return run


def _flatten(layer: nn.Module, name: str) -> Kernel:
    assert isinstance(layer, nn.Flatten)
    if layer.start_dim < 1:
        raise NotPackable("`Flatten` over the rows of a batch")
    start, end = layer.start_dim + 1, layer.end_dim + (layer.end_dim >= 0)
    return lambda frame, x: x.flatten(start, end)


KERNELS: Mapping[type[nn.Module], Callable[[nn.Module, str], Kernel]] = {
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.GroupNorm: _group_norm,
    nn.Dropout: _dropout,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    nn.Flatten: _flatten,
}


def kernel_of(layer: nn.Module, name: str) -> Kernel:
    """The stacked kernel of a layer.

    Args:
        layer: any module.
        name: its path in the net, where its parameters are found.

    Raises:
        NotPackable: there is none for this class, or not with these settings.
    """
    kind = type(layer)
    if kind in EXACT:
        return lambda frame, x: layer(x)
    if kind in ROUNDED:
        return lambda frame, x: whole_vectors(layer, x)
    if kind not in KERNELS:
        raise NotPackable(f"`{kind.__name__}` (at `{name}`) has no stacked kernel")
    return KERNELS[kind](layer, name)


def _at(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
