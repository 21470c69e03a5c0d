"""Which kernel a layer of torch.nn gets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.kernel import Bind, Kernel, Place
from foldtune.train.packed.kernels.elementwise import FUNCTIONS, Dropout, Elementwise
from foldtune.train.packed.kernels.island import Island, Stacked
from foldtune.train.packed.kernels.linear import Embedding, Linear
from foldtune.train.packed.kernels.maps import Conv, MapNorm, conv_settings
from foldtune.train.packed.kernels.norms import BatchNorm, Norm, eps_of
from foldtune.train.packed.kernels.shapes import Flatten

Shape = tuple[int, ...]

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.ReLU6,
    nn.Hardtanh,
    nn.Threshold,
    nn.CELU,
    nn.ELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.LogSigmoid,
    nn.Mish,
    nn.SELU,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanhshrink,
)
"""Functions of single numbers that autograd differentiates."""

OF_ROWS: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Upsample,
    nn.ZeroPad2d,
    nn.PixelShuffle,
    nn.LocalResponseNorm,
)
"""Layers without parameters that treat every row alone: the rows of all models are one batch to them."""


def kernel_of(layer: nn.Module, name: str, shape: Shape, out: Shape) -> Bind:
    """The kernel of a layer.

    Args:
        layer: any module.
        name: its path in the net, for messages.
        shape: of one row that it gets.
        out: of one row that it gives.

    Raises:
        NotPackable: there is none for this class, or not with these settings.
    """
    kind = type(layer)
    if kind in FUNCTIONS:
        function = FUNCTIONS[kind](layer)
        return lambda place: Elementwise(place, function)
    if kind in ELEMENTWISE:
        return island(lambda inputs, params, buffers, training: layer(inputs[0]), flat=True)
    if kind in OF_ROWS:
        return island(lambda inputs, params, buffers, training: of_rows(layer, inputs[0]))
    if kind not in KERNELS:
        raise NotPackable(f"`{kind.__name__}` (at `{name}`) has no stacked kernel")
    return KERNELS[kind](layer, shape, out)


def island(function: Stacked, *, flat: bool = False) -> Bind:
    """A kernel that autograd differentiates."""
    return lambda place: Island(place, function, flat=flat)


def of_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of (rows, ...) on (m, B, ...)."""
    answer = function(x.flatten(0, 1))
    return answer.reshape(*x.shape[:2], *answer.shape[1:])


def _linear(layer: Any, shape: Shape, out: Shape) -> Bind:
    return Linear


def _batch_norm(layer: Any, shape: Shape, out: Shape) -> Bind:
    if layer.momentum is None:
        raise NotPackable("a batch norm with `momentum: null` counts its batches")
    if len(shape) == 1:
        return lambda place: BatchNorm(place, layer)
    return lambda place: MapNorm(place, layer)


def _layer_norm(layer: Any, shape: Shape, out: Shape) -> Bind:
    normalized = tuple(layer.normalized_shape)
    if len(shape) == 1 and normalized == shape:
        center = isinstance(layer, nn.LayerNorm)
        return lambda place: Norm(place, dim=1, eps=eps_of(layer, place.output.flat), center=center)

    def plain(x: Tensor) -> Tensor:
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(x, normalized, eps=layer.eps)
        return F.rms_norm(x, normalized, eps=layer.eps)

    return island(lambda inputs, params, buffers, training: _scaled(plain(inputs[0]), params, channels=False))


def _group_norm(layer: Any, shape: Shape, out: Shape) -> Bind:
    def run(inputs: Sequence[Tensor], params: Mapping[str, Tensor], _: Any, __: bool) -> Tensor:
        normed = of_rows(lambda x: F.group_norm(x, layer.num_groups, eps=layer.eps), inputs[0])
        return _scaled(normed, params, channels=True)

    return island(run)


def _instance_norm(layer: Any, shape: Shape, out: Shape) -> Bind:
    if layer.track_running_stats or len(shape) < 2:
        raise NotPackable("an instance norm with `track_running_stats`, or of single numbers")

    def run(inputs: Sequence[Tensor], params: Mapping[str, Tensor], _: Any, __: bool) -> Tensor:
        normed = of_rows(lambda x: F.instance_norm(x, eps=layer.eps), inputs[0])
        return _scaled(normed, params, channels=True)

    return island(run)


def _scaled(x: Tensor, params: Mapping[str, Tensor], *, channels: bool) -> Tensor:
    """Each model's own scale and shift."""

    def fitted(param: Tensor) -> Tensor:  # (m, *shape) -> (m, 1, ..., *shape), or (m, 1, C, 1, ...)
        if channels:
            return param.view(len(param), 1, -1, *[1] * (x.dim() - 3))
        return param.view(len(param), *[1] * (x.dim() - param.dim()), *param.shape[1:])

    x = x * fitted(params["weight"]) if "weight" in params else x
    return x + fitted(params["bias"]) if "bias" in params else x


def _prelu(layer: Any, shape: Shape, out: Shape) -> Bind:
    def run(inputs: Sequence[Tensor], params: Mapping[str, Tensor], _: Any, __: bool) -> Tensor:
        (x,), slope = inputs, params["weight"]
        return torch.where(x > 0, x, x * slope.view(len(slope), 1, -1, *[1] * (x.dim() - 3)))

    return island(run)


def _embedding(layer: Any, shape: Shape, out: Shape) -> Bind:
    given = (layer.padding_idx, layer.max_norm, layer.scale_grad_by_freq or None, layer.sparse or None)
    if any(setting is not None for setting in given):
        raise NotPackable("an embedding with `padding_idx`, `max_norm`, `scale_grad_by_freq` or `sparse`")
    return Embedding


def _conv(layer: Any, shape: Shape, out: Shape) -> Bind:
    settings = conv_settings(layer)
    return lambda place: Conv(place, settings)


def _flatten(layer: Any, shape: Shape, out: Shape) -> Bind:
    if layer.start_dim != 1 or layer.end_dim not in (-1, len(shape)):
        raise NotPackable("`Flatten` of some dimensions alone")
    return Flatten


def _dropout(layer: Any, shape: Shape, out: Shape) -> Bind:
    def bind(place: Place) -> Kernel:
        return Dropout(place)

    return bind


KERNELS: Mapping[type[nn.Module], Callable[[Any, Shape, Shape], Bind]] = {
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Dropout: _dropout,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    nn.Flatten: _flatten,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.ConvTranspose1d: _conv,
    nn.ConvTranspose2d: _conv,
    nn.ConvTranspose3d: _conv,
    nn.InstanceNorm1d: _instance_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.InstanceNorm3d: _instance_norm,
}
