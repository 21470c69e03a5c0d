"""What can be known about a configuration before any training: names, arguments, shapes, parameter counts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foldtune import refs
from foldtune.errors import Problem, SpecError
from foldtune.models.builder import build_on_meta, n_parameters, widths
from foldtune.spec.schema import ConfigSpec, PreprocessingSpec, Reference
from foldtune.train.losses import build_loss, make_head
from foldtune.train.optim import PER_BATCH, build_optimizer, build_scheduler
from foldtune.values import DataShape, Direction, Task

_FILLED_BY_SHAPE = frozenset(widths(DataShape((1,), (), 1)))
_FILLED_BY_HORIZON = frozenset({"optimizer", "T_max", "max_lr", "total_steps", "mode"})


def check_names(config: ConfigSpec) -> list[Problem]:
    """Everything wrong with the classes that a configuration names and with their arguments' names."""
    problems = refs.check(config.model.node, refs.MODEL, ("model",), _FILLED_BY_SHAPE)
    problems += refs.check(config.loss.node, refs.LOSS, ("loss",))
    problems += refs.check(config.optimizer.node, refs.OPTIMIZER, ("optimizer",), frozenset({"params"}))
    if config.scheduler is not None:
        problems += refs.check(config.scheduler.node, refs.SCHEDULER, ("scheduler",), _FILLED_BY_HORIZON)
    return problems + _check_steps(config.preprocessing)


def check_model(config: ConfigSpec, shape: DataShape, task: Task) -> tuple[list[Problem], int]:
    """Build the net and the loss on the meta device; what is wrong, and the number of trainable parameters.

    Args:
        config: the configuration.
        shape: the data's, with the number of classes or of target columns as `outputs`.
        task: what the target asks for.
    """
    try:
        head = make_head(config.loss.node, task, shape.outputs)
        model = build_on_meta(config.model.node, DataShape(shape.features, shape.cardinalities, head.outputs))
        loss = build_loss(config.loss.node)
    except SpecError as error:
        return list(error.problems), 0
    target = torch.zeros(2, dtype=torch.int64) if head.codes else torch.zeros(2, head.outputs)
    return _check_loss(loss, head.link(torch.zeros(2, head.outputs)), target, config.loss.node), n_parameters(model)


def check_optimizer(config: ConfigSpec, model: nn.Module, steps: int, direction: Direction) -> list[Problem]:
    """Build the optimizer and its schedule for a net; what is wrong.

    Args:
        config: the configuration.
        model: any net of the right structure; its parameters are not changed.
        steps: batches of the whole trial.
        direction: the objective's.
    """
    node = config.scheduler.node if config.scheduler else None
    try:
        optimizer = build_optimizer(config.optimizer.node, model.parameters(), "meta")
        scheduler = build_scheduler(node, optimizer, epochs=config.training.epochs, steps=steps, direction=direction)
    except SpecError as error:
        return list(error.problems)
    inner = [type(part).__name__ for part in getattr(scheduler, "_schedulers", ()) if isinstance(part, PER_BATCH)]
    if inner:
        rule = f"`{type(scheduler).__name__}` steps every epoch and cannot hold a schedule that steps every batch"
        return [Problem(("scheduler",), rule, inner[0], "Use it alone; OneCycleLR has a warm-up of its own.")]
    if isinstance(optimizer, torch.optim.SparseAdam):
        rule = "`SparseAdam` needs sparse gradients, which no net of a study file gives"
        return [Problem(("optimizer",), rule, hint="Use Adam.")]
    return []


def _check_loss(loss: nn.Module, answers: Tensor, target: Tensor, node: Mapping[str, Any]) -> list[Problem]:
    try:
        value = loss(answers, target)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        return [Problem(("loss",), f"`{refs.label(node)}` must accept the answers and the target", str(error))]
    if isinstance(value, Tensor) and value.ndim == 0:
        return []
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    rule = f"`{refs.label(node)}` must give one number for a batch"
    return [Problem(("loss",), rule, str(found), "Leave `reduction` out.")]


def _check_steps(preprocessing: PreprocessingSpec) -> list[Problem]:
    groups: list[tuple[tuple[str | int, ...], tuple[Reference, ...]]] = [(("numeric",), preprocessing.numeric or ())]
    if isinstance(preprocessing.categorical, tuple):
        groups.append((("categorical",), preprocessing.categorical))
    groups += [(("columns", index, "steps"), group.steps) for index, group in enumerate(preprocessing.columns)]
    return [
        problem
        for path, steps in groups
        for index, step in enumerate(steps)
        for problem in refs.check(step.node, refs.PREPROCESSING, ("preprocessing", *path, index))
    ]
