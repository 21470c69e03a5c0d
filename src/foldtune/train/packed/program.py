"""A net as a list of operations that have stacked kernels: its forward pass, traced once."""

import copy
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.models.builder import example_rows
from foldtune.train.packed.kernel import Bind
from foldtune.train.packed.kernels.functions import bind_function
from foldtune.train.packed.kernels.layers import kernel_of
from foldtune.train.packed.kernels.vmapped import vmapped
from foldtune.values import DataShape

INPUTS = ("numeric", "codes")


@dataclass(frozen=True)
class Op:
    """One operation of a net.

    Args:
        name: of what it gives.
        sources: names of what it reads.
        text: the same for operations that one kernel can compute, whatever their weights and dropout rates.
        shape: of one row of what it gives.
        bind: makes its kernel.
        params: its parameters, by the names that the kernel uses: names in the net.
        buffers: its buffers likewise.
        dropout: its rate, if it is one.
        integer: whether it gives codes.
    """

    name: str
    sources: tuple[str, ...]
    text: str
    shape: tuple[int, ...]
    bind: Bind
    params: Mapping[str, str] = field(default_factory=dict)
    buffers: Mapping[str, str] = field(default_factory=dict)
    dropout: float | None = None
    integer: bool = False

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product, of which one of many models is much cheaper than many."""
        return self.text.startswith("Linear(")

    def may_overwrite(self, producer: "Op") -> bool:
        """Whether it can write over what `producer` gave it: neither needs that in its backward pass.

        What a product gives stays: it lies at one place in all nets that share the product, whatever comes after it.
        A rectifier needs the signs of what it gave, which dropout leaves as they are wherever a gradient passes.
        """
        own = self.text.startswith(("Dropout", "ReLU(", "Tanh(", "Sigmoid("))
        rectified = producer.text.startswith("ReLU(") and self.text.startswith("Dropout")
        plain = producer.text.startswith(("BatchNorm1d(", "LayerNorm(", "RMSNorm(", "GELU(", "SiLU("))
        return own and len(self.shape) == 1 and (plain or rectified)


@dataclass(frozen=True, eq=False)
class Program:
    """A forward pass.

    Args:
        ops: in order.
        output: name of the answer.
        shapes: of one row of each input.
        whole: why `vmap` runs the net as a whole; None where its parts have kernels.
    """

    ops: tuple[Op, ...]
    output: str
    shapes: Mapping[str, tuple[int, ...]]
    whole: str | None = None

    @cached_property
    def slots(self) -> dict[str, str]:
        """Where each value lies. What a product reads lies at a place named by the product, whoever writes it: nets
        that differ between their products then still share these. What nobody needs again is overwritten."""
        slots = {name: name for name in (*self.shapes, *(op.name for op in self.ops))} | {self.output: "answer"}
        readers = Counter(source for op in self.ops for source in op.sources)
        for op in reversed(self.ops):
            (source, *more) = op.sources
            if source in self.shapes or more:
                continue
            if op.is_product:
                slots[source] = f"{op.name}.input"
            elif readers[source] == 1 and source != self.output and op.may_overwrite(self.by_name[source]):
                slots[source] = slots[op.name]
        return slots

    @cached_property
    def by_name(self) -> dict[str, Op]:
        """Operations by what they give."""
        return {op.name: op for op in self.ops}

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of one row of a value."""
        return self.shapes[name] if name in self.shapes else self.by_name[name].shape

    def needs_grad(self, name: str) -> bool:
        """Whether a value depends on a parameter."""
        return name in self._trained

    @cached_property
    def _trained(self) -> frozenset[str]:
        found: set[str] = set()
        for op in self.ops:
            if op.params or found & set(op.sources):
                found.add(op.name)
        return frozenset(found)

    @cached_property
    def text(self) -> str:
        """The same for nets of the same structure, whatever their weights and dropout rates."""
        lines = [f"{op.name} = {op.text} of {op.sources} {op.shape} {op.params}" for op in self.ops]
        return "\n".join([str(self.shapes), *lines, self.output])


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


