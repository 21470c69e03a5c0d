"""One model of one fold: trained an epoch at a time, then asked for its answers on the validation rows."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau

from foldtune import seeds
from foldtune.data.preprocess import FoldData
from foldtune.models.builder import build_model
from foldtune.spec.schema import ConfigSpec
from foldtune.train.losses import Head, build_loss
from foldtune.train.optim import PER_BATCH, build_optimizer, build_scheduler
from foldtune.train.regularize import regularize_
from foldtune.values import DataShape, Direction, Fold

ROWS_AT_ONCE = 8192
"""Validation rows that go through a net together."""


class FoldTrainer:
    """A fold's model with its optimizer and schedule.

    Args:
        config: the trial's configuration.
        data: the fold's transformed rows.
        fold: which of them train and which validate.
        head: how the loss meets the net.
        key: (study seed, trial, repeat, fold): every random number follows from it and the epoch.
        rows_per_epoch: training rows used in an epoch; fewer than there are leaves out others each epoch.
        direction: the objective's.
        device: where the model lives.
    """

    def __init__(
        self,
        config: ConfigSpec,
        data: FoldData,
        fold: Fold,
        *,
        head: Head,
        key: tuple[int, ...],
        rows_per_epoch: int,
        direction: Direction,
        device: str,
    ) -> None:
        self.config, self.head, self.key, self.device = config, head, key, device
        self.train_rows = torch.tensor(fold.train)
        self.valid_rows = torch.tensor(fold.valid, device=device)
        self.rows_per_epoch = rows_per_epoch
        self.inputs = _tensors(data, device)
        self.target = _target(data, head).to(device)
        shape = DataShape(tuple(data.numeric.shape[1:]), data.cardinalities, head.outputs)
        with seeds.torch_seeded(*key, "init", device=device):
            self.model = build_model(config.model.node, shape).to(device)
            self.loss = build_loss(config.loss.node).to(device)
        every = (*self.model.parameters(), *self.loss.parameters())  # a loss of the user's own may learn, too
        self.parameters = [parameter for parameter in every if parameter.requires_grad]
        self.batches = self._batch_bounds()
        self.optimizer = build_optimizer(config.optimizer.node, self.parameters, device)
        scheduler = config.scheduler.node if config.scheduler else None
        epochs = config.training.epochs
        self.scheduler = build_scheduler(
            scheduler, self.optimizer, epochs=epochs, steps=epochs * len(self.batches), direction=direction
        )
        self.per_batch = isinstance(self.scheduler, PER_BATCH)

    def train_epoch(self, epoch: int) -> float:
        """Train one epoch, from 1; the mean loss over its rows, penalties included."""
        self.model.train()
        order = self._order(epoch)  # (rows_per_epoch,)
        total = torch.zeros((), device=self.device)
        with seeds.torch_seeded(*self.key, "dropout", epoch, device=self.device):
            for start, stop in self.batches:
                total += self._step(order[start:stop]) * (stop - start)
                if self.scheduler is not None and self.per_batch:
                    self.scheduler.step()
        return float(total) / self.batches[-1][1]

    @torch.no_grad()
    def answers(self, epoch: int) -> Tensor:  # (n_valid, outputs) float32
        """The net's answers on the fold's validation rows; seeded, for nets that stay random in `eval`."""
        self.model.eval()
        chunks = torch.split(self.valid_rows, ROWS_AT_ONCE)
        with seeds.torch_seeded(*self.key, "answers", epoch, device=self.device):
            return torch.cat([self.model(*(tensor[rows] for tensor in self.inputs)) for rows in chunks])

    def end_epoch(self, others_mean: float) -> None:
        """Step a per-epoch schedule; ReduceLROnPlateau reads the mean of the other folds."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(others_mean)
        elif self.scheduler is not None and not self.per_batch:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and schedule; random numbers need no state, they follow from the key and the epoch."""
        return {
            "model": self.model.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # it would train the tensors it is given
        if self.scheduler is not None:
            self.scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))

    def _step(self, rows: Tensor) -> Tensor:  # rows (B,) int64 -> mean loss ()
        inputs, target = tuple(tensor[rows] for tensor in self.inputs), self.target[rows]

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss: Tensor = self.loss(self.head.link(self.model(*inputs)), target)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach() + regularize_(self.parameters, self.config.regularization)

        loss = self.optimizer.step(closure)  # type: ignore[arg-type]
        return torch.as_tensor(loss, device=self.device)

    def _order(self, epoch: int) -> Tensor:  # (rows_per_epoch,) int64
        shuffled = torch.randperm(len(self.train_rows), generator=seeds.generator(*self.key, "shuffle", epoch))
        return self.train_rows[shuffled[: self.rows_per_epoch]].to(self.device)

    def _batch_bounds(self) -> list[tuple[int, int]]:
        """Batches of an epoch; the last partial one is kept, except a single row in front of a batch norm."""
        size = self.config.training.batch_size
        count = math.ceil(self.rows_per_epoch / size)
        bounds = [(index * size, min((index + 1) * size, self.rows_per_epoch)) for index in range(count)]
        single = bounds[-1][1] - bounds[-1][0] == 1
        batch_norm = any(isinstance(module, _BatchNorm) for module in self.model.modules())
        return bounds[:-1] if single and batch_norm and len(bounds) > 1 else bounds


def _tensors(data: FoldData, device: str) -> tuple[Tensor, ...]:
    numeric = torch.from_numpy(data.numeric).to(device)
    return (numeric, torch.from_numpy(data.codes).to(device)) if data.cardinalities else (numeric,)


def _target(data: FoldData, head: Head) -> Tensor:
    """Codes (N,) for losses of classes, else floats (N, outputs)."""
    if head.codes:
        return torch.from_numpy(data.target)
    target = data.target if data.target.ndim == 2 else data.target[:, None]
    return torch.from_numpy(target.astype(np.float32))
