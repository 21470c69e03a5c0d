"""Which kernel a function in a net's `forward` gets."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.kernel import Bind, Kernel, Place
from foldtune.train.packed.kernels.elementwise import FUNCTIONS, Add, Elementwise
from foldtune.train.packed.kernels.layers import island
from foldtune.train.packed.kernels.linear import Linear
from foldtune.train.packed.kernels.shapes import Cat, Column, Flatten

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

ARITHMETIC: Mapping[Any, Callable[..., Tensor]] = {
    operator.add: torch.add,
    operator.iadd: torch.add,
    torch.add: torch.add,
    "add": torch.add,
    operator.sub: torch.sub,
    torch.sub: torch.sub,
    operator.mul: torch.mul,
    operator.imul: torch.mul,
    torch.mul: torch.mul,
    "mul": torch.mul,
    operator.truediv: torch.div,
    operator.neg: torch.neg,
}
SINGLE: Mapping[Any, Callable[..., Tensor]] = {
    F.leaky_relu: F.leaky_relu,
    F.gelu: F.gelu,
    F.silu: F.silu,
    F.elu: F.elu,
    F.mish: F.mish,
    F.softplus: F.softplus,
}
REDUCED: Mapping[Any, Callable[..., Tensor]] = {
    torch.mean: torch.mean,
    "mean": torch.mean,
    torch.sum: torch.sum,
    "sum": torch.sum,
    torch.amax: torch.amax,
    "amax": torch.amax,
}
PLAIN: Mapping[Any, type[nn.Module]] = {
    torch.relu: nn.ReLU,
    F.relu: nn.ReLU,
    "relu": nn.ReLU,
    torch.sigmoid: nn.Sigmoid,
    F.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
    torch.tanh: nn.Tanh,
    F.tanh: nn.Tanh,
    "tanh": nn.Tanh,
}


def bind_function(node: torch.fx.Node, shapes: Shapes, out: Shape, integers: set[str]) -> Bind:
    """The kernel of a function or method call.

    Args:
        node: the call.
        shapes: of one row of each value that it reads, by node.
        out: of one row of what it gives.
        integers: which of them are codes.

    Raises:
        NotPackable: there is none, or not with these arguments.
    """
    target = node.target
    if target in PLAIN:
        function = FUNCTIONS[PLAIN[target]](PLAIN[target]())
        return lambda place: Elementwise(place, function)
    if target is operator.getitem:
        return _getitem(node, shapes, integers)
    if target in (torch.cat, torch.concat):
        return _cat(node, shapes)
    if target in (torch.flatten, "flatten"):
        return _flatten(node, shapes, out)
    if target is F.linear:
        return _linear(node, shapes)
    if target in REDUCED:
        return _reduced(node, REDUCED[target], shapes)
    if target in ARITHMETIC:
        return _arithmetic(node, ARITHMETIC[target], shapes)
    if target in SINGLE:
        rest, named, called = node.args[1:], node.kwargs, SINGLE[target]
        return island(lambda inputs, params, buffers, training: called(inputs[0], *rest, **named), flat=True)
    raise NotPackable(f"`{getattr(target, '__name__', target)}` has no stacked kernel")


def _arithmetic(node: torch.fx.Node, function: Callable[..., Tensor], shapes: Shapes) -> Bind:
    if node.kwargs:
        raise NotPackable(f"`{getattr(node.target, '__name__', node.target)}` gets arguments by keyword")
    if function is torch.add and len(node.args) == 2 and len(shapes) == 2:
        first, second = shapes.values()
        if first == second:
            return Add
    order = list(shapes)

    def run(
        inputs: Sequence[Tensor], params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], training: bool
    ) -> Tensor:
        values = {**dict(zip(order, inputs, strict=True)), **params, **buffers}
        args = [values[arg.name] if isinstance(arg, torch.fx.Node) else arg for arg in node.args]
        return function(*_aligned(args))

    return island(run)


def _aligned(args: Sequence[Any]) -> list[Any]:
    """Operands of fewer dimensions get them after the first, which counts models."""
    most = max(arg.dim() for arg in args if isinstance(arg, Tensor))
    return [
        arg.reshape(len(arg), *[1] * (most - arg.dim()), *arg.shape[1:]) if isinstance(arg, Tensor) else arg
        for arg in args
    ]


def _reduced(node: torch.fx.Node, function: Callable[..., Tensor], shapes: Shapes) -> Bind:
    given = {**dict(zip(("input", "dim", "keepdim"), node.args, strict=False)), **node.kwargs}
    dim, keepdim, (shape,) = given.get("dim"), bool(given.get("keepdim", False)), shapes.values()
    dims = dim if isinstance(dim, list | tuple) else (dim,)
    places = [range(1 + len(shape))[place] for place in dims if isinstance(place, int)]
    if given.keys() - {"input", "dim", "keepdim"} or len(places) != len(dims) or not all(places):
        raise NotPackable(f"`{function.__name__}` must be over dimensions by number, and not over the rows of a batch")
    ours = [place + 1 for place in places]
    return island(lambda inputs, params, buffers, training: function(inputs[0], ours, keepdim))


def _cat(node: torch.fx.Node, shapes: Shapes) -> Bind:
    parts, dim = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if not isinstance(parts, list | tuple) or not isinstance(dim, int) or dim == 0:
        raise NotPackable("`cat` over the rows of a batch")
    names = [part.name for part in parts if isinstance(part, torch.fx.Node)]
    if len(names) != len(parts) or set(names) != set(shapes) or len(set(names)) != len(names):
        raise NotPackable("`cat` of something that is no value of its own")
    if all(len(shape) == 1 for shape in shapes.values()):
        return Cat
    return island(lambda inputs, params, buffers, training: torch.cat(list(inputs), dim + (dim > 0)))


def _flatten(node: torch.fx.Node, shapes: Shapes, out: Shape) -> Bind:
    if len(out) != 1 or len(shapes) != 1:
        raise NotPackable("`flatten` of some dimensions alone")
    return Flatten


def _getitem(node: torch.fx.Node, shapes: Shapes, integers: set[str]) -> Bind:
    source, index = node.args
    plain = isinstance(index, tuple) and all(isinstance(part, int | slice) for part in index)
    if not isinstance(source, torch.fx.Node) or not plain or index[0] != slice(None):  # type: ignore[index]
        raise NotPackable(f"indexing with {index}: it must take all rows of a batch, and columns by number")
    if source.name in integers:
        if len(index) != 2 or not isinstance(index[1], int):  # type: ignore[arg-type, index]
            raise NotPackable("several columns of codes at once")
        column: int = index[1]  # type: ignore[index]
        return lambda place: Column(place, column)
    full = (slice(None), *index)  # type: ignore[misc]
    return island(lambda inputs, params, buffers, training: inputs[0][full])


def _linear(node: torch.fx.Node, shapes: Shapes) -> Bind:
    given = {**dict(zip(("input", "weight", "bias"), node.args, strict=False)), **node.kwargs}
    names = {key: arg.name for key, arg in given.items() if isinstance(arg, torch.fx.Node)}
    source = names.pop("input", None)
    if source not in shapes or "weight" not in names or shapes.keys() & set(names.values()):
        raise NotPackable("`linear` must get a value, and weights that are tensors of the net")

    def bind(place: Place) -> Kernel:
        fixed = {**place.params, **place.buffers}
        params = {key: fixed[name] for key, name in names.items()}
        grads = {key: place.grads[name] for key, name in names.items() if name in place.grads}
        return Linear(replace(place, params=params, grads=grads))

    return bind