def lower(net: nn.Module, shape: DataShape, *, training: bool) -> Program:
    """Trace a net's forward pass and find the kernel of every layer and function; else make one kernel of it all.

    Args:
        net: any module.
        shape: the data's.
        training: whether branches on `self.training` are those of training.

    Raises:
        NotPackable: it uses what has no stacked kernel, and `vmap` cannot run it either.
    """
    _check_state(net)
    try:
        return _traced(net, shape, training)
    except NotPackable as first:
        try:
            return _whole(net, shape, training, str(first))
        except NotPackable as second:
            raise NotPackable(f"{first}; nor can `vmap` run it as a whole: {second}") from first


def _check_state(net: nn.Module) -> None:
    if frozen := [name for name, parameter in net.named_parameters() if not parameter.requires_grad]:
        raise NotPackable(f"parameter `{frozen[0]}` is not trained")
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    every = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    if tied := [name for name, _ in every if name not in own]:
        raise NotPackable(f"`{tied[0]}` has a second name")


_SERIAL = itertools.count()


def _whole(net: nn.Module, shape: DataShape, training: bool, reason: str) -> Program:
    """A program of one operation, which never shares its kernel.

    Inside of `vmap` the last bits depend on how many models there are and on a model's place among them, so it runs
    over the folds of one job, which are always together.
    """
    rows = example_rows(shape, "cpu")
    bind, out = vmapped(net, rows, training=training)
    given = {name: tuple(part.shape[1:]) for name, part in zip(INPUTS, rows, strict=False)}
    op = Op(
        name="net",
        sources=tuple(given),
        text=f"vmap {next(_SERIAL):09} {type(net).__name__}",
        shape=out,
        bind=bind,
        params={name: name for name, _ in net.named_parameters()},
        buffers={name: name for name, _ in net.named_buffers()},
    )
    return Program((op,), op.name, given, reason)


def _traced(net: nn.Module, shape: DataShape, training: bool) -> Program:
    inputs = example_rows(shape, "cpu")
    try:
        copied = copy.deepcopy(net).train(training)  # tracing leaves proxies in a net that assigns to itself
        given = (_GivenOne, _GivenTwo)[len(inputs) - 1](copied)
        graph = torch.fx.Tracer().trace(given)
        shapes = _shapes(given.eval(), graph, inputs)
    except Exception as error:  # a user's forward may raise anything at all on a proxy; lockstep shows what it is worth
        raise NotPackable(f"its forward pass cannot be traced: {type(error).__name__}: {error}") from error
    return _Lowering(net, shapes, training).program(graph)


class _Shapes(torch.fx.Interpreter):
    """Runs a graph and keeps what shape a row of each value has; parameters have none."""

    def run_all(self, inputs: tuple[Tensor, ...]) -> None:
        """As `run`, which would make a progress bar and a lock between processes for it."""
        self.args_iter = iter(inputs)
        for node in self.graph.nodes:
            self.env[node] = self.run_node(node)

    def run_node(self, n: torch.fx.Node) -> Any:
        found = super().run_node(n)
        if isinstance(found, Tensor) and n.op != "get_attr":
            n.meta["row"] = tuple(found.shape[1:])
        return found


