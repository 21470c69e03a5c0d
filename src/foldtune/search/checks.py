"""Every reachable branch of a search space, checked before any training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from foldtune import space
from foldtune.data.dataset import Dataset
from foldtune.data.preprocess import fit_fold
from foldtune.errors import Path, Problem, RequestError
from foldtune.refs import label
from foldtune.spec.fingerprint import digest
from foldtune.spec.schema import ConfigSpec
from foldtune.spec.shape import parse_section, related, salvage
from foldtune.train.check import check_model, check_names, check_optimizer
from foldtune.values import DataShape, Fold

STAND_INS = {"model": "MLP", "loss": "CrossEntropyLoss", "optimizer": "AdamW"}
"""For sections of a configuration that are no references at all, while the others are checked."""

_ANY_NET = torch.nn.Linear(2, 2, device="meta")
"""Optimizers and schedules are built for it: they do not depend on the net."""


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
    tree: Mapping[str, Any], dataset: Dataset | None, folds: tuple[Fold, ...] | None
) -> tuple[Checked | None, list[Problem]]:
    """Check the default configuration, both ends of every range and every option.

    Args:
        tree: the searchable sections, with domains.
        dataset: the development rows; None when they could not be read: then no net is built.
        folds: their partition; None when they could not be split: then nets are built for all rows.

    Returns:
        Parameter counts (None when something is wrong), and all problems at their places in the study file.
    """
    checks, default = _Checks(), None
    for params in space.corners(tree):
        config = space.configure(tree, params)
        spec, _, found = salvage(_parse, config, STAND_INS)
        found += [problem for problem in check_names(spec) if not related(problem, found)]
        broken = {problem.path[0] for problem in found}
        if dataset is not None and not broken & {"model", "loss", "preprocessing"}:
            found += _check_net(checks, spec, dataset, folds)
        if not broken & {"optimizer", "scheduler"}:
            found += _check_descent(checks, spec, folds)
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


def _parse(config: Mapping[str, Any]) -> tuple[ConfigSpec | None, list[Problem]]:
    return parse_section(ConfigSpec, config, ())


def check_folds(config: ConfigSpec, folds: tuple[Fold, ...]) -> list[Problem]:
    """Parts of a configuration that need more than one fold."""
    if len(folds) > 1 or config.scheduler is None or label(config.scheduler.node) != "ReduceLROnPlateau":
        return []
    rule = "`ReduceLROnPlateau` reads the other folds' scores, and there is only one fold"
    return [Problem(("scheduler",), rule, hint="Use more folds or another schedule.")]


def _check_net(checks: _Checks, config: ConfigSpec, dataset: Dataset, folds: tuple[Fold, ...] | None) -> list[Problem]:
    """Fit the preprocessing, build net and loss; parts already seen are not built again."""
    rows = np.arange(dataset.n_rows)
    fold = folds[0] if folds else Fold(rows, rows)
    steps_key = digest(config.preprocessing.model_dump())
    if steps_key not in checks.shapes:
        try:
            data = fit_fold(dataset, config.preprocessing, fold)
        except RequestError as error:
            checks.shapes[steps_key] = None
            return list(error.problems)
        checks.shapes[steps_key] = DataShape(tuple(data.numeric.shape[1:]), data.cardinalities, dataset.n_outputs)
    shape = checks.shapes[steps_key]
    if shape is None or not _new(checks, "model", steps_key, config.model.node, config.loss.node):
        return []
    problems, count = check_model(config, shape, dataset.task)
    checks.parameters += [] if problems else [count]
    return problems


def _check_descent(checks: _Checks, config: ConfigSpec, folds: tuple[Fold, ...] | None) -> list[Problem]:
    """Build optimizer and schedule, unless equal ones were."""
    scheduler = config.scheduler.node if config.scheduler else None
    if not _new(checks, "optimizer", config.optimizer.node, scheduler, config.training.model_dump()):
        return []
    batches = math.ceil(len(folds[0].train) / config.training.batch_size) if folds else 1
    problems = check_optimizer(config, _ANY_NET, batches * config.training.epochs, "minimize")
    return problems + (check_folds(config, folds) if folds else [])


def _new(checks: _Checks, *parts: Any) -> bool:
    key = digest(list(parts))
    new = key not in checks.done
    checks.done.add(key)
    return new
