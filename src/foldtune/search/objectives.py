"""The metrics of a study: those that are asked for, or the task's own, objectives first."""

from collections.abc import Sequence
from typing import Any

from foldtune import refs
from foldtune.data.dataset import Dataset
from foldtune.errors import Path, Problem, SpecError
from foldtune.metrics import Metric, build_metric, default_metrics, default_objective
from foldtune.search.metric_checks import metric_problems
from foldtune.spec.schema import StudySpec
from foldtune.values import Fold, Task

Chosen = tuple[Metric, dict[str, Any]]
"""A metric with its reference."""


def metrics_of(spec: StudySpec, dataset: Dataset | None, task: Task) -> list[Chosen]:
    """Every metric with its reference, objectives first, each once."""
    if dataset or spec.data.task:
        return _built(spec, task, dataset.n_outputs if dataset else 2)
    try:
        return _built(spec, "regression", 1)  # the task is not known: a metric of either will do
    except SpecError:
        return _built(spec, "classification", 2)


def objective_problems(
    objectives: Sequence[Chosen], dataset: Dataset, folds: tuple[Fold, ...], splitter: str
) -> list[Problem]:
    """Objectives that the folds make meaningless; what a user's own metric needs is not known."""
    known = [
        (metric, path)
        for (metric, node), path in zip(objectives, _places(objectives), strict=True)
        if ":" not in refs.split(node)[0]
    ]
    return metric_problems(known, dataset, folds, splitter)


def _built(spec: StudySpec, task: Task, n_classes: int) -> list[Chosen]:
    objectives = [reference.node for reference in spec.objective] or [{"use": default_objective(task)}]
    others = [reference.node for reference in spec.metrics]
    if not others:
        others = [{"use": name} for name in default_metrics(task, n_classes)]
    places = _places(objectives)
    places += [("metrics", index) for index in range(len(others))]
    built: dict[str, Chosen] = {}
    problems: list[Problem] = []
    for node, path in zip([*objectives, *others], places, strict=True):
        try:
            metric = build_metric(node, task=task, n_classes=n_classes, path=path)
            if path[0] == "objective" and metric.label in built:
                problems.append(Problem(path, "an objective can stand only once", metric.label))
            built.setdefault(metric.label, (metric, node))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return list(built.values())


def _places(objectives: Sequence[object]) -> list[Path]:
    """Where objectives stand in the file: a list has numbers."""
    return [("objective", *([] if len(objectives) == 1 else [index])) for index in range(len(objectives))]
