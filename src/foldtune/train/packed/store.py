"""The state of M models: parameters, what update rules remember of them, and buffers, each stacked by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
        moments: what an update rule keeps of each parameter; two of the same form.
        buffers: {name: (m, *shape)}.
    """

    params: Named
    moments: tuple[Named, Named]
    buffers: Named

    def state_dict(self) -> dict[str, object]:
        """Plain tensors."""
        return {"params": dict(self.params), "moments": [dict(part) for part in self.moments], **self._rest()}

    def _rest(self) -> dict[str, object]:
        return {"buffers": dict(self.buffers)}


def state_of(nets: Sequence[nn.Module], dtype: torch.dtype, device: str) -> State:
    """Copies of the nets' parameters and buffers, no step taken yet."""
    params = _stacked([dict(net.named_parameters()) for net in nets], dtype, device)
    buffers = _stacked([dict(net.named_buffers()) for net in nets], dtype, device)
    zeros = [{name: torch.zeros_like(param) for name, param in params.items()} for _ in range(2)]
    return State(params, (zeros[0], zeros[1]), buffers)


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


def memory_of(values: Tensor) -> Memory:
    """A padded copy of (m, *shape)."""
    models, size = len(values), values[0].numel()
    flat = values.new_zeros(models, size + -size % LANES)
    view = flat[:, :size].view(values.shape)
    view.copy_(values)
    return Memory(flat, view)


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
        params = _joined(states, lambda state: state.params)
        first, second = (_joined(states, partial(_moments, index)) for index in (0, 1))
        self.blocks: list[Block] = []
        for key, values in params.items():
            moments = (memory_of(first[key]), memory_of(second[key]))
            self.blocks.append(Block(*key, memory_of(values), memory_of(torch.zeros_like(values)), moments))
        self.buffers = _joined(states, lambda state: state.buffers)
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
        """Models of one structure, copied."""
        params, buffers = self.names[start]
        blocks = {name: self._block(name, start, stop) for name in params}

        def of(memory: Callable[[Block], Memory]) -> dict[str, Tensor]:
            return {n: memory(b).view[start - b.start : stop - b.start].clone() for n, b in blocks.items()}

        moments = of(lambda block: block.moments[0]), of(lambda block: block.moments[1])
        copies = {name: self.buffer(name, start, stop).clone() for name in buffers}
        return State(of(lambda block: block.param), moments, copies)

    def _block(self, name: str, start: int, stop: int) -> Block:
        return next(b for b in self.blocks if b.name == name and b.start <= start and stop <= b.stop)


Key = tuple[str, int, int]
"""A name, the first model, and the first after the last."""


def _moments(index: int, state: State) -> Named:
    return state.moments[index]


def _models(state: State) -> int:
    return len(next(iter((*state.params.values(), *state.buffers.values()))))


def _joined(states: Sequence[State], part: Callable[[State], Named]) -> dict[Key, Tensor]:
    """Every tensor of models side by side that have it in one shape."""
    names = dict.fromkeys(name for state in states for name in part(state))
    return {key: values for name in names for key, values in _runs(states, part, name)}


def _runs(states: Sequence[State], part: Callable[[State], Named], name: str) -> Iterator[tuple[Key, Tensor]]:
    start = 0
    forms = [part(state)[name].shape[1:] if name in part(state) else None for state in states]
    for form, pairs in groupby(zip(forms, states, strict=True), key=lambda pair: pair[0]):
        members = [state for _, state in pairs]
        stop = start + sum(_models(state) for state in members)
        if form is not None:
            yield (name, start, stop), torch.cat([part(state)[name] for state in members])
        start = stop
