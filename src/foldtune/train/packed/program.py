"""A net lowered to stacked kernels: its forward pass is traced once, then run for M models at once."""

import copy
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.frame import Frame
from foldtune.train.packed.layers import kernel_of, linear_of
from foldtune.train.packed.memory import whole_vectors

EXACT: Mapping[Any, Callable[..., Tensor]] = {
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
    torch.relu: torch.relu,
    F.relu: F.relu,
    F.leaky_relu: F.leaky_relu,
    "relu": torch.relu,
}
ROUNDED: Mapping[Any, Callable[..., Tensor]] = {
    torch.sigmoid: torch.sigmoid,
    F.sigmoid: torch.sigmoid,
    "sigmoid": torch.sigmoid,
    torch.tanh: torch.tanh,
    F.tanh: torch.tanh,
    "tanh": torch.tanh,
    F.gelu: F.gelu,
    F.silu: F.silu,
    F.elu: F.elu,
    F.mish: F.mish,
    F.softplus: F.softplus,
}


@dataclass(frozen=True)
class Step:
    """One kernel: reads values by name, gives one."""

    name: str
    run: Callable[[Frame, Mapping[str, Tensor]], Tensor]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A forward pass of M models.

    Args:
        inputs: names of what it reads.
        steps: kernels in order.
        output: name of the answer.
        direct: parameters of layers that are called once; such a layer may put their gradients in itself.
        text: the same for nets of the same structure, whatever their weights and dropout rates.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    output: str
    direct: frozenset[str]
    text: str

    def __call__(self, frame: Frame, inputs: Sequence[Tensor]) -> Tensor:  # (M, B, ...) -> (M, B, outputs)
        """The nets' answers."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            values[step.name] = step.run(frame, values)
            for name in step.unused:  # frees memory, and keeps tensors in the cache
                del values[name]
        return values[self.output]


class _Given(nn.Module):
    """A net with nothing but the inputs that it gets."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


class _GivenOne(_Given):
    def forward(self, numeric: Tensor) -> Tensor:
        return self.net(numeric)  # type: ignore[no-any-return]


class _GivenTwo(_Given):
    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        return self.net(numeric, codes)  # type: ignore[no-any-return]


def lower(net: nn.Module, *, n_inputs: int, training: bool) -> Program:
    """Trace a net's forward pass and replace every layer and function by its stacked kernel.

    Args:
        net: any module.
        n_inputs: 1 for numbers alone, 2 for numbers and codes.
        training: whether branches on `self.training` are those of training.

    Raises:
        NotPackable: the forward pass depends on values, or uses what has no stacked kernel.
    """
    try:
        copied = copy.deepcopy(net).train(training)  # tracing leaves proxies in a net that assigns to itself
        given = (_GivenOne, _GivenTwo)[n_inputs - 1](copied)
        graph = torch.fx.Tracer().trace(given)
    except Exception as error:  # a user's forward may raise anything at all on a proxy; lockstep shows what it is worth
        raise NotPackable(f"its forward pass cannot be traced: {type(error).__name__}: {error}") from error
    return _compiled(graph, net)


def dropout_rates(net: nn.Module) -> dict[str, float]:
    """The probability of each dropout layer by name."""
    return {name: module.p for name, module in net.named_modules() if type(module) is nn.Dropout}


def _compiled(graph: torch.fx.Graph, net: nn.Module) -> Program:
    inputs, steps, lines, output = [], [], [], ""
    last_use = {used: node for node in graph.nodes for used in node.all_input_nodes}
    for node in graph.nodes:
        if node.op == "placeholder":
            inputs.append(node.name)
        elif node.op == "output":
            if not isinstance(node.args[0], torch.fx.Node):
                raise NotPackable("it answers with more than one tensor")
            output = node.args[0].name
        else:
            unused = tuple(used.name for used in node.all_input_nodes if last_use[used] is node)
            steps.append(Step(node.name, _kernel(node, net), unused))
        lines.append(_line(node, net))
    return Program(tuple(inputs), tuple(steps), output, _direct(graph, net), "\n".join(lines))


def _direct(graph: torch.fx.Graph, net: nn.Module) -> frozenset[str]:
    calls = Counter(_plain(node) for node in graph.nodes if node.op in ("call_module", "get_attr"))
    names = {name: name.rpartition(".")[0] for name, _ in net.named_parameters()}
    return frozenset(name for name, layer in names.items() if calls[layer] == 1 and not calls[name])


def _line(node: torch.fx.Node, net: nn.Module) -> str:
    """A node with all that its kernel depends on, dropout rates aside."""
    said = f"{node.op} {node.target} {node.args} {node.kwargs}"
    if node.op != "call_module":
        return said
    layer = net.get_submodule(_plain(node))
    return f"{said} {'Dropout' if type(layer) is nn.Dropout else layer!r}"


