"""Models that train together: neighbours in memory, with the same batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from foldtune.train.packed.device import DeviceTrainer
from foldtune.train.packed.flat import Hypers
from foldtune.train.packed.kernels.losses import LossKernel
from foldtune.train.packed.member import Member, Share
from foldtune.train.packed.program import Program
from foldtune.train.packed.rules import RULES
from foldtune.train.packed.store import State, Store
from foldtune.train.packed.tables import Feed, Tables
from foldtune.train.packed.tape import Group, Span, Tape
from foldtune.train.packed.update import NEUTRAL, Regularizer, Update
from foldtune.train.precision import autocast
from foldtune.values import Floats

ROWS_AT_ONCE = 64
"""Validation rows of each model that go through the nets together, at most; as many as a batch has, if that is more:
then they use its memory."""


class Stack:
    """Shares of jobs, in the order of their models.

    Args:
        shares: at least one, all of the same key.
        tables: the rows; they say the device, and the dtype of weights and activations.
    """

    def __init__(self, shares: Sequence[Share], tables: Tables) -> None:
        self.tables, self.device, self.dtype = tables, tables.device, tables.dtype
        self.like = torch.empty(0, device=self.device, dtype=self.dtype)
        self.shares = sorted(shares, key=_place)
        self.bounds = self.shares[0].bounds
        self.spans: list[tuple[Share, int, int]] = []
        for share in self.shares:
            start = self.spans[-1][2] if self.spans else 0
            self.spans.append((share, start, start + len(share.folds)))
        self.store = Store([_released(share) for share in self.shares])
        self.members = [share.member for share in self.shares for _ in share.folds]  # of each model
        self.keys = [key for share in self.shares for key in share.keys]
        self.data = [share.member.data[fold] for share in self.shares for fold in share.folds]
        self.autocast = autocast(self.members[0].config.training.precision, self.device)  # that of them all
        with self.autocast:
            self._bind_training()
            self._bind_answering()

    def state(self, share: Share) -> State:
        """A share's models, where they are."""
        start, stop = next((start, stop) for own, start, stop in self.spans if own is share)
        return self.store.take(start, stop)

    @torch.no_grad()
    def train_epoch(self) -> Floats:  # (M,)
        """Train every model one epoch, each the next of its own; mean losses over the rows."""
        orders = torch.cat([share.order(share.member.curves.epoch + 1) for share in self.shares])
        hypers = [share.schedule.epoch() for share in self.shares]
        epochs = [member.curves.epoch + 1 for member in self.members]
        if self.device_trainer is None:
            total = self._train_epoch(orders, epochs, hypers)
        else:
            total = self.device_trainer.train_epoch(orders, epochs, hypers)
        means: Floats = (total / self.bounds[-1][1]).double().cpu().numpy()
        return means

    @cached_property
    def device_trainer(self) -> DeviceTrainer | None:
        """What takes the steps where calls are slow; on the processor there is none."""
        return None if self.like.device.type == "cpu" else DeviceTrainer(self)

    def _train_epoch(self, orders: Tensor, epochs: Sequence[int], hypers: Sequence[Hypers]) -> Tensor:  # (M,)
        """See `DeviceTrainer.train_epoch`."""
        for trainer in self.trainers.values():
            trainer.tape.start_epoch(self.keys, epochs)
        total = torch.zeros(len(self.keys), dtype=self.dtype)
        for step, (trainer, batch) in enumerate(self._batches(orders)):
            total.add_(self.regularize(trainer.gradients(batch)), alpha=trainer.batch)
            for updates, hyper in zip(self.updates, hypers, strict=True):
                for update, unit in zip(updates, hyper[step], strict=True):
                    update(unit)
        return total

    def _batches(self, orders: Tensor) -> Iterator[tuple["Trainer", "_Batch"]]:
        """All batches of an epoch, and what trains on each."""
        for size, run in groupby(self.bounds, key=lambda bound: bound[1] - bound[0]):
            bounds = list(run)
            for batch in self.trainers[size].batches(orders[:, bounds[0][0] : bounds[-1][1]]):
                yield self.trainers[size], batch

    @torch.no_grad()
    def answers(self) -> list[tuple[Share, int, Tensor]]:  # (n_valid, outputs) each
        """The nets' answers on their validation rows: share, fold and answers, which the next call overwrites."""
        size = self.answering.batch
        for index, batch in enumerate(self.valid):
            self.answering.forward(batch)
            for span, answered in self.answered:
                answered[:, index * size : (index + 1) * size].copy_(span.value.rows)
        rows = (row for _, answered in self.answered for row in answered)
        places = ((share, fold) for share in self.shares for fold in share.folds)
        return [
            (share, fold, row[: len(share.member.job.folds[fold].valid)])
            for (share, fold), row in zip(places, rows, strict=True)
        ]

    def _bind_training(self) -> None:
        groups, rates = self._groups(lambda member: member.training), self._rates()
        sizes = sorted({stop - start for start, stop in self.bounds}, reverse=True)
        self.trainers: dict[int, Trainer] = {}
        for size in sizes:
            tape = Tape(groups, self.store, size, self.like, training=True, rates=rates, beside=self._first_tape())
            self.trainers[size] = Trainer(self, tape)
        self.regularize = Regularizer(self.store.blocks, self._settings())
        self.updates = [list(self._updates(share, start)) for share, start, _ in self.spans]

    def _bind_answering(self) -> None:
        most = max(len(share.member.job.folds[fold].valid) for share in self.shares for fold in share.folds)
        chunks = math.ceil(most / max(ROWS_AT_ONCE, *self.trainers))
        size = math.ceil(most / chunks)
        valid = torch.zeros(len(self.keys), chunks * size, dtype=torch.int64)
        folds = [share.member.job.folds[fold] for share in self.shares for fold in share.folds]
        for row, fold in zip(valid, folds, strict=True):
            row[: len(fold.valid)] = torch.from_numpy(fold.valid.copy())
        groups = self._groups(lambda member: member.answering)
        tape = Tape(groups, self.store, size, self.like, training=False, beside=self._first_tape())
        self.answering = _Pass(self, tape)
        self.valid = self.answering.batches(valid.to(self.device))
        self.answered: list[tuple[Span, Tensor]] = []  # (m, rows, outputs) each
        for span in tape.answers():
            m, _, *outputs = span.value.rows.shape
            self.answered.append((span, self.like.new_empty(m, chunks * size, *outputs)))

    def _first_tape(self) -> Tape | None:
        """The tape of full batches, whose memory serves the others, too."""
        return next((trainer.tape for trainer in self.trainers.values()), None)

    def _groups(self, program: Callable[[Member], Program]) -> list[Group]:
        """Neighbours of one structure."""
        groups: list[Group] = []
        for _, run in groupby(self.spans, key=lambda span: program(span[0].member).text):
            spans = list(run)
            groups.append(Group(program(spans[0][0].member), spans[0][1], spans[-1][2]))
        return groups

    def _rates(self) -> dict[str, Tensor]:
        names = dict.fromkeys(name for member in self.members for name in member.rates)
        return {name: self._column([member.rates.get(name, 0.0) for member in self.members])[:, 0] for name in names}

    def _settings(self) -> dict[str, Tensor]:
        columns = {name: [member.settings[name] for member in self.members] for name in NEUTRAL}
        return {name: self._column(column) for name, column in columns.items() if set(column) != {NEUTRAL[name]}}

    def _column(self, values: Sequence[float]) -> Tensor:  # (M, 1)
        return torch.tensor(values, device=self.device, dtype=self.dtype)[:, None]

    def _updates(self, share: Share, start: int) -> Iterator[Update]:
        """One for each set of hyperparameters."""
        folds = len(share.folds) // share.schedule.units
        for unit in range(share.schedule.units):
            first = start + unit * folds
            yield Update(self.store, first, first + folds, RULES[share.schedule.kind])

    def feed(self, start: int, stop: int) -> Feed:
        """The rows that models side by side see."""
        return Feed(self.tables, self.data[start:stop])


