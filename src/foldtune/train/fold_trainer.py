"""One model of one fold: trained an epoch at a time, then asked for its answers on the validation rows."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune import seeds
from foldtune.data.preprocess import FoldData
from foldtune.models.builder import build_model
from foldtune.spec.schema import ConfigSpec
from foldtune.train.batches import batch_bounds, epoch_order, has_batch_norm
from foldtune.train.losses import Head, build_loss
from foldtune.train.optim import PER_BATCH, build_optimizer, build_scheduler
from foldtune.train.portions import Portions, in_portions, kept_buffers
from foldtune.train.precision import autocast
from foldtune.train.regularize import regularize_
from foldtune.train.states import copied, load_module_, load_optimizer_, load_scheduler_, module_state
from foldtune.values import DataShape, Direction, Fold


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
        portions: how many rows go through the model together, the same object for all folds of a job.
        device: where the model lives.
        dtype: of its weights.
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
        portions: Portions,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self.config, self.head, self.key, self.portions = config, head, key, portions
        self.device, self.dtype = device, dtype
        self.train_rows = torch.tensor(fold.train)
        self.valid_rows = torch.tensor(fold.valid, device=device)
        self.rows_per_epoch = rows_per_epoch
        self.autocast = autocast(config.training.precision, device)
        self.inputs = inputs_of(data, device, dtype)
        self.target = target_of(data, head, device, dtype)
        shape = DataShape(tuple(data.numeric.shape[1:]), data.cardinalities, head.outputs)
        with seeds.torch_seeded(*key, "init", device=device):
            self.model = build_model(config.model.node, shape).to(device, dtype)
            self.loss = build_loss(config.loss.node).to(device, dtype)
        every = (*self.model.parameters(), *self.loss.parameters())  # a loss of the user's own may learn, too
        self.parameters = [parameter for parameter in every if parameter.requires_grad]
        size, normed = config.training.batch_size, has_batch_norm(self.model)
        self.batches = batch_bounds(rows_per_epoch, size, batch_norm=normed)
        portions.least = 2 if normed else 1
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
        order = epoch_order(self.train_rows, self.rows_per_epoch, self.key, epoch).to(self.device)
        total = torch.zeros((), device=self.device, dtype=self.dtype)
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

        def every() -> Tensor:
            chunks = torch.split(self.valid_rows, self.portions.answering)
            with seeds.torch_seeded(*self.key, "answers", epoch, device=self.device):
                return torch.cat([self._answer(tuple(tensor[rows] for tensor in self.inputs)) for rows in chunks])

        return self.portions.answer(len(self.valid_rows), every)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and schedule; random numbers need no state, they follow from the key and the epoch."""
        scheduler = self.scheduler.state_dict() if self.scheduler else None
        own = {"model": module_state(self.model), "loss": module_state(self.loss), "scheduler": scheduler}
        state: dict[str, Any] = copied({**own, "optimizer": self.optimizer.state_dict()})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            CheckpointError: another model's, optimizer's or schedule's.
        """
        load_module_(self.model, state["model"], "model")
        load_module_(self.loss, state["loss"], "loss")
        load_optimizer_(self.optimizer, state["optimizer"], "optimizer")
        load_scheduler_(self.scheduler, state["scheduler"], "scheduler")

    def _answer(self, inputs: tuple[Tensor, ...], portions: int = 1) -> Tensor:
        """The net's answers; losses and metrics are computed in the weights' own precision."""
        with self.autocast:
            answers: Tensor = in_portions(self.model, inputs, portions) if portions > 1 else self.model(*inputs)
        return answers.to(self.dtype)

    def _step(self, rows: Tensor) -> Tensor:  # rows (B,) int64 -> mean loss ()
        inputs, target = tuple(tensor[rows] for tensor in self.inputs), self.target[rows]

        def gradients() -> Tensor:
            self.optimizer.zero_grad()
            portions = self.portions.split(len(rows))
            loss: Tensor = self.loss(self.head.link(self._answer(inputs, portions)), target)
            with kept_buffers(self.model) if portions > 1 else nullcontext():
                loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        def closure() -> Tensor:
            loss = self.portions.train(len(rows), gradients)
            return loss + regularize_(self.parameters, self.config.regularization)

        loss = self.optimizer.step(closure)  # type: ignore[arg-type]
        return torch.as_tensor(loss, device=self.device)


def inputs_of(data: FoldData, device: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """What a net reads: numbers (N, *features), and codes (N, Q) where there are any."""
    numeric = torch.from_numpy(data.numeric).to(device, dtype)
    return (numeric, torch.from_numpy(data.codes).to(device)) if data.cardinalities else (numeric,)


def target_of(data: FoldData, head: Head, device: str, dtype: torch.dtype) -> Tensor:
    """Codes (N,) for losses of classes, else floats (N, outputs)."""
    if head.codes:
        return torch.from_numpy(data.target).to(device)
    target = data.target if data.target.ndim == 2 else data.target[:, None]
    return torch.from_numpy(target.astype(np.float32)).to(device, dtype)
