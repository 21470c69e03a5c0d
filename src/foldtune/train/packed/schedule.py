"""Hyperparameters of one job's models step by step, driven by torch's own schedules."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from foldtune.errors import CheckpointError, NotPackable
from foldtune.spec.schema import ConfigSpec
from foldtune.train.optim import PER_BATCH, build_optimizer, build_scheduler, end_epoch_
from foldtune.train.packed.rules import has_rule, hyperparameters
from foldtune.train.states import copied, load_optimizer_, load_scheduler_
from foldtune.values import Direction


class JobSchedule:
    """An optimizer and its schedule that train nothing: they only say which hyperparameters hold when.

    Folds share one, unless the schedule reads scores.

    Args:
        config: the job's configuration.
        folds: number of folds K.
        steps: batches of an epoch S.
        direction: the objective's.

    Raises:
        NotPackable: the optimizer has no stacked rule.
    """

    def __init__(self, config: ConfigSpec, *, folds: int, steps: int, direction: Direction) -> None:
        self.folds, self.steps = folds, steps
        self.taken = 0  # steps of each model so far
        node, epochs = config.scheduler.node if config.scheduler else None, config.training.epochs
        first = _optimizer(config)
        if not has_rule(first):
            raise NotPackable(f"`{type(first).__name__}` has no stacked update rule with these settings")
        scheduler = build_scheduler(node, first, epochs=epochs, steps=epochs * steps, direction=direction)
        self.optimizers, self.schedulers = [first], [scheduler]
        if isinstance(scheduler, ReduceLROnPlateau):
            for _ in range(folds - 1):
                self.optimizers.append(other := _optimizer(config))
                self.schedulers.append(build_scheduler(node, other, epochs=epochs, steps=1, direction=direction))
        for optimizer in self.optimizers:
            optimizer.step()  # nothing to train; a schedule warns if it comes first

    @property
    def kind(self) -> type[Optimizer]:
        """The optimizer's class."""
        return type(self.optimizers[0])

    @property
    def units(self) -> int:
        """Groups of folds that have one set of hyperparameters: 1, or K where a schedule reads scores."""
        return len(self.optimizers)

    def epoch(self) -> list[list[dict[str, float]]]:  # [step][unit]
        """The hyperparameters of the next epoch's steps; steps a per-batch schedule through it."""
        per_batch = isinstance(self.schedulers[0], PER_BATCH)
        values = [self._advance() for _ in range(self.steps)] if per_batch else [self._now()] * self.steps
        first, self.taken = self.taken + 1, self.taken + self.steps
        return [[{**unit, "t": float(first + index)} for unit in step] for index, step in enumerate(values)]

    def end_epoch(self, others: Sequence[float]) -> None:
        """Step a per-epoch schedule; `others` holds each fold's mean of the other folds' scores."""
        for scheduler, mean in zip(self.schedulers, others, strict=False):
            end_epoch_(scheduler, mean)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        schedulers = [scheduler.state_dict() if scheduler else None for scheduler in self.schedulers]
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        state: dict[str, Any] = copied({"taken": self.taken, "optimizers": optimizers, "schedulers": schedulers})
        return state

    def load_state_dict(self, state: Mapping[str, Any], *, epochs: int) -> None:
        """Go on from a `state_dict`.

        Args:
            state: after so many epochs.
            epochs: trained so far.

        Raises:
            CheckpointError: another optimizer's or schedule's.
        """
        self.taken = epochs * self.steps
        if state["taken"] != self.taken:
            rule = f"steps must be {self.steps} in each of {epochs} epochs"
            raise CheckpointError.of(("schedule", "taken"), rule, state["taken"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer_(optimizer, saved, "schedule", "optimizers")
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            load_scheduler_(scheduler, saved, "schedule", "schedulers")

    def _now(self) -> list[dict[str, float]]:
        return [hyperparameters(optimizer) for optimizer in self.optimizers]

    def _advance(self) -> list[dict[str, float]]:
        now = self._now()
        for scheduler in self.schedulers:
            assert scheduler is not None
            scheduler.step()
        return now


def _optimizer(config: ConfigSpec) -> Optimizer:
    return build_optimizer(config.optimizer.node, [nn.Parameter(torch.zeros(1))], "cpu")
