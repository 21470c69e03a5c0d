"""Recurrent layers: loops over time by hand, with all models side by side in every step.

What a step reads, `(x_t, h_t-1, 1)`, lies in one piece of memory. One product with the weights and biases gives all
gates; backward, one gives the gradients of `x_t` and `h_t-1`, and one is added to those of weights and biases.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.buffers import Buffer
from foldtune.train.packed.kernel import Bind, Place
from foldtune.train.packed.kernels.cells import GRU, LSTM, Cell, Grads, Plain, Steps, around, memory
from foldtune.train.packed.kernels.elementwise import FUNCTIONS

RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Gates:
    """Products of a step that lie side by side in torch's own weights.

    Args:
        first: where torch has them, in units of H.
        count: how many.
        of_x: whether they depend on `x_t`.
        of_h: whether they depend on `h_t-1`.
    """

    first: int
    count: int = 1
    of_x: bool = True
    of_h: bool = True


@dataclass(frozen=True)
class Kind:
    """What a recurrent layer computes.

    Args:
        gates: in the order in which its cell wants them.
        cell: makes its cell.
    """

    gates: tuple[Gates, ...]
    cell: Callable[[Steps, Grads | None], Cell]

    @property
    def count(self) -> int:
        """G."""
        return sum(gates.count for gates in self.gates)


KINDS: Mapping[str, Kind] = {
    "RNN_TANH": Kind((Gates(0),), partial(Plain, FUNCTIONS[nn.Tanh](nn.Tanh()))),
    "RNN_RELU": Kind((Gates(0),), partial(Plain, FUNCTIONS[nn.ReLU](nn.ReLU()))),
    "LSTM": Kind((Gates(3), Gates(0, 3)), LSTM),
    "GRU": Kind((Gates(2, of_x=False), Gates(0, 2), Gates(2, of_h=False)), GRU),
}
"""By torch's own names."""


def bind_recurrent(layer: nn.RNNBase, name: str, shape: Sequence[int]) -> Bind:
    """The kernel of each of its layers.

    Args:
        layer: `torch.nn.RNN`, `LSTM` or `GRU`.
        name: its path in the net, for messages.
        shape: of one row that it gets.

    Raises:
        NotPackable: the batch is not what comes first, or it has `proj_size`.
    """
    if not layer.batch_first or len(shape) != 2:
        raise NotPackable(f"`{type(layer).__name__}` (at `{name}`) must get (B, T, F), with `batch_first: true`")
    if layer.proj_size:
        raise NotPackable(f"`{type(layer).__name__}` (at `{name}`) has no stacked kernel with `proj_size`")
    kind, steps = KINDS[layer.mode], shape[0]
    return lambda place: Recurrent(place, kind, steps)


def weights_of(layer: nn.RNNBase, index: int) -> dict[str, str]:
    """Names of the parameters of one of its layers: the kernel's, and torch's."""
    ends = ("", "_reverse") if layer.bidirectional else ("",)
    names = WEIGHTS if layer.bias else WEIGHTS[:2]
    return {f"{name}{end}": f"{name}_l{index}{end}" for end in ends for name in names}


class Recurrent:
    """One layer, in one direction or both: rows (T, F) or (T * F,) -> rows (T * D * H,).

    Args:
        place: where it works; parameters are named as in torch, without the number of the layer.
        kind: what it computes.
        steps: T.
    """

    def __init__(self, place: Place, kind: Kind, steps: int) -> None:
        ends = [end for end in ("", "_reverse") if f"weight_hh{end}" in place.params]
        self.ways = [_Way(place, kind, steps, end) for end in ends]

    def forward(self) -> None:
        for way in self.ways:
            way.forward()

    def backward(self) -> None:
        for way in self.ways:
            way.backward()


