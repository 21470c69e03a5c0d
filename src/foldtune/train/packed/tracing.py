"""From a net to a graph: its forward pass, traced once, with the shape of every value."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.models.builder import example_rows
from foldtune.train.packed.unchanged import unchanged
from foldtune.values import DataShape

INPUTS = ("numeric", "codes")
"""What a net may be given: the names of its inputs in a graph, in order."""


@dataclass(frozen=True)
class Traced:
    """A forward pass.

    Args:
        graph: its operations.
        shapes: of one row of every value that is no parameter.
    """

    graph: torch.fx.Graph
    shapes: Mapping[str, tuple[int, ...]]


def trace(net: nn.Module, shape: DataShape, training: bool | None) -> Traced:
    """Trace a copy, for tracing leaves proxies in a net that assigns to itself.

    A net that does is refused before anything runs: what a proxy answers is written into the graph that is walked.

    Args:
        net: the net.
        shape: the data's.
        training: whether it is in training; None for a pass that is the same in both cases, and must not ask.

    Raises:
        NotPackable: it cannot be traced.
    """
    inputs = example_rows(shape, "cpu")
    try:
        copied = copy.deepcopy(net, {id(part): part for part in net.parameters()})
        copied.train(training is not False)
        for module in copied.modules() if training is None else ():
            del module.training
        given = (_GivenOne, _GivenTwo)[len(inputs) - 1](copied)
        with unchanged(copied):
            graph = torch.fx.Tracer().trace(given)
        return Traced(graph, _shapes(given.eval(), graph, inputs))
    except NotPackable:
        raise
    except Exception as error:  # a user's forward may raise anything at all on a proxy; lockstep shows what it is worth
        raise NotPackable(f"its forward pass cannot be traced: {type(error).__name__}: {error}") from error


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
