"""From a net to a program: each layer and function of its traced forward pass with its stacked kernel."""

import itertools
import operator
from collections.abc import Mapping
from typing import Any

import torch
import torch.fx
from torch import nn

from foldtune.errors import NotPackable
from foldtune.models.builder import example_rows
from foldtune.train.packed.kernels.elementwise import Dropout
from foldtune.train.packed.kernels.functions import bind_function
from foldtune.train.packed.kernels.layers import kernel_of
from foldtune.train.packed.kernels.recurrent import RECURRENT, Answer, Moment, Moments, bind_recurrent, weights_of
from foldtune.train.packed.kernels.vmapped import vmapped
from foldtune.train.packed.program import Op, Program
from foldtune.train.packed.tracing import INPUTS, Traced, trace
from foldtune.values import DataShape

_SERIAL = itertools.count()
"""Of programs that run a whole net: no two are alike."""


def lower(net: nn.Module, shape: DataShape) -> tuple[Program, Program]:
    """Trace a net's forward pass and find the kernel of every layer and function; else make one kernel of it all.

    Args:
        net: any module.
        shape: the data's.

    Returns:
        What it computes in training, and what it answers outside of it.

    Raises:
        NotPackable: it uses what has no stacked kernel, and `vmap` cannot run it either.
    """
    _check_state(net)
    try:
        both = trace(net, shape, None)
    except NotPackable:  # it asks whether it is in training, or cannot be traced at all
        both = None
    return _lowered(net, shape, True, both), _lowered(net, shape, False, both)


def _lowered(net: nn.Module, shape: DataShape, training: bool, traced: Traced | None) -> Program:
    try:
        return _Lowering(net, training).program(traced or trace(net, shape, training))
    except NotPackable as first:
        try:
            return _whole(net, shape, training, str(first))
        except NotPackable as second:
            same = str(first) == str(second)
            raise NotPackable(str(first) if same else f"{first}; nor can `vmap` run it as a whole: {second}") from first


def _check_state(net: nn.Module) -> None:
    if frozen := [name for name, parameter in net.named_parameters() if not parameter.requires_grad]:
        raise NotPackable(f"parameter `{frozen[0]}` is not trained")
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    every = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    if tied := [name for name, _ in every if name not in own]:
        raise NotPackable(f"`{tied[0]}` has a second name")


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