def _plain(node: torch.fx.Node) -> str:
    """A node's target as the net itself names it."""
    return str(node.target).removeprefix("net").removeprefix(".")


def _kernel(node: torch.fx.Node, net: nn.Module) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    if node.op == "call_module":
        return _layer(node, net)
    if node.op == "get_attr":
        return _parameter(_plain(node), net)
    if node.target in EXACT:
        return _elementwise(node, EXACT[node.target])
    if node.target in ROUNDED:
        return _rounded(node, ROUNDED[node.target])
    if node.target not in SHAPED:
        raise NotPackable(f"`{getattr(node.target, '__name__', node.target)}` has no stacked kernel")
    return SHAPED[node.target](node)


def _layer(node: torch.fx.Node, net: nn.Module) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], torch.fx.Node):
        raise NotPackable(f"layer `{_plain(node)}` must get one tensor")
    kernel, source = kernel_of(net.get_submodule(_plain(node)), _plain(node)), node.args[0].name
    return lambda frame, values: kernel(frame, values[source])


def _parameter(name: str, net: nn.Module) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    if name in dict(net.named_parameters()):
        return lambda frame, values: frame.params[name]
    if name in dict(net.named_buffers()):
        return lambda frame, values: frame.buffers[name]
    raise NotPackable(f"`{name}` is a tensor that is neither parameter nor buffer, or has two names")


def _elementwise(
    node: torch.fx.Node, function: Callable[..., Tensor]
) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    def run(frame: Frame, values: Mapping[str, Tensor]) -> Tensor:
        args = [values[arg.name] if isinstance(arg, torch.fx.Node) else arg for arg in node.args]
        return function(*_aligned(args), **node.kwargs)

    if any(isinstance(value, torch.fx.Node) for value in node.kwargs.values()):
        raise NotPackable(f"`{node.target}` gets a tensor by keyword")
    return run


def _rounded(node: torch.fx.Node, function: Callable[..., Tensor]) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    source, rest = node.args[0], node.args[1:]
    assert isinstance(source, torch.fx.Node)
    return lambda frame, values: whole_vectors(lambda x: function(x, *rest, **node.kwargs), values[source.name])


def _aligned(args: Sequence[Any]) -> list[Any]:
    """Operands of fewer dimensions get them after the first, which counts models."""
    most = max(arg.dim() for arg in args if isinstance(arg, Tensor))
    return [
        arg.reshape(len(arg), *[1] * (most - arg.dim()), *arg.shape[1:]) if isinstance(arg, Tensor) else arg
        for arg in args
    ]


def _cat(node: torch.fx.Node) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    parts, dim = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if not isinstance(parts, list | tuple) or not isinstance(dim, int) or dim == 0:
        raise NotPackable("`cat` over the rows of a batch")
    names = [part.name for part in parts if isinstance(part, torch.fx.Node)]
    return lambda frame, values: torch.cat([values[name] for name in names], dim + (dim > 0))


def _flatten(node: torch.fx.Node) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    source, *rest = node.args
    start, end = ([*rest, *(0, -1)[len(rest) :]]) if not node.kwargs else (0, -1)
    start, end = node.kwargs.get("start_dim", start), node.kwargs.get("end_dim", end)
    if not isinstance(source, torch.fx.Node) or not isinstance(start, int) or not isinstance(end, int) or start < 1:
        raise NotPackable("`flatten` over the rows of a batch")
    first, last, name = start + 1, end + (end >= 0), source.name
    return lambda frame, values: values[name].flatten(first, last)


def _getitem(node: torch.fx.Node) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    source, index = node.args
    plain = isinstance(index, tuple) and all(isinstance(part, int | slice) for part in index)
    if not isinstance(source, torch.fx.Node) or not plain or index[0] != slice(None):  # type: ignore[index]
        raise NotPackable(f"indexing with {index}: it must take all rows of a batch, and columns by number")
    full, name = (slice(None), *index), source.name  # type: ignore[misc]
    return lambda frame, values: values[name][full]


def _functional_linear(node: torch.fx.Node) -> Callable[[Frame, Mapping[str, Tensor]], Tensor]:
    nodes = [*node.args, *node.kwargs.values()]
    names = [arg.name if isinstance(arg, torch.fx.Node) else None for arg in nodes]
    x, weight, bias = (*names, None)[:3]
    if x is None or weight is None:
        raise NotPackable("`linear` must get tensors")
    return lambda frame, values: linear_of(values[x], values[weight], values[bias] if bias else None)


SHAPED: Mapping[Any, Callable[[torch.fx.Node], Callable[[Frame, Mapping[str, Tensor]], Tensor]]] = {
    torch.cat: _cat,
    torch.flatten: _flatten,
    "flatten": _flatten,
    operator.getitem: _getitem,
    F.linear: _functional_linear,
}