_Batch = tuple[Tensor, ...]
"""The rows of a batch, for each place that reads some."""


class _Pass:
    """A tape with what puts batches into it."""

    def __init__(self, stack: Stack, tape: Tape) -> None:
        self.tape, self.batch, self.autocast = tape, tape.batch, stack.autocast
        spans = [(span, stack.feed(span.start, span.stop), name) for name, span in tape.inputs()]
        self.feeds = [(span, feed) for span, feed, _ in spans]
        self.loads = [(span.value.rows, feed.inputs[name]) for span, feed, name in spans]

    def batches(self, rows: Tensor) -> list[_Batch]:  # (M, S * B), numbers of rows in the data
        """S batches one after another."""
        each = (feed.batches(rows[span.start : span.stop], self.batch) for span, feed in self.feeds)
        return list(zip(*each, strict=True))

    def forward(self, batch: _Batch) -> None:
        """Fetch a batch of every model and answer."""
        for (place, table), numbers in zip(self.loads, batch, strict=False):
            if place.is_contiguous():
                torch.index_select(table, 0, numbers, out=place.view(len(numbers), *table.shape[1:]))
            else:
                place.copy_(table.index_select(0, numbers).view(place.shape))
        with self.autocast:
            self.tape.forward()


class Trainer(_Pass):
    """A training tape with its losses."""

    def __init__(self, stack: Stack, tape: Tape) -> None:
        super().__init__(stack, tape)
        self.losses = []
        for span, feed, source, target, kernel in _losses(stack, tape):
            self.feeds.append((span, feed))
            self.losses.append((source, target, kernel))

    def gradients(self, batch: _Batch) -> Tensor:  # (M,)
        """Each model's loss on its batch; gradients of all parameters are where the store keeps them."""
        self.forward(batch)
        losses = []
        for (source, target, kernel), numbers in zip(self.losses, batch[len(self.loads) :], strict=True):
            torch.index_select(source, 0, numbers, out=target.flatten(0, 1))
            losses.append(kernel())
        self.tape.backward()
        return losses[0] if len(losses) == 1 else torch.cat(losses)


def _losses(stack: Stack, tape: Tape) -> Iterator[tuple[Span, Feed, Tensor, Tensor, LossKernel]]:
    """A kernel for neighbours that have the same loss and as many outputs."""
    start = 0
    for _, run in groupby(stack.members, key=lambda member: (member.loss_text, member.shape.outputs)):
        members = list(run)
        span = tape.at("answer", start, start + len(members))
        start += len(members)
        feed = stack.feed(span.start, span.stop)
        source = feed.target(members[0].head)
        target = source.new_zeros(len(members), tape.batch, *source.shape[1:])
        smoothing = torch.tensor([member.smoothing for member in members], dtype=stack.dtype, device=stack.device)
        assert span.grad is not None
        yield span, feed, source, target, members[0].bind_loss(span.value, target, span.grad, smoothing[:, None])


def _place(share: Share) -> tuple[object, ...]:
    """Models with the same products stand side by side, then those with the same structure."""
    member = share.member
    products = tuple((op.name, op.text) for op in member.training.ops if op.is_product)
    return products, member.loss_text, member.training.text, member.answering.text, member.job.trial


def _released(share: Share) -> State:
    """A share's models, which from now on are in the stack alone."""
    state, share.state = share.state, None
    assert state is not None
    return state
