"""Training on a device where calls are slow: an epoch's inputs go there at once, and no step waits for the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from foldtune.train.packed.bits import Bits
from foldtune.train.packed.flat import Flat, Hypers
from foldtune.train.packed.graph import Call, Capture, Replayed, cuda_graph

if TYPE_CHECKING:
    from foldtune.train.packed.stack import Stack, Trainer


class DeviceTrainer:
    """Trains a stack by steps that read and write nothing but fixed tensors of its device.

    Law: equal to the steps that the host drives, dropout aside, whose bits are drawn on the device.

    Args:
        stack: the models, with all that is bound to them.
        capture: makes replays of steps; by default CUDA graphs where there is CUDA. Whole nets that `vmap` runs are
            code of the user's own, which a replay would leave out: they are never captured.
    """

    def __init__(self, stack: "Stack", capture: Capture | None = None) -> None:
        if capture is None and stack.like.device.type == "cuda":
            capture = cuda_graph(stack.like.device)
        if any(member.training.whole for member in stack.members):
            capture = None
        self.keys, self.spans, self.bounds = stack.keys, stack.spans, stack.bounds
        self.epoch = _Epoch.of(stack)
        self.flats = [Flat(stack.store, kind, models, len(stack.bounds)) for kind, models in _kinds(stack).items()]
        self.bits = {size: Bits(trainer.tape.masks, size) for size, trainer in stack.trainers.items()}
        self.steps: dict[int, Call] = {}
        for size, trainer in stack.trainers.items():
            step = _Step(trainer, self.epoch, self.bits[size], stack.regularize, self.flats)
            self.steps[size] = step if capture is None else Replayed(step, capture)

    def train_epoch(self, orders: Tensor, epochs: Sequence[int], hypers: Sequence[Hypers]) -> Tensor:  # (M,)
        """Train every model one epoch; sums of its rows' losses.

        Args:
            orders: numbers of rows in training order, (M, rows).
            epochs: the epoch of each model.
            hypers: the hyperparameters of each share.
        """
        self.epoch.start(orders)
        for bits in self.bits.values():
            bits.start_epoch(self.keys, epochs)
        each = list(zip(self.spans, hypers, strict=True))
        for flat in self.flats:
            own = [(start, stop, hyper) for (share, start, stop), hyper in each if share.schedule.kind is flat.kind]
            flat.start_epoch(own)
        for start, stop in self.bounds:
            self.steps[stop - start]()
        for flat in self.flats:
            flat.end_epoch()
        return self.epoch.total


@dataclass(frozen=True)
class _Epoch:
    """Where an epoch is.

    Args:
        orders: numbers of rows in training order, (M, rows).
        starts: the place of each batch's first row in them, (S,).
        step: the number of the step, from 0, (1,).
        total: sums of the losses of all rows so far, (M,).
    """

    orders: Tensor
    starts: Tensor
    step: Tensor
    total: Tensor

    @classmethod
    def of(cls, stack: "Stack") -> "_Epoch":
        models, device = len(stack.keys), stack.like.device
        return cls(
            orders=torch.zeros(models, stack.bounds[-1][1], dtype=torch.int64, device=device),
            starts=torch.tensor([start for start, _ in stack.bounds], device=device),
            step=torch.zeros(1, dtype=torch.int64, device=device),
            total=torch.zeros(models, dtype=stack.dtype, device=device),
        )

    def start(self, orders: Tensor) -> None:
        self.orders.copy_(orders)
        self.step.zero_()
        self.total.zero_()

    def rows(self, size: int) -> Tensor:  # (M, size)
        """The batch of this step."""
        columns = self.starts.index_select(0, self.step) + torch.arange(size, device=self.step.device)
        return self.orders.index_select(1, columns)


@dataclass(frozen=True)
class _Step:
    """A step of batches of one size."""

    trainer: "Trainer"
    epoch: _Epoch
    bits: Bits
    regularize: Callable[[Tensor], Tensor]
    flats: Sequence[Flat]

    def __call__(self) -> None:
        self.bits.draw(self.epoch.step)
        (batch,) = self.trainer.batches(self.epoch.rows(self.trainer.batch))
        losses = self.regularize(self.trainer.gradients(batch))
        self.epoch.total.add_(losses, alpha=self.trainer.batch)
        for flat in self.flats:
            flat.update(self.epoch.step)
        self.epoch.step.add_(1)


def _kinds(stack: "Stack") -> dict[type[Optimizer], list[int]]:
    """The models of each optimizer class, in order; those without parameters have no update."""
    trained = {model for block in stack.store.blocks for model in range(block.start, block.stop)}
    found: dict[type[Optimizer], list[int]] = {}
    for share, start, stop in stack.spans:
        if own := [model for model in range(start, stop) if model in trained]:
            found.setdefault(share.schedule.kind, []).extend(own)
    return found
