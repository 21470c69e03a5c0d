"""Parameters of models with one optimizer class, end to end: a few kernels update them all, whatever their shapes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from foldtune.train.packed.buffers import LANES
from foldtune.train.packed.device_rules import DEVICE_RULES, Numbers
from foldtune.train.packed.rules import RULES
from foldtune.train.packed.store import Block, Memory, Store

Hypers = Sequence[Sequence[Mapping[str, float]]]
"""Hyperparameters of neighbours, [step][unit]: the models are as many equal groups as there are units."""


@dataclass(frozen=True)
class _Mirror:
    """Numbers of the store, and their place among those of the other parameters."""

    stored: list[Tensor]
    flat: list[Tensor]

    def load(self) -> None:
        torch._foreach_copy_(self.flat, self.stored)

    def save(self) -> None:
        torch._foreach_copy_(self.stored, self.flat)


class Flat:
    """The update of models of one optimizer class, with hyperparameters that lie on the device.

    Args:
        store: the parameters; a step reads their gradients there, and writes them.
        kind: the class.
        models: their numbers, in order; they have parameters.
        steps: of an epoch S.
    """

    def __init__(self, store: Store, kind: type[Optimizer], models: Sequence[int], steps: int) -> None:
        self.kind, self.rule = kind, DEVICE_RULES[kind]
        self.pieces = [(block, rows) for block in store.blocks for rows in _rows(block, models)]
        like = store.blocks[0].param.flat
        self.owner = torch.cat([_owners(block, rows) for block, rows in self.pieces]).to(like.device)
        self.numbers = Numbers(*(like.new_zeros(len(self.owner), LANES) for _ in range(4)))
        self.params = self._mirror(self.numbers.params, lambda block: block.param)
        self.grads = self._mirror(self.numbers.grads, lambda block: block.grad)
        self.first = self._mirror(self.numbers.first, lambda block: block.moments[0])
        self.second = self._mirror(self.numbers.second, lambda block: block.moments[1])
        self.table = like.new_zeros(steps, self.rule.count, len(store.names))

    def start_epoch(self, hypers: Sequence[tuple[int, int, Hypers]]) -> None:
        """Take over the store's state, and an epoch's hyperparameters.

        Args:
            hypers: first model, first model after them, and what holds for them.
        """
        for mirror in (self.params, self.first, self.second):
            mirror.load()
        units = [unit for given in hypers for unit in _units(*given)]
        names = (*RULES[self.kind].hyper, "t")
        values = {name: np.array([[hyper[name] for hyper in unit] for unit, _ in units]).T for name in names}  # (S, U)
        factors = np.stack(self.rule.factors(values), axis=1)
        table = np.zeros(self.table.shape)
        table[:, :, [model for _, own in units for model in own]] = factors.repeat([len(own) for _, own in units], 2)
        self.table.copy_(torch.from_numpy(table).to(self.table.dtype))  # a half of the bytes

    def update(self, step: Tensor) -> None:  # (1,) int64
        """One step; it reads nothing but tensors of the device."""
        self.grads.load()
        factors = self.table.index_select(0, step)[0].index_select(1, self.owner)
        self.rule.update_(self.numbers, factors.unsqueeze(2).unbind())
        self.params.save()

    def end_epoch(self) -> None:
        """Give back to the store what the rule keeps."""
        self.first.save()
        self.second.save()

    def _mirror(self, numbers: Tensor, memory: Callable[[Block], Memory]) -> _Mirror:
        stored = [memory(block).flat[rows] for block, rows in self.pieces]
        parts = torch.split(numbers.view(-1), [part.numel() for part in stored])
        return _Mirror(stored, [flat.view_as(part) for flat, part in zip(parts, stored, strict=True)])


def _units(start: int, stop: int, epoch: Hypers) -> Iterator[tuple[list[Mapping[str, float]], range]]:
    """The hyperparameters of each group of neighbours, step by step, and its models."""
    count = (stop - start) // len(epoch[0])
    for unit in range(len(epoch[0])):
        first = start + unit * count
        yield [step[unit] for step in epoch], range(first, first + count)


def _rows(block: Block, models: Sequence[int]) -> Iterator[slice]:
    """A block's rows of some models, those of neighbours together."""
    own = [model - block.start for model in models if block.start <= model < block.stop]
    for _, run in groupby(enumerate(own), key=lambda pair: pair[1] - pair[0]):
        (_, first), *rest = run
        yield slice(first, first + 1 + len(rest))


def _owners(block: Block, rows: slice) -> Tensor:
    """The model of every LANES numbers."""
    models = torch.arange(rows.start, rows.stop) + block.start
    return models.repeat_interleave(block.param.flat.shape[1] // LANES)
