"""One job in training as stacked models: what its K models train on, and what is their own."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune import seeds
from foldtune.data.preprocess import FoldData
from foldtune.errors import NotPackable
from foldtune.models.builder import build_model, n_parameters
from foldtune.spec.schema import ConfigSpec
from foldtune.train.batches import batch_bounds, epoch_order, has_batch_norm, rows_per_epoch
from foldtune.train.curves import Curves
from foldtune.train.engine import TrainingSetup
from foldtune.train.losses import build_loss, make_head
from foldtune.train.packed.kernels.losses import loss_of, smoothing_of, text_of
from foldtune.train.packed.lowering import lower
from foldtune.train.packed.schedule import JobSchedule
from foldtune.train.packed.store import State, state_of
from foldtune.train.precision import check_precision
from foldtune.train.states import check_engine, taking
from foldtune.values import DataShape, Job

Bounds = tuple[tuple[int, int], ...]
"""Batches of an epoch."""


@dataclass(eq=False)
class Share:
    """Folds of a job that have the same batches, and so train in one stack.

    Args:
        member: the job.
        folds: their numbers.
        bounds: their batches.
        schedule: their hyperparameters step by step.
        state: their models, while they are in no stack.
    """

    member: "Member"
    folds: tuple[int, ...]
    bounds: Bounds
    schedule: JobSchedule
    state: State | None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for models that may stand in one stack."""
        most = max(len(self.member.job.folds[fold].valid) for fold in self.folds)
        return self.bounds, most, self.member.config.training.precision

    @property
    def keys(self) -> list[tuple[int, ...]]:
        """What the random numbers of each model follow from."""
        return [self.member.keys[fold] for fold in self.folds]

    def order(self, epoch: int) -> Tensor:  # (k, rows)
        """The rows of an epoch in training order, fold by fold."""
        count, rows = self.member.counts[self.folds[0]], self.bounds[-1][1]
        train = self.member.train_rows
        return torch.stack(
            [epoch_order(train[fold], count, self.member.keys[fold], epoch)[:rows] for fold in self.folds]
        )


class Member:
    """A job that can be stacked.

    Args:
        job: the job.
        config: its configuration.
        data: the rows as each of its folds sees them.
        setup: the study.

    Raises:
        NotPackable: the packed engine cannot train it.
        SpecError: a name is unknown, or a class refuses its arguments.
    """

    def __init__(self, job: Job, config: ConfigSpec, data: tuple[FoldData, ...], *, setup: TrainingSetup) -> None:
        self.job, self.data, self.config = job, data, config
        check_precision(self.config.training.precision, setup.device)
        self.head = make_head(self.config.loss.node, setup.dataset.task, setup.dataset.n_outputs)
        self.keys = [(setup.seed, job.trial, job.repeat, fold) for fold in range(len(job.folds))]
        self.shape = DataShape(tuple(data[0].numeric.shape[1:]), data[0].cardinalities, self.head.outputs)
        nets, self.loss = self._build(setup.device)
        self.training, self.answering = lower(nets[0], self.shape)
        self.bind_loss, self.loss_text = loss_of(self.loss, self.head.link), text_of(self.loss)
        self.train_rows = [torch.tensor(fold.train) for fold in job.folds]
        self.counts = rows_per_epoch([len(fold.train) for fold in job.folds])
        size = n_parameters(nets[0])
        self.curves = Curves(job, config, setup=setup, outputs=self.head.outputs, n_parameters=size)
        self.shares = self._shares(nets, setup)
        self.reason: str | None = None  # why it is packed

    @property
    def text(self) -> str:
        """The same for nets and losses that compute the same."""
        return "\n".join([self.training.text, self.answering.text, self.loss_text])

    @property
    def form(self) -> str:
        """The same for structures that one equivalence check does for: those that differ in sizes alone."""
        return self.text if self.training.whole else re.sub(r"\d+", "#", self.text)

    @property
    def rates(self) -> dict[str, float]:
        """Dropout rates by layer."""
        return {op.name: op.dropout for op in self.training.ops if op.dropout is not None}

    @property
    def settings(self) -> dict[str, float]:
        """Strengths of penalties and clipping, by the names of `foldtune.train.packed.update.NEUTRAL`."""
        rule = self.config.regularization
        clip_value, clip_norm = (math.inf if clip is None else clip for clip in (rule.clip_value, rule.clip_norm))
        return {"l1": rule.l1, "l2": rule.l2, "clip_value": clip_value, "clip_norm": clip_norm}

    @property
    def smoothing(self) -> float:
        """The loss's label smoothing."""
        return smoothing_of(self.loss)

    def state_dict(self, states: list[State]) -> dict[str, Any]:
        """All but what follows from the job; `states` are those of its shares."""
        shares = [
            {"schedule": share.schedule.state_dict(), "state": state.state_dict()}
            for share, state in zip(self.shares, states, strict=True)
        ]
        return {"engine": "packed", **self.curves.state_dict(), "shares": shares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, while in no stack.

        Raises:
            CheckpointError: another engine's or job's.
        """
        check_engine(state, "packed")
        with taking():
            self.curves.load_state_dict(state)
            for share, saved in zip(self.shares, state["shares"], strict=True):
                assert share.state is not None
                share.schedule.load_state_dict(saved["schedule"], epochs=self.curves.epoch)
                share.state = share.state.going_on(saved["state"])

    def _build(self, device: str) -> tuple[list[nn.Module], nn.Module]:
        nets = []
        for key in self.keys:
            with seeds.torch_seeded(*key, "init", device=device):
                nets.append(build_model(self.config.model.node, self.shape))
                loss = build_loss(self.config.loss.node)
        return nets, loss.to(device)

    def _shares(self, nets: list[nn.Module], setup: TrainingSetup) -> list[Share]:
        folds: dict[Bounds, list[int]] = {}
        for fold, count in enumerate(self.counts):
            folds.setdefault(self._bounds(nets[0], count), []).append(fold)
        return [
            Share(
                member=self,
                folds=tuple(own),
                bounds=bounds,
                schedule=JobSchedule(self.config, folds=len(own), steps=len(bounds), direction=setup.directions[0]),
                state=state_of([nets[fold] for fold in own], getattr(torch, setup.dtype), setup.device),
            )
            for bounds, own in folds.items()
        ]

    def _bounds(self, net: nn.Module, count: int) -> Bounds:
        normed = has_batch_norm(net)
        bounds = batch_bounds(count, self.config.training.batch_size, batch_norm=normed)
        if normed and any(stop - start == 1 for start, stop in bounds):
            raise NotPackable("a batch norm gets single rows")
        return tuple(bounds)