class _Lowering:
    """One pass over a traced graph."""

    def __init__(self, net: nn.Module, training: bool) -> None:
        self.net, self.training = net, training
        self.params, self.buffers = dict(net.named_parameters()), dict(net.named_buffers())
        self.shapes: Mapping[str, tuple[int, ...]] = {}
        self.names: dict[str, str] = {}  # of a node: the value it stands for
        self.attributes: dict[str, str] = {}  # of a node: the parameter or buffer it stands for
        self.answers: dict[str, Answer] = {}  # of a node: what it stands for of a recurrent layer's answer
        self.refused: dict[str, NotPackable] = {}  # of a node: why it has no kernel
        self.ops: list[Op] = []

    def program(self, traced: Traced) -> Program:
        """All operations; those that do nothing stand for what they get."""
        output, self.shapes = "", traced.shapes
        for node in traced.graph.nodes:
            if node.op == "placeholder":
                self.names[node.name] = node.name
            elif node.op == "get_attr":
                self.attributes[node.name] = self._attribute(_plain(node))
            elif node.op == "output":
                if not isinstance(node.args[0], torch.fx.Node) or node.args[0].name in self.answers:
                    raise NotPackable("it answers with more than one tensor")
                output = self._value(node.args[0])
            else:
                self._try(node)
        given = {name: self._row(name) for name in INPUTS if name in self.names}
        if output in given:
            raise NotPackable("it answers with what it is given")
        return Program(self._needed(output), output, given)

    def _needed(self, output: str) -> tuple[Op, ...]:
        """What the answer depends on; nobody writes gradients for the rest."""
        read, needed = {output}, []
        for op in reversed(self.ops):
            if op.name in read:
                needed.append(op)
                read |= set(op.sources)
        return tuple(reversed(needed))

    def _try(self, node: torch.fx.Node) -> None:
        """A node without a kernel matters only if something reads it."""
        try:
            self._operation(node)
        except NotPackable as reason:
            self.refused[node.name] = reason

    def _operation(self, node: torch.fx.Node) -> None:
        if self._does_nothing(node):
            (source,) = node.all_input_nodes
            self.names[node.name] = self._value(source)
            return
        if node.op == "call_module" and type(self.net.get_submodule(_plain(node))) in RECURRENT:
            self._recurrent(node)
        elif isinstance(found := self._taken(node), Answer):
            self._part(node, found)
        elif isinstance(found, Moment):
            self._moments(node, found.value, found.steps, found.time, found.numbers)
        else:
            self._add(node, self._layer(node) if node.op == "call_module" else self._function(node))

    def _add(self, node: torch.fx.Node, op: Op) -> None:
        self.ops.append(op)
        self.names[node.name] = op.name

    def _own_name(self, node: torch.fx.Node) -> str:
        """A layer's path in the net, or the node's name where it is called once more."""
        name = _plain(node)
        return node.name if any(op.name == name or op.name.startswith(f"{name}.layer") for op in self.ops) else name

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
        source, *more = node.args
        if not isinstance(source, torch.fx.Node) or more or node.kwargs:
            raise NotPackable(f"layer `{name}` must get one tensor")
        value, shape, out = self._value(source), self._row(source.name), self._row(node.name)
        return Op(
            name=self._own_name(node),
            sources=(value,),
            text="Dropout" if type(layer) is nn.Dropout else repr(layer),
            shape=out,
            bind=kernel_of(layer, name, shape, out),
            params={key: self._attribute(f"{name}.{key}") for key, _ in layer.named_parameters()},
            buffers={key: self._attribute(f"{name}.{key}") for key, _ in layer.named_buffers()},
            dropout=layer.p if type(layer) is nn.Dropout else None,
        )

    def _recurrent(self, node: torch.fx.Node) -> None:
        """One operation for each of its layers; what it answers is no value."""
        name, own, (source, *states) = _plain(node), self._own_name(node), node.args
        if not isinstance(source, torch.fx.Node) or not all(map(_is_zeros, states)) or node.kwargs:
            raise NotPackable(f"layer `{name}` must get one tensor, and start at zero")
        module: Any = self.net.get_submodule(name)
        value, shape = self._value(source), self._row(source.name)
        bind, values = bind_recurrent(module, name, shape), []
        out = (shape[0] * module.hidden_size * (1 + module.bidirectional),)
        for index in range(module.num_layers):
            text = f"{module.mode}({module.hidden_size}) of {shape[0]} steps"
            params = {key: f"{name}.{theirs}" for key, theirs in weights_of(module, index).items()}
            self.ops.append(Op(f"{own}.layer{index}", (value,), text, out, bind, params))
            value = f"{own}.layer{index}"
            values.append(value)
            if self.training and module.dropout:  # nobody reads that of the last
                rate = Op(f"{value}.dropout", (value,), "Dropout", out, Dropout, dropout=module.dropout)
                self.ops.append(rate)
                value = rate.name
        self.answers[node.name] = Answer(module, tuple(values), shape[0])

    def _taken(self, node: torch.fx.Node) -> "Answer | Moment | None":
        """What a node takes of a recurrent layer's answer."""
        source, *given = (*node.args, *node.kwargs.values()) or (None,)
        answer = self.answers.get(source.name) if isinstance(source, torch.fx.Node) else None
        if answer is None or len(given) != 1:
            return None
        if node.target in (torch.squeeze, "squeeze"):
            return answer.squeeze(given[0])
        return answer.take(given[0]) if node.target is operator.getitem else None

    def _part(self, node: torch.fx.Node, answer: Answer) -> None:
        """All steps of a sequence are a value only if something reads more than one of them."""
        self.answers[node.name] = answer
        if answer.part == "output" and any(self._taken(user) is None for user in node.users):
            self._moments(node, answer.values[-1], answer.steps, slice(None), slice(None))

    def _moments(self, node: torch.fx.Node, value: str, steps: int, times: slice, numbers: slice) -> None:
        text = f"Moments {times} {numbers} of {steps}"
        out = self._row(node.name)
        self._add(node, Op(node.name, (value,), text, out, lambda place: Moments(place, steps, times, numbers)))

    def _function(self, node: torch.fx.Node) -> Op:
        read = [used for used in node.all_input_nodes if used.name not in self.attributes]
        if not read:
            raise NotPackable(f"`{node.name}` is computed from parameters alone")
        sources = tuple(self._value(used) for used in read)
        known = {used.name: self.attributes[used.name] for used in node.all_input_nodes if used not in read}
        shapes = {used.name: self._row(used.name) for used in read}
        integers = {used.name for used, value in zip(read, sources, strict=True) if value == "codes"}
        return Op(
            name=node.name,
            sources=sources,
            text=f"{node.op} {node.target} {node.args} {node.kwargs}",
            shape=self._row(node.name),
            bind=bind_function(node, shapes, self._row(node.name), integers),
            params={key: name for key, name in known.items() if name in self.params},
            buffers={key: name for key, name in known.items() if name not in self.params},
            integer=bool(integers),
        )

    def _value(self, node: torch.fx.Node) -> str:
        """The value that a node stands for."""
        if node.name in self.refused:
            raise self.refused[node.name]
        if node.name in self.answers and node.name not in self.names:
            raise NotPackable("of a recurrent layer, only `output` and parts of `h_n` such as `h_n[-1]` can be used")
        if node.name not in self.names:
            raise NotPackable(f"`{node.name}` is computed from parameters alone")
        return self.names[node.name]

    def _row(self, name: str) -> tuple[int, ...]:
        """The shape of one row of a node's value."""
        if name not in self.shapes:
            raise NotPackable(f"`{name}` in its forward pass is no tensor with a row for each of the batch")
        return self.shapes[name]

    def _attribute(self, name: str) -> str:
        if name in self.params or name in self.buffers:
            return name
        raise NotPackable(f"`{name}` is a tensor that is neither parameter nor buffer")


def _is_zeros(given: Any) -> bool:
    """Whether it is made of zeros, as users write the state that a recurrent layer starts with."""
    if isinstance(given, tuple | list):
        return all(map(_is_zeros, given))
    if isinstance(given, torch.fx.Node) and given.target == "to":
        return _is_zeros(given.args[0])
    return isinstance(given, torch.fx.Node) and given.target in (torch.zeros, torch.zeros_like, "new_zeros")


def _plain(node: torch.fx.Node) -> str:
    """A node's target as the net itself names it."""
    return str(node.target).removeprefix("net").removeprefix(".")
