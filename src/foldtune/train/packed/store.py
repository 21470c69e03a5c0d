"""The state of M models: parameters, what update rules remember of them, and buffers, each stacked by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from foldtune.train.packed.buffers import LANES

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

    def state_dict(self) -> dict[str, object]:
        """Plain tensors, copied."""
        params, first, second, buffers = (
            {name: values.clone() for name, values in part.items()}
            for part in (self.params, *self.moments, self.buffers)
        )
        return {"params": params, "moments": [first, second], "buffers": buffers}


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
    size = like[0].numel()
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
        self.buffers = {
            (run.name, run.start, run.stop): torch.cat([state.buffers[run.name] for state in run.states])
            for run in _runs(states, lambda state: state.buffers)
        }
        self.names = [(tuple(state.params), tuple(state.buffers)) for state in states for _ in range(_models(state))]

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
        (first, values), *_ = (
            (begin, values)
            for (key, begin, end), values in self.buffers.items()
            if key == name and begin <= start and stop <= end
        )
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
        return next(b for b in self.blocks if b.name == name and b.start <= start and stop <= b.stop)


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
    for part, memory in ((0, first), (1, second), (None, param)):
        row = 0
        for state in run.states:
            source = state.params if part is None else state.moments[part]
            if run.name in source:
                memory.view[row : row + _models(state)] = source[run.name]
            row += _models(state)
    return Block(run.name, run.start, run.stop, param, grad, (first, second))


def _models(state: State) -> int:
    return len(next(iter((*state.params.values(), *state.buffers.values()))))


def _runs(states: Sequence[State], part: Callable[[State], Named]) -> Iterator[_Run]:
    """Every tensor of neighbours that have it in one shape."""
    for name in dict.fromkeys(name for state in states for name in part(state)):
        start = 0
        forms = [part(state)[name].shape[1:] if name in part(state) else None for state in states]
        for form, pairs in groupby(zip(forms, states, strict=True), key=lambda pair: pair[0]):
            members = [state for _, state in pairs]
            stop = start + sum(map(_models, members))
            if form is not None:
                yield _Run(name, start, stop, members)
            start = stop
