"""Convolutions and batch norms of sequences, images and volumes (m, B, C, ...), model by model.

One convolution of m times as many groups is no faster, but for the smallest images, and its last bits change with m.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.kernel import Place
from foldtune.train.packed.kernels.linear import autocast_dtype, lowered

aten: Any = torch.ops.aten


class Conv:
    """`torch.nn.Conv2d` and its like, transposed or not.

    Args:
        place: where it works.
        settings: as `conv_settings` gives them.
    """

    def __init__(self, place: Place, settings: tuple[Any, ...]) -> None:
        (source,) = place.inputs
        weight, bias = place.params["weight"], place.params.get("bias")
        self.place, self.settings, self.targets = place, settings, _targets(place)
        self.each = [(x, weight[model], _row(bias, model)) for model, x in enumerate(source.rows)]
        self.channels = None if bias is None else list(bias.shape[1:])
        self.lower = autocast_dtype(place.output.flat)

    def forward(self) -> None:
        for out, given in zip(self.place.output.rows, self.each, strict=True):
            out.copy_(torch.convolution(*lowered(self.lower, *given), *self.settings))

    def backward(self) -> None:
        wanted = [target is not None for target in self.targets]
        for model, (grad, (x, weight, _)) in enumerate(zip(self.place.grad.rows, self.each, strict=True)):
            given = lowered(self.lower, grad, x, weight)
            found = aten.convolution_backward(*given, self.channels, *self.settings, wanted)
            _keep(found, self.targets, model)


class MapNorm:
    """`torch.nn.BatchNorm2d` and its like."""

    def __init__(self, place: Place, layer: nn.modules.batchnorm._BatchNorm) -> None:
        (self.source,) = place.inputs
        self.place, self.targets = place, _targets(place)
        self.momentum, self.eps = float(layer.momentum or 0.0), layer.eps
        self.from_batch = place.training or not layer.track_running_stats
        tensors = [place.params.get("weight"), place.params.get("bias")]
        tensors += [place.buffers.get("running_mean"), place.buffers.get("running_var")]
        self.each = [[_row(tensor, model) for tensor in tensors] for model in range(len(place.output.rows))]
        self.count = place.buffers.get("num_batches_tracked") if place.training else None
        self.statistics: list[Sequence[Tensor]] = []  # of this batch: means and inverse deviations

    def forward(self) -> None:
        self.statistics.clear()
        for x, tensors, out in zip(self.source.rows, self.each, self.place.output.rows, strict=True):
            value, *found = aten.native_batch_norm(x, *tensors, self.from_batch, self.momentum, self.eps)
            out.copy_(value)
            self.statistics.append(found)
        if self.count is not None:
            self.count.add_(1)

    def backward(self) -> None:
        wanted = [target is not None for target in self.targets]
        for model, (grad, x) in enumerate(zip(self.place.grad.rows, self.source.rows, strict=True)):
            weight, _, *running = self.each[model]
            given = (grad, x, weight, *running, *self.statistics[model])
            _keep(aten.native_batch_norm_backward(*given, True, self.eps, wanted), self.targets, model)


def conv_settings(layer: Any) -> tuple[Any, ...]:
    """What `torch.convolution` gets after its tensors.

    Raises:
        NotPackable: padding that is not the same number of zeros on both sides.
    """
    padding = layer.padding
    if padding == "valid":
        padding = (0,) * len(layer.kernel_size)
    elif padding == "same":
        both = [step * (size - 1) for step, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        if any(total % 2 for total in both):
            raise NotPackable("`padding: same` of an even `kernel_size`")
        padding = tuple(total // 2 for total in both)
    if layer.padding_mode != "zeros":
        raise NotPackable(f"`padding_mode: {layer.padding_mode}`")
    return layer.stride, padding, layer.dilation, layer.transposed, layer.output_padding, layer.groups


def _targets(place: Place) -> list[Tensor | None]:
    """Where the gradients of input, weight and bias go."""
    grads = [None if part is None else part.rows for part in place.grad_inputs]
    return [*grads, place.grads.get("weight"), place.grads.get("bias")]


def _keep(found: Sequence[Tensor], targets: Sequence[Tensor | None], model: int) -> None:
    for value, target in zip(found, targets, strict=True):
        if target is not None:
            target[model].copy_(value)


def _row(tensor: Tensor | None, model: int) -> Tensor | None:
    return None if tensor is None else tensor[model]