class _Way:
    """One direction.

    Args:
        place: where its layer works.
        kind: what it computes.
        steps: T.
        end: of the names of its parameters.
    """

    def __init__(self, place: Place, kind: Kind, steps: int, end: str) -> None:
        self.reverse, self.order = bool(end), range(steps)[::-1] if end else range(steps)
        self.weights = _Weights(_of_direction(place.params, end), kind.gates)
        hidden, features = self.weights.hidden, self.weights.features
        self.x, self.out = moments(place.inputs[0], steps), self._half(moments(place.output, steps), hidden)
        models, *_, batch = self.x.shape
        reads = memory(models, (steps + 1, features + hidden + 1, batch), self.x)
        reads[:, :, -1] = 1
        before, after = around(reads, reverse=self.reverse)
        self.given, self.states = before[:, :, :features], after[:, :, features:-1]
        gates = memory(models, (steps, kind.count, hidden, batch), self.x)
        self.reads, self.products = before.unbind(1), gates.flatten(2, 3).unbind(1)
        grads = self._bind_backward(place, steps, kind, end) if place.training else None
        self.cell = kind.cell(Steps(gates, before[:, :, features:-1], self.states, reverse=self.reverse), grads)

    def forward(self) -> None:
        self.weights.gather()
        self.given.copy_(self.x)
        for step in self.order:
            torch.bmm(self.weights.matrix, self.reads[step], out=self.products[step])
            self.cell.forward(step)
        self.out.copy_(self.states)

    def backward(self) -> None:
        self.grad_reads.zero_()
        self.grad_states.copy_(self.grad)
        self.grads.matrix.zero_()
        for step in reversed(self.order):
            self.cell.backward(step)
            self.grad_before[step].baddbmm_(self.transposed, self.grad_products)
            self.grads.matrix.baddbmm_(self.grad_products, self.rows[step])
        self.grads.scatter()
        if self.grad_x is not None:
            self.grad_x.add_(self.grad_given) if self.reverse else self.grad_x.copy_(self.grad_given)

    def _bind_backward(self, place: Place, steps: int, kind: Kind, end: str) -> Grads:
        (target,), (models, *_, batch) = place.grad_inputs, self.x.shape
        hidden, features = self.weights.hidden, self.weights.features
        first = features if target is None else 0  # without a gradient of `x_t`
        self.grad = self._half(moments(place.grad, steps), hidden)
        self.grad_x = None if target is None else moments(target, steps)
        self.grads = _Weights(_of_direction(place.grads, end), kind.gates)
        self.grad_reads = memory(models, (steps + 1, features + hidden - first, batch), self.x)
        before, after = around(self.grad_reads, reverse=self.reverse)
        self.grad_given, self.grad_states = before[:, :, :features], after[:, :, features - first :]
        self.transposed = self.weights.matrix[:, :, first:-1].mT
        self.rows, self.grad_before = [read.mT for read in self.reads], before.unbind(1)
        gates = memory(models, (kind.count, hidden, batch), self.x)
        self.grad_products = gates.flatten(1, 2)
        return Grads(gates, before[:, :, features - first :], self.grad_states)

    def _half(self, values: Tensor, hidden: int) -> Tensor:  # (m, T, D * H, B) -> (m, T, H, B)
        """What is this direction's."""
        return values[:, :, -hidden:] if self.reverse else values[:, :, :hidden]


class _Weights:
    """Parameters of one direction, or their gradients, as one matrix (m, G * H, F + H + 1).

    Args:
        named: them by name.
        gates: in the order of the matrix.
    """

    def __init__(self, named: Mapping[str, Tensor], gates: Sequence[Gates]) -> None:
        models, _, self.features = named["weight_ih"].shape
        self.hidden = named["weight_hh"].shape[2]
        height = self.hidden * sum(part.count for part in gates)
        self.matrix = memory(models, (height, self.features + self.hidden + 1), named["weight_ih"])
        self.parts = list(self._parts(named, gates))

    def gather(self) -> None:
        """From the parameters to the matrix; both biases are one."""
        self.matrix.zero_()
        for part, tensor in self.parts:
            part.add_(tensor)

    def scatter(self) -> None:
        """From the matrix of gradients to those of the parameters."""
        for part, tensor in self.parts:
            tensor.copy_(part)

    def _parts(self, named: Mapping[str, Tensor], gates: Sequence[Gates]) -> Iterator[tuple[Tensor, Tensor]]:
        columns = {"ih": slice(self.features), "hh": slice(self.features, -1)}
        last = 0
        for part in gates:
            first, last = last, last + part.count * self.hidden
            theirs = slice(part.first * self.hidden, (part.first + part.count) * self.hidden)
            for name, tensor in named.items():
                kind, _, of = name.partition("_")
                if part.of_x if of == "ih" else part.of_h:
                    yield self.matrix[:, first:last, columns[of] if kind == "weight" else -1], tensor[:, theirs]


