"""The kernels of a stack in the order in which a step calls them.

Models stand side by side. Where neighbours have the same operation, one kernel computes it for all of them; what
differs (an activation, a norm, a width, the depth) is a kernel on fewer rows. A model's numbers are the same in any
company.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import groupby

import torch
from torch import Tensor

from foldtune.train.packed.buffers import Buffer, Pool, buffer
from foldtune.train.packed.kernel import Kernel, Place
from foldtune.train.packed.masks import Masks
from foldtune.train.packed.program import Op, Program
from foldtune.train.packed.store import Store


@dataclass(frozen=True)
class Group:
    """Models of one structure, side by side.

    Args:
        program: their forward pass.
        start: the first model.
        stop: the first model after them.
    """

    program: Program
    start: int
    stop: int


@dataclass(frozen=True)
class Span:
    """A place that neighbours share.

    Args:
        start: the first model.
        stop: the first model after them.
        value: their numbers.
        grad: the place of their gradients, in training.
    """

    start: int
    stop: int
    value: Buffer
    grad: Buffer | None

    def take(self, start: int, stop: int) -> "Span":
        """Some of the models."""
        if (start, stop) == (self.start, self.stop):
            return self
        first, last = start - self.start, stop - self.start
        return Span(start, stop, self.value.take(first, last), self.grad.take(first, last) if self.grad else None)


@dataclass(frozen=True)
class _Adding:
    """A kernel whose gradients are added to what others have written."""

    kernel: Kernel
    sums: tuple[tuple[Tensor, Tensor], ...]  # (total, own part)

    def forward(self) -> None:
        self.kernel.forward()

    def backward(self) -> None:
        self.kernel.backward()
        for total, part in self.sums:
            total.add_(part)


@dataclass(frozen=True)
class _Use:
    """An operation of one group.

    Args:
        group: the group.
        op: its operation.
        key: equal where one kernel does for neighbours.
        last: for each place that it adds gradients to, whether it is the first to do so in the backward pass.
    """

    group: Group
    op: Op
    key: tuple[object, ...]
    last: tuple[bool, ...]


class Tape:
    """Bound kernels of all models for batches of one size.

    Args:
        groups: the models, in order.
        store: their parameters.
        batch: rows of a batch B.
        like: gives dtype and device.
        training: whether there is a backward pass.
        rates: dropout rates by layer, (M,); layers that a model lacks have any.
        beside: a tape that never runs at the same time, whose memory is used again.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        store: Store,
        batch: int,
        like: Tensor,
        *,
        training: bool,
        rates: Mapping[str, Tensor] | None = None,
        beside: "Tape | None" = None,
    ) -> None:
        self.groups, self.store, self.batch, self.training = groups, store, batch, training
        self.rates = rates or {}
        self.masks: list[tuple[str, int, int, Masks]] = []
        self.spans: dict[str, list[Span]] = {}
        self._allocate(like, Pool(list(beside.memory()) if beside else ()))
        self.shared = like.new_zeros(max(map(Tensor.numel, self.memory()), default=0))
        order = _order([group.program for group in groups])
        self._last_users = {id(group): _last_users(group.program, order) for group in groups}
        kernels = [self._kernel(uses) for name in order for uses in self._shared(name)]
        self._forward = tuple(kernel.forward for kernel, _ in kernels)
        self._backward = tuple(kernel.backward for kernel, needed in reversed(kernels) if needed)

    def forward(self) -> None:
        """From the inputs to the answers."""
        for call in self._forward:
            call()

    def backward(self) -> None:
        """From the answers' gradients to those of all parameters."""
        for call in self._backward:
            call()

    def inputs(self) -> Iterator[tuple[str, Span]]:
        """Where batches go: the name of the input, and its place."""
        for name in ("numeric", "codes"):
            for span in self.spans.get(name, ()):
                yield name, span

    def answers(self) -> list[Span]:
        """Where answers come out."""
        return self.spans["answer"]

    def at(self, slot: str, start: int, stop: int) -> Span:
        """The place of some models."""
        span = next(span for span in self.spans[slot] if span.start <= start and stop <= span.stop)
        return span.take(start, stop)

    def start_epoch(self, keys: Sequence[tuple[int, ...]], epochs: Sequence[int]) -> None:
        """Seed dropout; keys and epochs of all models."""
        for name, start, stop, masks in self.masks:
            masks.start_epoch(keys[start:stop], epochs[start:stop], f"{name} {self.batch}")

    def memory(self) -> Iterator[Tensor]:
        """All memory of values that are no codes, and of their gradients."""
        for span in (span for spans in self.spans.values() for span in spans):
            yield from (part.flat for part in (span.value, span.grad) if part and part.flat.is_floating_point())

    def _allocate(self, like: Tensor, pool: Pool) -> None:
        shapes = [_slot_shapes(group.program) for group in self.groups]
        for slot in dict.fromkeys(slot for each in shapes for slot in each):
            pairs = zip(self.groups, (each.get(slot) for each in shapes), strict=True)
            self.spans[slot] = [
                self._span(slot, found, [group for group, _ in run], like, pool)
                for found, run in groupby(pairs, key=lambda pair: pair[1])
                if found is not None
            ]

    def _span(
        self, slot: str, found: tuple[tuple[int, ...], bool], groups: list[Group], like: Tensor, pool: Pool
    ) -> Span:
        (shape, integer), start, stop = found, groups[0].start, groups[-1].stop
        given = slot in ("numeric", "codes")
        kind = like.new_empty(0, dtype=torch.int64) if integer else like
        order, models = False if given or integer else None, stop - start
        value = buffer(models, self.batch, shape, kind, columns=order, pool=None if integer else pool)
        return Span(start, stop, value, value.like(pool) if self.training and not given and not integer else None)

    def _shared(self, name: str) -> Iterator[list[_Use]]:
        """Neighbours whose operation of that name is the same."""
        uses = [self._use(group, name) for group in self.groups]
        for key, run in groupby(uses, key=lambda use: use.key if use else None):
            if key is not None:
                yield [use for use in run if use is not None]

    def _use(self, group: Group, name: str) -> _Use | None:
        program = group.program
        op = program.by_name.get(name)
        if op is None:
            return None
        slots = tuple(program.slots[value] for value in (*op.sources, op.name))
        shapes = tuple(program.shape_of(source) for source in op.sources)
        last = tuple(self._last_users[id(group)][place] == op.name for place in _places(program, op))
        key = (op.text, op.shape, slots, shapes, tuple(op.params.items()), last)
        return _Use(group, op, key, last)

    def _kernel(self, uses: list[_Use]) -> tuple[Kernel, bool]:
        """The kernel of neighbours, and whether it has a backward pass."""
        op, program = uses[0].op, uses[0].group.program
        start, stop = uses[0].group.start, uses[-1].group.stop
        spans = [self.at(program.slots[source], start, stop) for source in op.sources]
        out = self.at(program.slots[op.name], start, stop)
        place = Place(
            inputs=tuple(span.value for span in spans),
            output=out.value,
            params={key: self.store.param(name, start, stop) for key, name in op.params.items()},
            buffers={key: self.store.buffer(name, start, stop) for key, name in op.buffers.items()},
            shared=self.shared,
        )
        if not self.training or out.grad is None:
            return op.bind(place), False
        writes = dict(zip(_places(program, op), uses[0].last, strict=True))
        totals = [
            span.grad if program.needs_grad(source) else None for span, source in zip(spans, op.sources, strict=True)
        ]
        parts = [
            total.like() if total is not None and not writes[source] else total
            for total, source in zip(totals, op.sources, strict=True)
        ]
        grads = {key: self.store.grad(name, start, stop) for key, name in op.params.items()}
        own = {
            key: grad if writes[f"param {op.params[key]}"] else torch.zeros_like(grad) for key, grad in grads.items()
        }
        masks = self._dropout(op, out.value, start, stop) if op.dropout is not None else None
        kernel = op.bind(replace(place, grad_inputs=tuple(parts), grad_output=out.grad, grads=own, masks=masks))
        pairs = [(total.flat, part.flat) for total, part in zip(totals, parts, strict=True) if total and part]
        pairs += [(grads[key], own[key]) for key in grads]
        sums = tuple((total, part) for total, part in pairs if total is not part)
        return (_Adding(kernel, sums) if sums else kernel), program.needs_grad(op.name)

    def _dropout(self, op: Op, out: Buffer, start: int, stop: int) -> Masks:
        count = out.rows[0].numel()
        masks = Masks(self.rates[op.name][start:stop], count)
        self.masks.append((op.name, start, stop, masks))
        return masks