def _shapes(net: nn.Module, graph: torch.fx.Graph, inputs: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    with torch.no_grad():
        _Shapes(net, graph=graph).run_all(inputs)
    return {node.name: node.meta["row"] for node in graph.nodes if "row" in node.meta}


class _Lowering:
    """One pass over a traced graph."""

    def __init__(self, net: nn.Module, shapes: Mapping[str, tuple[int, ...]], training: bool) -> None:
        self.net, self.shapes, self.training = net, shapes, training
        self.names: dict[str, str] = {}  # of a node: the value it stands for
        self.attributes: dict[str, str] = {}  # of a node: the parameter or buffer it stands for
        self.ops: list[Op] = []

    def program(self, graph: torch.fx.Graph) -> Program:
        """All operations; those that do nothing stand for what they get."""
        output = ""
        for node in graph.nodes:
            if node.op == "placeholder":
                self.names[node.name] = node.name
            elif node.op == "get_attr":
                self.attributes[node.name] = self._attribute(_plain(node))
            elif node.op == "output":
                if not isinstance(node.args[0], torch.fx.Node) or node.args[0].name not in self.names:
                    raise NotPackable("it answers with more than one tensor")
                output = self.names[node.args[0].name]
            else:
                self._operation(node)
        given = {name: self._row(name) for name in INPUTS if name in self.names}
        if output in given:
            raise NotPackable("it answers with what it is given")
        return Program(tuple(self.ops), output, given)

    def _operation(self, node: torch.fx.Node) -> None:
        if self._does_nothing(node):
            (source,) = node.all_input_nodes
            self.names[node.name] = self.names[source.name]
            return
        self.names[node.name] = _plain(node) if node.op == "call_module" else node.name
        if any(op.name == self.names[node.name] for op in self.ops):
            self.names[node.name] = node.name  # a layer that is called twice
        self.ops.append(self._layer(node) if node.op == "call_module" else self._function(node))

    def _does_nothing(self, node: torch.fx.Node) -> bool:
        layer = self.net.get_submodule(_plain(node)) if node.op == "call_module" else None
        if isinstance(layer, nn.Identity) or (isinstance(layer, nn.Dropout) and not (self.training and layer.p)):
            return True
        flattens = isinstance(layer, nn.Flatten) or node.target in (torch.flatten, "flatten")
        (source, *_) = node.all_input_nodes or (None,)
        same = source is not None and self.shapes.get(source.name) == self.shapes.get(node.name)
        return flattens and same and len(self._row(node.name)) == 1

    def _layer(self, node: torch.fx.Node) -> Op:
        name = _plain(node)
        layer = self.net.get_submodule(name)
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], torch.fx.Node):
            raise NotPackable(f"layer `{name}` must get one tensor")
        shape, out = self._row(node.args[0].name), self._row(node.name)
        return Op(
            name=self.names[node.name],
            sources=(self.names[node.args[0].name],),
            text="Dropout" if type(layer) is nn.Dropout else repr(layer),
            shape=out,
            bind=kernel_of(layer, name, shape, out),
            params={key: self._attribute(f"{name}.{key}") for key, _ in layer.named_parameters()},
            buffers={key: self._attribute(f"{name}.{key}") for key, _ in layer.named_buffers()},
            dropout=layer.p if type(layer) is nn.Dropout else None,
        )

    def _function(self, node: torch.fx.Node) -> Op:
        read = [used for used in node.all_input_nodes if used.name in self.names]
        if not read:
            raise NotPackable(f"`{node.name}` is computed from parameters alone")
        known = {used.name: self.attributes[used.name] for used in node.all_input_nodes if used not in read}
        trained = dict(self.net.named_parameters())
        shapes = {used.name: self._row(used.name) for used in read}
        integers = {used.name for used in read if self.names[used.name] == "codes"}
        return Op(
            name=node.name,
            sources=tuple(self.names[used.name] for used in read),
            text=f"{node.op} {node.target} {node.args} {node.kwargs}",
            shape=self._row(node.name),
            bind=bind_function(node, shapes, self._row(node.name), integers),
            params={key: name for key, name in known.items() if name in trained},
            buffers={key: name for key, name in known.items() if name not in trained},
            integer=bool(integers),
        )

    def _row(self, name: str) -> tuple[int, ...]:
        """The shape of one row of a node's value."""
        if name not in self.shapes:
            raise NotPackable(f"`{name}` in its forward pass is no tensor with a row for each of the batch")
        return self.shapes[name]

    def _attribute(self, name: str) -> str:
        if name in dict(self.net.named_parameters()) or name in dict(self.net.named_buffers()):
            return name
        raise NotPackable(f"`{name}` is a tensor that is neither parameter nor buffer")


def _plain(node: torch.fx.Node) -> str:
    """A node's target as the net itself names it."""
    return str(node.target).removeprefix("net").removeprefix(".")