class Moments:
    """Some steps of a sequence, and some of their numbers: rows (T * C,) -> rows (T', C'), or (C',) of one step.

    Args:
        place: where it works.
        steps: T.
        times: which of the steps.
        numbers: which numbers of each.
    """

    def __init__(self, place: Place, steps: int, times: slice, numbers: slice) -> None:
        (source,) = place.inputs
        self.x = moments(source, steps)[:, times, numbers]
        self.out, self.whole = moments(place.output, self.x.shape[1]), None
        if place.training:
            (self.whole,), self.grad = place.grad_inputs, moments(place.grad, self.x.shape[1])
        if self.whole is not None:
            self.grad_x = moments(self.whole, steps)[:, times, numbers]

    def forward(self) -> None:
        self.out.copy_(self.x)

    def backward(self) -> None:
        if self.whole is not None:
            self.whole.flat.zero_()
            self.grad_x.copy_(self.grad)


@dataclass(frozen=True)
class Moment:
    """One step of what one layer gives.

    Args:
        value: the name of what it gives.
        steps: T.
        time: the step.
        numbers: which of its numbers.
    """

    value: str
    steps: int
    time: slice
    numbers: slice


@dataclass(frozen=True)
class Answer:
    """What a recurrent module answers in a trace, or a part of that: no value by itself.

    Args:
        module: of one layer or more.
        values: names of what each layer gives, rows (T * D * H,).
        steps: T.
        part: "answer", or which of its parts: "output", "state" (a pair in an LSTM), "h_n" or "c_n".
    """

    module: nn.RNNBase
    values: tuple[str, ...]
    steps: int
    part: str = "answer"

    def take(self, index: object) -> "Answer | Moment | None":
        """What indexing gives; None where that is no part and no single step."""
        state = "state" if self.module.mode == "LSTM" else "h_n"
        names = {"answer": ("output", state), "state": ("h_n", "c_n")}.get(self.part)
        if names is not None:
            return replace(self, part=names[index]) if isinstance(index, int) else None
        if self.part == "output" and (step := _number_in(index, 1)) is not None:
            return self._moment(-1, range(self.steps)[step], slice(None))
        if self.part == "h_n" and (number := _number_in(index, 0)) is not None:
            return self._end(number)
        return None

    def squeeze(self, dim: object) -> "Moment | None":
        """What `squeeze` gives: of a single layer in one direction, its `h_n`."""
        single = self.part == "h_n" and len(self.values) == 1 and not self.module.bidirectional
        return self._end(0) if single and dim == 0 else None

    def _end(self, number: int) -> Moment:
        """Where one of the directions of one of the layers ends."""
        ways, hidden = 1 + self.module.bidirectional, self.module.hidden_size
        layer, way = divmod(range(len(self.values) * ways)[number], ways)
        return self._moment(layer, 0 if way else self.steps - 1, slice(way * hidden, (way + 1) * hidden))

    def _moment(self, layer: int, step: int, numbers: slice) -> Moment:
        return Moment(self.values[layer], self.steps, slice(step, step + 1), numbers)


def _number_in(index: object, position: int) -> int | None:
    """The only number in an index, at a position; all of the other dimensions is taken."""
    parts = list(index) if isinstance(index, tuple) else [index]
    number = parts.pop(position) if len(parts) > position else None
    return number if isinstance(number, int) and all(part == slice(None) for part in parts) else None


def moments(value: Buffer, steps: int) -> Tensor:  # (m, T, C, B), a view
    """A sequence, whether its rows are (T, C) or (T * C,)."""
    models, batch = value.rows.shape[:2]
    return value.cols.view(models, steps, -1, batch) if value.columns else value.rows.permute(0, 2, 3, 1)


def _of_direction(named: Mapping[str, Tensor], end: str) -> dict[str, Tensor]:
    """Parameters by their names without it."""
    return {name: named[name + end] for name in WEIGHTS if name + end in named}
