"""Jobs in training as one stacked model of M = J * K nets."""

import time
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from foldtune.train.curves import failed
from foldtune.train.fold_trainer import inputs_of, target_of
from foldtune.train.packed.frame import Frame
from foldtune.train.packed.masks import Masks
from foldtune.train.packed.member import Member
from foldtune.train.packed.recipe import RowSettings, Update, train_step
from foldtune.train.packed.rules import RULES
from foldtune.train.packed.stack import Stack, joined, trainable
from foldtune.values import EpochReport, Floats

ROWS_AT_ONCE = 512
"""Validation rows of each model that go through the nets together; the number is the same for any M."""

NEUTRAL = {"smoothing": 0.0, "l1": 0.0, "l2": 0.0, "clip_value": np.inf, "clip_norm": np.inf}


class Pack:
    """Live jobs of one pack key, in the order of their rows.

    Args:
        members: at least one, all of the same pack key.
        device: where they live.
        dtype: of weights and activations.
        n_metrics: columns of a report.
    """

    def __init__(self, members: Sequence[Member], *, device: str, dtype: torch.dtype, n_metrics: int) -> None:
        self.device, self.dtype, self.n_metrics = device, dtype, n_metrics
        self.members: list[Member] = []
        self.recipe, self.bounds = members[0].recipe, members[0].bounds
        self.add(members)

    def add(self, members: Sequence[Member]) -> None:
        """Take in jobs with their own weights; those that are here go on unchanged."""
        self._compose([*self.members, *members])

    def remove(self, trials: Sequence[int]) -> None:
        """Free the rows of some jobs."""
        self._compose([member for member in self.members if member.job.trial not in trials])

    def rows(self, member: Member) -> list[int]:
        """A job's rows."""
        return list(range(self.first[member.job.trial], self.first[member.job.trial] + len(member.keys)))

    def step(self) -> list[EpochReport]:
        """Train every job one epoch and score it; jobs that fail are gone afterwards."""
        began = time.perf_counter()
        losses, answers = self._train_epoch(), self._answers()
        share = (time.perf_counter() - began) / len(self.members)
        reports = [self._report(member, losses, answers, share) for member in self.members]
        if gone := [report.trial for report in reports if report.failure is not None]:
            self.remove(gone)
        return reports

    def _report(self, member: Member, losses: Floats, answers: Tensor, share: float) -> EpochReport:
        began, rows = time.perf_counter(), self.rows(member)
        own = [answers[row, : len(fold.valid)] for row, fold in zip(rows, member.job.folds, strict=True)]
        try:
            scores = member.scorer.score(own)
            report = member.curves.add(losses[rows], scores, share + time.perf_counter() - began)
        except Exception as error:  # a trial's failure is recorded, whatever its kind; the others go on
            return failed(member.job, member.curves.epoch + 1, self.n_metrics, error)
        member.schedule.end_epoch(member.curves.others())
        return report

    def _compose(self, members: Sequence[Member]) -> None:
        """Put rows into the order of `Member.place`, and gather what belongs to them."""
        stacks = [self._stack_of(member) for member in members]
        order = sorted(range(len(members)), key=lambda index: members[index].place)
        self.members = [members[index] for index in order]
        for member in self.members:
            member.fresh = None
        self.first: dict[int, int] = {}
        for member in self.members:
            self.first[member.job.trial] = sum(len(other.keys) for other in self.members[: len(self.first)])
        if self.members:
            self.stack = joined([stacks[index] for index in order])
            self.leaves = trainable(self.stack, self.recipe.layout)
            self._gather_rows()
            self._gather_settings()

    def _stack_of(self, member: Member) -> Stack:
        return member.fresh if member.fresh is not None else self.stack.take(self.rows(member))

    def _gather_rows(self) -> None:
        """Transformed rows of all folds, one after the other; folds that see the same ones share them."""
        pairs = [(data, member.head) for member in self.members for data in member.data]
        tables = {id(data): (data, head) for data, head in pairs}
        starts = {key: index * len(data.target) for index, (key, (data, _)) in enumerate(tables.items())}
        self.offsets = torch.tensor([starts[id(data)] for data, _ in pairs])[:, None]  # (M, 1)
        each = [inputs_of(data, self.device, self.dtype) for data, _ in tables.values()]
        self.inputs = tuple(torch.cat(columns) for columns in zip(*each, strict=True))  # (U * N, ...)
        self.target = torch.cat([target_of(data, head, self.device, self.dtype) for data, head in tables.values()])
        valid = torch.zeros(len(pairs), self.members[0].n_valid, dtype=torch.int64)
        for row, fold in zip(valid, (fold for member in self.members for fold in member.job.folds), strict=True):
            row[: len(fold.valid)] = torch.from_numpy(fold.valid.copy())
        self.valid = (valid + self.offsets).to(self.device)

    def _gather_settings(self) -> None:
        each = [(member.settings, len(member.keys)) for member in self.members]
        columns = {name: [own[name] for own, folds in each for _ in range(folds)] for name in NEUTRAL}
        used = {name for name, column in columns.items() if set(column) != {NEUTRAL[name]}}
        used |= {"l1", "l2"} if used & {"l1", "l2"} else set()
        self.settings = RowSettings(**{name: self._column(columns[name]) for name in used})
        self.rates = {
            name: self._column([member.rates[name] for member in self.members for _ in member.keys])[:, 0]
            for name in self.members[0].rates
        }

    def _column(self, values: Sequence[float]) -> Tensor:  # (M, 1)
        return torch.tensor(values, device=self.device, dtype=self.dtype)[:, None]

    def _train_epoch(self) -> Floats:  # (M,)
        """The next epoch of every job, each with its own number."""
        epochs = [member.curves.epoch + 1 for member in self.members for _ in member.keys]
        keys = [key for member in self.members for key in member.keys]
        orders = torch.cat([member.order(member.curves.epoch + 1) for member in self.members]) + self.offsets
        orders = orders.to(self.device)
        masks, updates = Masks(keys, epochs, self.rates, self.device), self._updates()
        total = torch.zeros(len(keys), device=self.device, dtype=self.dtype)
        for (start, stop), update in zip(self.bounds, updates, strict=True):
            batch = self._take(orders[:, start:stop])
            losses = train_step(
                self.recipe, self.stack, self.leaves, batch, masks=masks, settings=self.settings, updates=update
            )
            total += losses * (stop - start)
        means: Floats = (total / self.bounds[-1][1]).double().cpu().numpy()
        return means

    def _take(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:  # (M, B) -> inputs, target (M, B, ...)
        flat = rows.reshape(-1)
        parts = [part.index_select(0, flat).view(*rows.shape, *part.shape[1:]) for part in (*self.inputs, self.target)]
        return tuple(parts[:-1]), parts[-1]

    def _updates(self) -> list[list[Update]]:
        """For every step the update of each optimizer class."""
        steps: list[list[Update]] = [[] for _ in self.bounds]
        for kind, group in groupby(self.members, key=lambda member: member.schedule.kind):
            members = list(group)
            rows = [row for member in members for row in self.rows(member)]
            each = [member.schedule.epoch() for member in members]
            columns = {name: np.concatenate([own[name] for own in each], axis=1) for name in each[0]}  # (S, m)
            factors = {k: torch.from_numpy(v).to(self.device, self.dtype).unsqueeze(2) for k, v in columns.items()}
            for index, step in enumerate(steps):
                now = {name: value[index] for name, value in factors.items()}
                step.append(Update(RULES[kind], slice(rows[0], rows[-1] + 1), now))
        return steps

    @torch.no_grad()
    def _answers(self) -> Tensor:  # (M, n_valid, outputs)
        params = self.recipe.layout.views(self.stack.flat)
        frame = Frame(params, self.stack.buffers, None)
        chunks = torch.split(self.valid, ROWS_AT_ONCE, dim=1)
        return torch.cat([self.recipe.answering(frame, self._take(rows)[0]) for rows in chunks], dim=1)
