"""How quickly a configuration's net answers."""

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch

from foldtune.data.preprocess import fit_fold
from foldtune.models.builder import build_model
from foldtune.search.plan import Plan
from foldtune.spec.schema import ConfigSpec
from foldtune.train.fold_trainer import inputs_of
from foldtune.train.losses import make_head
from foldtune.values import DataShape

ROWS = 256
REPEATS = 30
WARM_UP = 3


def latency(plan: Plan, config: Mapping[str, Any]) -> float:
    """Seconds that an untrained net of a configuration takes on the CPU for a batch of 256 rows: the median of 30.

    Args:
        plan: the study, whose first fold's rows are answered.
        config: the configuration.
    """
    spec = ConfigSpec.model_validate(dict(config))
    data = fit_fold(plan.dataset, spec.preprocessing, plan.folds[0])
    head = make_head(spec.loss.node, plan.dataset.task, plan.dataset.n_outputs)
    shape = DataShape(tuple(data.numeric.shape[1:]), data.cardinalities, head.outputs)
    model = build_model(spec.model.node, shape).eval()
    batch = tuple(tensor[:ROWS] for tensor in inputs_of(data, "cpu", torch.float32))
    times = [_timed(model, batch) for _ in range(WARM_UP + REPEATS)]
    return median(times[WARM_UP:])


@torch.no_grad()
def _timed(model: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> float:
    began = time.perf_counter()
    model(*batch)
    return time.perf_counter() - began
