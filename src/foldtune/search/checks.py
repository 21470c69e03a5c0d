"""Every reachable branch of a search space, checked before any training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from foldtune import space
from foldtune.data.dataset import Dataset
from foldtune.data.preprocess import fit_fold
from foldtune.errors import Path, Problem, RequestError
from foldtune.spec.fingerprint import digest
from foldtune.spec.load import parse_section
from foldtune.spec.schema import ConfigSpec
from foldtune.train.check import check_model, check_names, check_optimizer
from foldtune.values import DataShape, Fold, Task


@dataclass(frozen=True)
class Checked:
    """What was built to check a space.

    Args:
        configs: how many configurations were built.
        fewest: trainable parameters of the smallest net.
        most: of the largest.
        default: of the net of trial 0.
        default_config: the configuration of trial 0.
    """

    configs: int
    fewest: int
    most: int
    default: int
    default_config: ConfigSpec


@dataclass
class _Checks:
    """What has been checked so far: equal parts of different configurations are checked once."""

    problems: dict[tuple[Path, str], Problem] = field(default_factory=dict)
    parameters: list[int] = field(default_factory=list)
    shapes: dict[str, DataShape | None] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)


def check_configs(
    tree: Mapping[str, Any], dataset: Dataset | None, folds: tuple[Fold, ...] | None, *, guess: Task
) -> tuple[Checked | None, list[Problem]]:
    """Check the default configuration, both ends of every range and every option.

    Args:
        tree: the searchable sections, with domains.
        dataset: the development rows; None when they could not be read: then only names are checked.
        folds: their partition; None likewise.
        guess: the task, when the data could not be read.

    Returns:
        Parameter counts (None when something is wrong), and all problems at their places in the study file.
    """
    checks, default = _Checks(), None
    for params in space.corners(tree):
        config = space.configure(tree, params)
        spec, found = parse_section(ConfigSpec, config, ())
        found += check_names(spec) if spec is not None else []
        if spec is not None and not found and dataset is not None and folds is not None:
            found = _check_built(checks, spec, dataset, folds)
        default = default or spec
        for problem in found:
            place = space.raw_path(tree, params, problem.path)
            placed = Problem(place, problem.rule, problem.value, problem.hint)
            checks.problems.setdefault((place, problem.rule), placed)
    problems = list(checks.problems.values())
    if problems or not checks.parameters or default is None:
        return None, problems
    counts = checks.parameters
    return Checked(len(counts), min(counts), max(counts), counts[0], default), []


def check_folds(config: ConfigSpec, folds: tuple[Fold, ...]) -> list[Problem]:
    """Parts of a configuration that need more than one fold."""
    if len(folds) > 1 or config.scheduler is None or config.scheduler.use != "ReduceLROnPlateau":
        return []
    rule = "`ReduceLROnPlateau` reads the other folds' scores, and there is only one fold"
    return [Problem(("scheduler",), rule, hint="Use more folds or another schedule.")]


def _check_built(checks: _Checks, config: ConfigSpec, dataset: Dataset, folds: tuple[Fold, ...]) -> list[Problem]:
    """Fit the preprocessing, build net, loss, optimizer and schedule; parts already seen are not built again."""
    steps_key = digest(config.preprocessing.model_dump())
    if steps_key not in checks.shapes:
        try:
            data = fit_fold(dataset, config.preprocessing, folds[0])
        except RequestError as error:
            checks.shapes[steps_key] = None
            return list(error.problems)
        checks.shapes[steps_key] = DataShape(tuple(data.numeric.shape[1:]), data.cardinalities, dataset.n_outputs)
    shape = checks.shapes[steps_key]
    if shape is None:
        return []
    problems: list[Problem] = []
    if _new(checks, "model", steps_key, config.model.node, config.loss.node):
        problems, count = check_model(config, shape, dataset.task)
        checks.parameters += [] if problems else [count]
    scheduler = config.scheduler.node if config.scheduler else None
    if _new(checks, "optimizer", config.optimizer.node, scheduler, config.training.model_dump()):
        batches = math.ceil(len(folds[0].train) / config.training.batch_size)
        problems += check_optimizer(config, _ANY_NET, batches * config.training.epochs, "minimize")
        problems += check_folds(config, folds)
    return problems


def _new(checks: _Checks, *parts: Any) -> bool:
    key = digest(list(parts))
    new = key not in checks.done
    checks.done.add(key)
    return new


_ANY_NET = torch.nn.Linear(2, 2, device="meta")
