"""From a study file to everything a study needs, all problems reported at once and before any training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from foldtune import refs
from foldtune.data.dataset import Dataset
from foldtune.data.load import load, options_problems
from foldtune.data.locking import lock_test_rows
from foldtune.data.splitters import folds_fingerprint, make_folds
from foldtune.errors import DataError, Path, Problem, RequestError, SpecError, located
from foldtune.metrics import Metric, build_metric, default_metrics, default_objective
from foldtune.search.checks import Checked, check_configs
from foldtune.search.enqueue import read_enqueue
from foldtune.search.optuna_parts import check_parts
from foldtune.spec import domains
from foldtune.spec.defaults import complete
from foldtune.spec.fingerprint import canonical, digest
from foldtune.spec.load import StudyFile, validate
from foldtune.spec.schema import SEARCHABLE, StudySpec
from foldtune.train.engine import TrainingSetup
from foldtune.values import Direction, Fold, Rows, Task

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Plan:
    """A study that can be run.

    Args:
        file: the study file.
        tree: its canonical tree with every default filled in: what is stored and compared.
        spec: the same, validated.
        space: the searchable sections, with domains.
        dataset: the development rows.
        locked: rows set aside for the test, as numbers in the whole data.
        data_fingerprint: of all rows, locked ones included.
        folds: the partition of the development rows, the same for every trial.
        metrics: objectives first.
        metric_nodes: their references.
        n_objectives: how many of them are objectives.
        enqueued: parameters to try first, after the defaults.
        checked: parameter counts of the configurations that were built.
    """

    file: StudyFile
    tree: dict[str, Any]
    spec: StudySpec
    space: dict[str, Any]
    dataset: Dataset
    locked: Rows
    data_fingerprint: str
    folds: tuple[Fold, ...]
    metrics: tuple[Metric, ...]
    metric_nodes: tuple[dict[str, Any], ...]
    n_objectives: int
    enqueued: tuple[dict[str, Any], ...]
    checked: Checked

    @property
    def directions(self) -> tuple[Direction, ...]:
        return tuple(metric.direction for metric in self.metrics[: self.n_objectives])

    @property
    def split_fingerprint(self) -> str:
        return digest([folds_fingerprint(self.folds), self.locked.tolist()])

    def setup(self, device: str) -> TrainingSetup:
        """What a training process gets."""
        return TrainingSetup(self.dataset, self.metric_nodes, self.directions, self.spec.search.seed, device)


def make_plan(file: StudyFile) -> Plan:
    """Load the data, fill in defaults, split, and check every reachable branch.

    Raises:
        RequestError: everything wrong with the study file or the data, each with its place.
    """
    refs.importable(str(file.folder))
    with located(file.source):
        return _Planner(file).plan()


class _Planner:
    """Goes on after a problem wherever the next step does not depend on it."""

    def __init__(self, file: StudyFile) -> None:
        self.file, self.spec = file, file.spec
        self.problems: list[Problem] = []
        self.kind: type[RequestError] = DataError

    def plan(self) -> Plan:
        data = self.spec.data
        self.problems += options_problems(data)
        dataset = None if self.problems else self.attempt(lambda: load(data, self.file.folder))
        task: Task = dataset.task if dataset else data.task or "classification"
        tree = complete(self.file.tree, task)
        spec = self.attempt(lambda: validate(tree)) or self.spec
        searched = {key: domains.parse(tree[key], (key,))[0] for key in SEARCHABLE if key in tree}
        metrics = self.attempt(lambda: self._metrics(spec, dataset, task))
        n_objectives = max(1, len(spec.objective))
        enqueued = self.attempt(lambda: read_enqueue(spec.search.enqueue, searched, self.file.folder))
        self.problems += check_parts(spec.search, searched, n_objectives)
        rows = self.attempt(lambda: self._lock(dataset)) if dataset else None
        folds = self.attempt(lambda: self._folds(dataset, rows)) if dataset and rows else None
        development = dataset.take(rows[0]) if dataset and rows else None
        checked, found = check_configs(searched, development, folds, guess=task)
        self.problems += [problem for problem in found if not self._about_guess(problem, dataset)]
        if self.problems or not (dataset and rows and folds and development and metrics and checked):
            raise self._error()
        return Plan(
            file=self.file,
            tree=canonical(tree),
            spec=spec,
            space=searched,
            dataset=development,
            locked=rows[1],
            data_fingerprint=dataset.fingerprint,
            folds=folds,
            metrics=tuple(metric for metric, _ in metrics),
            metric_nodes=tuple(node for _, node in metrics),
            n_objectives=n_objectives,
            enqueued=tuple(enqueued or ()),
            checked=checked,
        )

    def attempt(self, step: Callable[[], T]) -> T | None:
        """A step's result, or None with its problems noted."""
        try:
            return step()
        except RequestError as error:
            self.problems += error.problems
            if isinstance(error, SpecError):
                self.kind = SpecError
            return None

    def _lock(self, dataset: Dataset) -> tuple[Rows, Rows]:
        fraction, seed = self.spec.data.test_fraction, self.spec.search.seed
        if self.spec.data.test is not None and not (self.file.folder / self.spec.data.test).is_file():
            raise DataError.of(("data", "test"), "the locked test file must exist", self.spec.data.test)
        if fraction is None:
            return np.arange(dataset.n_rows), np.arange(0)
        return lock_test_rows(dataset, fraction, seed)

    def _folds(self, dataset: Dataset, rows: tuple[Rows, Rows]) -> tuple[Fold, ...]:
        node = self.spec.validation.node if self.spec.validation else None
        return make_folds(dataset.take(rows[0]), node, self.spec.search.seed)

    def _metrics(self, spec: StudySpec, dataset: Dataset | None, task: Task) -> list[tuple[Metric, dict[str, Any]]]:
        """Every metric with its reference, objectives first, each once."""
        n_classes = dataset.n_outputs if dataset else 2
        objectives = [reference.node for reference in spec.objective] or [{"use": default_objective(task)}]
        others = [reference.node for reference in spec.metrics]
        if not others:
            others = [{"use": name} for name in default_metrics(task, n_classes)]
        places: list[Path] = [("objective", *([] if len(objectives) == 1 else [i])) for i in range(len(objectives))]
        places += [("metrics", index) for index in range(len(others))]
        built: dict[str, tuple[Metric, dict[str, Any]]] = {}
        problems: list[Problem] = []
        for node, path in zip([*objectives, *others], places, strict=True):
            try:
                metric = build_metric(node, task=task, n_classes=n_classes, path=path)
                built.setdefault(metric.label, (metric, node))
            except SpecError as error:
                problems += error.problems
        if problems and dataset:
            raise SpecError(problems)
        return list(built.values())

    def _about_guess(self, problem: Problem, dataset: Dataset | None) -> bool:
        """Whether a problem may only come from a task that was guessed because the data could not be read."""
        return (
            dataset is None
            and self.spec.data.task is None
            and problem.path[:1] == ("loss",)
            and "target" in problem.rule
        )

    def _error(self) -> RequestError:
        return (SpecError if self.kind is SpecError else DataError)(self.problems)
