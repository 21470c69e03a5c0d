"""One job of a pack: what its K models train on, and what is their own."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foldtune import seeds
from foldtune.data.preprocess import FoldData
from foldtune.errors import NotPackable
from foldtune.metrics import Metric
from foldtune.models.builder import build_model
from foldtune.spec.schema import ConfigSpec
from foldtune.train.batches import batch_bounds, epoch_order, has_batch_norm, rows_per_epoch
from foldtune.train.curves import Curves
from foldtune.train.engine import TrainingSetup
from foldtune.train.losses import build_loss, make_head
from foldtune.train.packed.losses import smoothing_of
from foldtune.train.packed.program import dropout_rates
from foldtune.train.packed.recipe import Recipe, recipe_of
from foldtune.train.packed.schedule import JobSchedule
from foldtune.train.packed.stack import Stack, stack_of
from foldtune.train.scoring import Scorer
from foldtune.values import DataShape, Job


class Member:
    """A job that fits into a pack.

    Args:
        job: the job.
        data: the rows as each of its folds sees them.
        setup: the study.
        metrics: built from the study's.

    Raises:
        NotPackable: the packed engine cannot train it.
        SpecError: a name is unknown, or a class refuses its arguments.
    """

    def __init__(
        self, job: Job, data: tuple[FoldData, ...], *, setup: TrainingSetup, metrics: tuple[Metric, ...]
    ) -> None:
        self.job, self.data, self.config = job, data, ConfigSpec.model_validate(job.config)
        self.head = make_head(self.config.loss.node, setup.dataset.task, setup.dataset.n_outputs)
        self.keys = [(setup.seed, job.trial, job.repeat, fold) for fold in range(len(job.folds))]
        self.shape = DataShape(tuple(data[0].numeric.shape[1:]), data[0].cardinalities, self.head.outputs)
        nets, self.loss = self._build(setup.device)
        self.rates = dropout_rates(nets[0])
        self.bounds = self._bounds(nets[0])
        self.recipe: Recipe = recipe_of(nets[0], self.loss, self.head, n_inputs=1 + bool(self.shape.cardinalities))
        self.train_rows = [torch.tensor(fold.train) for fold in job.folds]
        self.n_valid = max(len(fold.valid) for fold in job.folds)
        steps, direction = len(self.bounds), setup.directions[0]
        self.schedule = JobSchedule(self.config, folds=len(job.folds), steps=steps, direction=direction)
        self.curves = Curves(job, self.config, setup.directions)
        self.scorer = Scorer(setup.dataset, data, job.folds, head=self.head, metrics=metrics, device=setup.device)
        self.fresh: Stack | None = stack_of(nets, self.recipe.layout, getattr(torch, setup.dtype), setup.device)

    @property
    def pack_key(self) -> str:
        """Equal for jobs that can train as one stacked model."""
        return f"{self.bounds} {self.n_valid} {self.shape}\n{self.recipe.text}"

    @property
    def place(self) -> tuple[str, int]:
        """Where a job stands in its pack: rows of one optimizer class are side by side."""
        return self.schedule.kind.__name__, self.job.trial

    @property
    def settings(self) -> dict[str, float]:
        """What may differ within a pack, by the names of `RowSettings`."""
        rule = self.config.regularization
        return {
            "smoothing": smoothing_of(self.loss),
            "l1": rule.l1,
            "l2": rule.l2,
            "clip_value": rule.clip_value or math.inf,
            "clip_norm": rule.clip_norm or math.inf,
        }

    def order(self, epoch: int) -> Tensor:  # (K, rows)
        """The rows of an epoch in training order, fold by fold."""
        rows = self.bounds[-1][1]
        pairs = zip(self.train_rows, self.keys, strict=True)
        return torch.stack([epoch_order(train, self.rows, key, epoch)[:rows] for train, key in pairs])

    def state_dict(self, stack: Stack) -> dict[str, Any]:
        """All but what follows from the job; `stack` holds its K models."""
        return {**self.curves.state_dict(), "schedule": self.schedule.state_dict(), "stack": stack.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.curves.load_scores(state)
        self.schedule.load_state_dict(state["schedule"])
        first, second = state["stack"]["moments"]
        self.fresh = Stack(state["stack"]["flat"], (first, second), state["stack"]["buffers"])

    def _build(self, device: str) -> tuple[list[nn.Module], nn.Module]:
        nets = []
        for key in self.keys:
            with seeds.torch_seeded(*key, "init", device=device):
                nets.append(build_model(self.config.model.node, self.shape))
                loss = build_loss(self.config.loss.node)
        return nets, loss

    def _bounds(self, net: nn.Module) -> list[tuple[int, int]]:
        counts = rows_per_epoch([len(fold.train) for fold in self.job.folds])
        if len(set(counts)) > 1:
            raise NotPackable(f"its folds train on different numbers of rows: {counts}")
        self.rows = counts[0]
        normed = has_batch_norm(net)
        bounds = batch_bounds(self.rows, self.config.training.batch_size, batch_norm=normed)
        if normed and any(stop - start == 1 for start, stop in bounds):
            raise NotPackable("a batch norm gets single rows")
        return bounds
