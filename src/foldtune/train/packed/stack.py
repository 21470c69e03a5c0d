"""The state of M models as a few tensors whose first axis is the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foldtune.errors import NotPackable

SLAB = 64
"""A slab is a multiple of so many numbers: vector kernels then treat every model alike, whoever shares the pack."""


@dataclass(frozen=True)
class Layout:
    """Where the parameters of one model lie in its slab.

    Args:
        shapes: of each parameter, by name.
        size: numbers in a slab, padding included.
        penalised: whether l1 and l2 act on a number, shape (size,), 0 or 1.
    """

    shapes: Mapping[str, tuple[int, ...]]
    size: int
    penalised: Tensor

    def views(self, flat: Tensor) -> dict[str, Tensor]:  # (M, size) -> {name: (M, *shape)}
        """The parameters of M models, by one split."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = torch.split(flat, [*sizes, self.size - sum(sizes)], dim=1)
        pairs = zip(self.shapes.items(), parts, strict=False)
        return {name: part.view(len(flat), *shape) for (name, shape), part in pairs}


@dataclass(frozen=True)
class Stack:
    """M models.

    Args:
        flat: parameters, (M, size).
        moments: the two buffers that update rules keep, (M, size) each.
        buffers: the nets' buffers, {name: (M, *shape)}.
    """

    flat: Tensor
    moments: tuple[Tensor, Tensor]
    buffers: Mapping[str, Tensor]

    def take(self, rows: Sequence[int]) -> "Stack":
        """Some of the models, copied."""
        index = torch.tensor(rows, device=self.flat.device)
        first, second = (moment[index] for moment in self.moments)
        return Stack(self.flat[index], (first, second), {k: v[index] for k, v in self.buffers.items()})

    def state_dict(self) -> dict[str, object]:
        """Plain tensors."""
        return {"flat": self.flat, "moments": list(self.moments), "buffers": dict(self.buffers)}


@dataclass(frozen=True)
class Trainable:
    """A stack as autograd sees it: every parameter is a leaf that shares the stack's memory.

    Args:
        params: {name: (M, *shape)}.
        grads: (M, size), overwritten by every step.
        views: the parameters' places in `grads`.
    """

    params: Mapping[str, Tensor]
    grads: Tensor
    views: Mapping[str, Tensor]


def trainable(stack: Stack, layout: Layout) -> Trainable:
    """Leaves and gradients of a stack."""
    params = {name: view.detach().requires_grad_() for name, view in layout.views(stack.flat).items()}
    grads = torch.zeros_like(stack.flat)
    return Trainable(params, grads, layout.views(grads))


def layout_of(net: nn.Module) -> Layout:
    """The layout of a net's parameters.

    Raises:
        NotPackable: some of them are not trained.
    """
    parameters = dict(net.named_parameters())
    if frozen := [name for name, parameter in parameters.items() if not parameter.requires_grad]:
        raise NotPackable(f"parameter `{frozen[0]}` is not trained")
    used = sum(parameter.numel() for parameter in parameters.values())
    size = SLAB * max(1, math.ceil(used / SLAB))
    penalised = [torch.full((p.numel(),), float(p.ndim > 1)) for p in parameters.values()]
    padding = torch.zeros(size - used)
    return Layout({name: tuple(p.shape) for name, p in parameters.items()}, size, torch.cat([*penalised, padding]))


def stack_of(nets: Sequence[nn.Module], layout: Layout, dtype: torch.dtype, device: str) -> Stack:
    """Copies of the nets' parameters and buffers, no step taken yet."""
    flat = torch.zeros(len(nets), layout.size)
    for row, net in zip(flat, nets, strict=True):
        values = torch.cat([parameter.detach().reshape(-1) for parameter in net.parameters()])
        row[: len(values)] = values
    named = [dict(net.named_buffers()) for net in nets]
    buffers = {name: torch.stack([buffers[name] for buffers in named]) for name in named[0]}
    moved = {k: v.to(device, dtype if v.is_floating_point() else v.dtype) for k, v in buffers.items()}
    flat = flat.to(device, dtype)
    return Stack(flat, (torch.zeros_like(flat), torch.zeros_like(flat)), moved)


def joined(stacks: Sequence[Stack]) -> Stack:
    """All models of some stacks, in order."""
    first, second = (torch.cat([stack.moments[index] for stack in stacks]) for index in (0, 1))
    buffers = {name: torch.cat([stack.buffers[name] for stack in stacks]) for name in stacks[0].buffers}
    return Stack(torch.cat([stack.flat for stack in stacks]), (first, second), buffers)
