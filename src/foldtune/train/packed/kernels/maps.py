"""Convolutions and batch norms of sequences, images and volumes (m, B, C, ...), model by model.

One call for all models would be a convolution of m groups, whose last bits change with m, and which is no faster than
m convolutions of one group but for the smallest images.
"""

from typing import Any

import torch
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.kernel import Place

aten: Any = torch.ops.aten


class Conv:
    """`torch.nn.Conv1d` and its like, transposed or not.

    Raises:
        NotPackable: padding that is no number of zeros on both sides.
    """

    def __init__(self, place: Place, settings: tuple[Any, ...]) -> None:
        (source,) = place.inputs
        self.settings, weight, bias = settings, place.params["weight"], place.params.get("bias")
        self.x, self.weight, self.bias, self.out = source.rows, weight, bias, place.output.rows
        self.place = place
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grad_x = None if grad_x is None else grad_x.rows
            self.grads = {0: self.grad_x, 1: place.grads["weight"], 2: place.grads.get("bias")}
            self.wanted = [target is not None for target in self.grads.values()]

    def forward(self) -> None:
        for model, x in enumerate(self.x):
            bias = None if self.bias is None else self.bias[model]
            self.out[model].copy_(torch.convolution(x, self.weight[model], bias, *self.settings))

    def backward(self) -> None:
        sizes = None if self.bias is None else list(self.bias.shape[1:])
        for model, grad in enumerate(self.place.grad.rows):
            given = (grad, self.x[model], self.weight[model], sizes)
            found = aten.convolution_backward(*given, *self.settings, self.wanted)
            _keep(found, self.grads, model)


class MapNorm:
    """`torch.nn.BatchNorm2d` and its like."""

    def __init__(self, place: Place, layer: nn.modules.batchnorm._BatchNorm) -> None:
        (source,) = place.inputs
        self.x, self.out, self.place = source.rows, place.output.rows, place
        self.momentum, self.eps = float(layer.momentum or 0.0), layer.eps
        self.from_batch = place.training or not layer.track_running_stats
        tensors = [place.params.get("weight"), place.params.get("bias")]
        tensors += [place.buffers.get("running_mean"), place.buffers.get("running_var")]
        self.each = [[None if tensor is None else tensor[model] for tensor in tensors] for model in range(len(self.x))]
        self.count = place.buffers.get("num_batches_tracked") if place.training else None
        self.kept: list[tuple[Tensor, Tensor]] = []
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grads = {0: None if grad_x is None else grad_x.rows, 1: place.grads.get("weight")}
            self.grads[2] = place.grads.get("bias")
            self.wanted = [target is not None for target in self.grads.values()]

    def forward(self) -> None:
        self.kept.clear()
        for x, tensors, out in zip(self.x, self.each, self.out, strict=True):
            value, *kept = aten.native_batch_norm(x, *tensors, self.from_batch, self.momentum, self.eps)
            out.copy_(value)
            self.kept.append((kept[0], kept[1]))
        if self.count is not None:
            self.count.add_(1)

    def backward(self) -> None:
        for model, grad in enumerate(self.place.grad.rows):
            weight, _, *running = self.each[model]
            given = (grad, self.x[model], weight, *running, *self.kept[model], True, self.eps)
            _keep(aten.native_batch_norm_backward(*given, self.wanted), self.grads, model)


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
        padding = tuple(total // 2 for total in both)
        if any(total % 2 for total in both):
            raise NotPackable("`padding: same` of an even `kernel_size`")
    if layer.padding_mode != "zeros":
        raise NotPackable(f"`padding_mode: {layer.padding_mode}`")
    return layer.stride, padding, layer.dilation, layer.transposed, layer.output_padding, layer.groups


def _keep(found: tuple[Tensor | None, ...], targets: dict[int, Tensor | None], model: int) -> None:
    for index, target in targets.items():
        value = found[index]
        if target is not None and value is not None:
            target[model].copy_(value)
