"""The state of M models: parameters, what update rules remember of them, and buffers, each stacked by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from foldtune.train.packed.buffers import LANES
from foldtune.train.states import check_tensors

T = TypeVar("T")

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class State:
    """A few models of one structure.

    Args:
        params: {name: (m, *shape)}.
        moments: what an update rule keeps of each parameter, two of the same form; empty before the first step.
        buffers: {name: (m, *shape)}.
    """

    params: Named
    moments: tuple[Named, Named]
    buffers: Named

    @cached_property
    def models(self) -> int:
        """How many."""
        return len(next(iter((*self.params.values(), *self.buffers.values()))))

    def state_dict(self) -> dict[str, object]:
        """Copies on the processor."""
        params, first, second, buffers = (
            {name: values.to("cpu", copy=True) for name, values in part.items()}
            for part in (self.params, *self.moments, self.buffers)
        )
        return {"params": params, "moments": [first, second], "buffers": buffers}

    def going_on(self, state: Mapping[str, Any]) -> "State":
        """These models as they are in a `state_dict`.

        Raises:
            CheckpointError: it has other names, shapes or types.
        """
        first, second = state["moments"]
        parts = {"params": state["params"], "first": first, "second": second, "buffers": state["buffers"]}
        for part, found in parts.items():
            check_tensors(self.buffers if part == "buffers" else self.params, found, part)
        params, first, second, buffers = (
            {name: found[name].to(own.device) for name, own in like.items()}
            for like, found in zip((self.params,) * 3 + (self.buffers,), parts.values(), strict=True)
        )
        return State(params, (first, second), buffers)


def state_of(nets: Sequence[nn.Module], dtype: torch.dtype, device: str) -> State:
    """Copies of the nets' parameters and buffers, no step taken yet."""
    params = _stacked([dict(net.named_parameters()) for net in nets], dtype, device)
    buffers = _stacked([dict(net.named_buffers()) for net in nets], dtype, device)
    return State(params, ({}, {}), buffers)


def _stacked(each: Sequence[Mapping[str, Tensor]], dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    stacked = {name: torch.stack([named[name].detach() for named in each]) for name in each[0]}
    return {k: v.to(device, dtype if v.is_floating_point() else v.dtype) for k, v in stacked.items()}


@dataclass(frozen=True)
class Memory:
    """Numbers of the models from `start` to `stop`, padded so that each model's begin at a multiple of LANES.

    Args:
        flat: (m, slab).
        view: (m, *shape).
    """

    flat: Tensor
    view: Tensor


def zeros(models: int, like: Tensor) -> Memory:
    """Zeros for models of which `like` is one parameter, (m', *shape)."""
    size = prod(like.shape[1:])
    flat = like.new_zeros(models, size + -size % LANES)
    return Memory(flat, flat[:, :size].view(models, *like.shape[1:]))


@dataclass(frozen=True)
class Block:
    """One parameter of models that stand side by side.

    Args:
        name: the parameter's.
        start: the first model.
        stop: the first model after them.
        param: its values.
        grad: their gradients, overwritten by every step.
        moments: what the update rule keeps.
    """

    name: str
    start: int
    stop: int
    param: Memory
    grad: Memory
    moments: tuple[Memory, Memory]


class Store:
    """The state of all models of a stack.

    Args:
        states: of the models in order.
    """

    def __init__(self, states: Sequence[State]) -> None:
        self.blocks = [_block(run) for run in _runs(states, lambda state: state.params)]
        self._blocks = _by_name((block.name, block) for block in self.blocks)
        self._buffers = _by_name(
            (run.name, (run.start, run.stop, torch.cat([state.buffers[run.name] for state in run.states])))
            for run in _runs(states, lambda state: state.buffers)
        )
        self.names = [(tuple(state.params), tuple(state.buffers)) for state in states for _ in range(state.models)]

    def param(self, name: str, start: int, stop: int) -> Tensor:
        """One parameter of models side by side, (m, *shape)."""
        block = self._block(name, start, stop)
        return block.param.view[start - block.start : stop - block.start]

    def grad(self, name: str, start: int, stop: int) -> Tensor:
        """The place of its gradient."""
        block = self._block(name, start, stop)
        return block.grad.view[start - block.start : stop - block.start]

    def buffer(self, name: str, start: int, stop: int) -> Tensor:
        """One buffer likewise."""
        first, _, values = next(each for each in self._buffers[name] if each[0] <= start and stop <= each[1])
        return values[start - first : stop - first]

    def take(self, start: int, stop: int) -> State:
        """Models of one structure, where they are."""
        params, buffers = self.names[start]
        blocks = {name: self._block(name, start, stop) for name in params}

        def of(memory: Callable[[Block], Memory]) -> dict[str, Tensor]:
            return {name: memory(b).view[start - b.start : stop - b.start] for name, b in blocks.items()}

        moments = of(lambda block: block.moments[0]), of(lambda block: block.moments[1])
        return State(of(lambda block: block.param), moments, {n: self.buffer(n, start, stop) for n in buffers})

    def _block(self, name: str, start: int, stop: int) -> Block:
        return next(block for block in self._blocks[name] if block.start <= start and stop <= block.stop)


@dataclass(frozen=True)
class _Run:
    """Models side by side that have a tensor of one name in one shape."""

    name: str
    start: int
    stop: int
    states: list[State]


def _block(run: _Run) -> Block:
    """Memory for one parameter, filled from where it was."""
    like = run.states[0].params[run.name]
    param, grad, first, second = (zeros(run.stop - run.start, like) for _ in range(4))
    row = 0
    for state in run.states:
        for source, memory in zip((state.params, *state.moments), (param, first, second), strict=True):
            if run.name in source:
                memory.view[row : row + state.models] = source[run.name]
        row += state.models
    return Block(run.name, run.start, run.stop, param, grad, (first, second))


def _by_name(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _runs(states: Sequence[State], part: Callable[[State], Named]) -> Iterator[_Run]:
    """Every tensor of neighbours that have it in one shape."""
    for name in dict.fromkeys(name for state in states for name in part(state)):
        start = 0
        forms = [part(state)[name].shape[1:] if name in part(state) else None for state in states]
        for form, pairs in groupby(zip(forms, states, strict=True), key=lambda pair: pair[0]):
            members = [state for _, state in pairs]
            stop = start + sum(state.models for state in members)
            if form is not None:
                yield _Run(name, start, stop, members)
            start = stop