def _slot_shapes(program: Program) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Shape of a row and whether it holds codes, of every slot."""
    found = {name: (shape, name == "codes") for name, shape in program.shapes.items()}
    return {**found, **{program.slots[op.name]: (op.shape, op.integer) for op in program.ops}}


def _last_users(program: Program, order: Sequence[str]) -> dict[str, str]:
    """The operation that reads a place last, and so writes its gradient first."""
    rank = {name: index for index, name in enumerate(order)}
    users: dict[str, str] = {}
    for op in sorted(program.ops, key=lambda op: rank[op.name]):
        for place in _places(program, op):
            users[place] = op.name
    return users


def _places(program: Program, op: Op) -> list[str]:
    """What an operation adds gradients to: values, and parameters."""
    return [*op.sources, *(f"param {name}" for name in op.params.values())]


def _order(programs: Sequence[Program]) -> tuple[str, ...]:
    """Names of all operations, each after those before it in any of the programs.

    Raises:
        CycleError: two structures use the same names in opposite order; they cannot share a stack.
    """
    return _sorted(tuple(dict.fromkeys(program.names for program in programs)))


@lru_cache
def _sorted(sequences: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    before: dict[str, dict[str, None]] = {}
    for names in sequences:
        for previous, name in zip((None, *names), names, strict=False):
            before.setdefault(name, {}).update({} if previous is None else {previous: None})
    return tuple(TopologicalSorter(before).static_order())


def fits(program: Program, others: Sequence[Program]) -> bool:
    """Whether a structure can stand beside others: shared names are used in the same order."""
    try:
        _order([*others, program])
    except CycleError:
        return False
    return True
