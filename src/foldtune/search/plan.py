"""From a study file to everything a study needs, all problems reported at once and before any training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np

from foldtune import refs, trust
from foldtune.data.dataset import Dataset
from foldtune.data.load import load, options_problems
from foldtune.data.locking import lock_test_rows
from foldtune.data.matching import load_test_file
from foldtune.data.outer import outer_folds
from foldtune.data.splitters import FILLED, columns, default_splitter, folds_fingerprint, make_folds
from foldtune.errors import DataError, Problem, RequestError, SpecError, located
from foldtune.metrics import Metric
from foldtune.search.checks import Checked, check_configs
from foldtune.search.enqueue import read_enqueue
from foldtune.search.keeping import losses_problems
from foldtune.search.objectives import metrics_of, objective_problems
from foldtune.search.optuna_parts import check_parts
from foldtune.seeds import derive
from foldtune.spec import domains
from foldtune.spec.defaults import complete
from foldtune.spec.fingerprint import canonical, digest
from foldtune.spec.load import StudyFile, validate
from foldtune.spec.schema import SEARCHABLE, StudySpec
from foldtune.spec.shape import related
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
        locked: rows that the search must not see, as numbers in the whole data.
        tested: those of them that `foldtune test` is scored on: all, but for an outer fold of a nested study.
        held: the tested rows; None where there are none, or where they are a file of their own.
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
    tested: Rows
    held: Dataset | None
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

    def partition(self, repeat: int) -> tuple[Fold, ...]:
        """Folds of the development rows by the study's splitter and a seed of their own.

        A splitter without randomness, or with a `random_state` of its own, gives those of the study again.

        Args:
            repeat: from 1.

        Raises:
            DataError: such folds do not suit the data, as when one trains on no row of a class.
        """
        node = self.spec.validation.node if self.spec.validation else None
        return make_folds(self.dataset, node, derive(self.spec.search.seed, "split", repeat))

    @property
    def has_locked_rows(self) -> bool:
        """Whether rows are set aside for the test, in the data or in a file of their own."""
        return self.held is not None or self.spec.data.test is not None

    def locked_dataset(self) -> Dataset | None:
        """The rows set aside for the test, or those of the file `data.test`, which is read now; None without any.

        Raises:
            DataError: the file does not fit the development rows.
        """
        if self.held is not None or self.spec.data.test is None:
            return self.held
        with located(self.file.source):
            return load_test_file(self.spec.data, self.file.folder, self.dataset)

    def with_locked(self) -> tuple[Dataset, Fold]:
        """The development rows followed by the locked ones, and the fold that trains on those and is scored on these.

        Raises:
            DataError: no rows are locked, or the file `data.test` does not fit the development rows.
        """
        locked = self.locked_dataset()
        if locked is None:
            hint = "Write `test_fraction: 0.2` or `test: FILE` into `data` before a study begins."
            raise DataError.of(("data", "test_fraction"), "rows must be locked away for a test", hint=hint)
        first, last = self.dataset.n_rows, self.dataset.n_rows + locked.n_rows
        return self.dataset.followed_by(locked), Fold(np.arange(first), np.arange(first, last))

    def setup(self, device: str) -> TrainingSetup:
        """What a training process gets."""
        search = self.spec.search
        return TrainingSetup(
            self.dataset,
            self.metric_nodes,
            self.directions,
            search.seed,
            device=device,
            engine=search.engine,
            allowed=trust.in_force(),
        )


def make_plan(file: StudyFile) -> Plan:
    """Load the data, fill in defaults, split, and check every reachable branch.

    Raises:
        RequestError: everything wrong with the study file or the data, each with its place.
    """
    refs.importable(str(file.home))
    with located(file.source):
        return _Planner(file).plan()


class _Planner:
    """Goes on after a problem wherever the next step does not depend on it."""

    def __init__(self, file: StudyFile) -> None:
        self.file, self.spec = file, file.spec
        self.problems = list(file.problems)
        self.kind: type[RequestError] = SpecError if file.problems else DataError

    def plan(self) -> Plan:
        dataset = self._data()
        task: Task = dataset.task if dataset else self.spec.data.task or "classification"
        rows = self.attempt(lambda: self._lock(dataset)) if dataset else None
        development = dataset.take(rows[0]) if dataset and rows else None
        tree = complete(self.file.tree, task)
        if development and tree.get("validation") is None:
            tree["validation"] = default_splitter(development)
        spec = self.attempt(lambda: validate(tree)) or self.spec
        searched = {key: domains.parse(tree[key], (key,))[0] for key in SEARCHABLE if key in tree}
        metrics = self.attempt(lambda: metrics_of(spec, dataset, task))
        n_objectives = max(1, len(spec.objective))
        enqueued = self.attempt(lambda: self._enqueued(spec, searched))
        self.note(check_parts(spec.search, searched, n_objectives))
        if metrics:
            self.note(losses_problems(spec.search.out_of_fold, metrics[0][1]))
        folds = self.attempt(lambda: self._folds(development))
        checked, found = check_configs(searched, development, folds)
        self.note(found)
        if development and folds and metrics:
            self.note(objective_problems(metrics[:n_objectives], development, folds, refs.label(tree["validation"])))
        if self.problems or not (dataset and rows and folds and development and metrics and checked):
            raise self.kind(self.problems)
        return Plan(
            file=self.file,
            tree=canonical(tree),
            spec=spec,
            space=searched,
            dataset=development,
            locked=np.setdiff1d(np.arange(dataset.n_rows), rows[0]),
            tested=rows[1],
            held=dataset.take(rows[1]) if len(rows[1]) else None,
            data_fingerprint=self._fingerprint(dataset),
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
            self.note(error.problems, type(error))
            return None

    def note(self, problems: Sequence[Problem], kind: type[RequestError] = SpecError) -> None:
        """Add problems that do not just follow from what is wrong with the file's shape."""
        fresh = [problem for problem in problems if not related(problem, self.file.problems)]
        self.problems += fresh
        if fresh and kind is SpecError:
            self.kind = SpecError

    def _data(self) -> Dataset | None:
        """All rows; None when the section is wrong: a misspelt option may change what is read."""
        problems = options_problems(self.spec.data)
        self.note(problems)
        if problems or self._has_problem("data"):
            return None
        node = self.spec.validation.node if self.spec.validation else None
        return self.attempt(lambda: load(self.spec.data, self.file.folder, columns(node)))

    def _has_problem(self, *sections: str) -> bool:
        return any(problem.path[0] in sections for problem in self.file.problems if problem.path)

    def _enqueued(self, spec: StudySpec, searched: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._has_problem(*SEARCHABLE):
            return []  # what is wrong in the space would be missing here
        return read_enqueue(spec.search.enqueue, searched, self.file.home)

    def _lock(self, dataset: Dataset) -> tuple[Rows, Rows]:
        """Rows for development, and those that a test is scored on."""
        outer = self.spec.data.outer_fold
        if outer is None:
            return self._lock_test(dataset, self.spec.search.seed)
        rows, _ = self._lock_test(dataset, outer.seed)
        development = dataset.take(rows)
        node = self.spec.validation.node if self.spec.validation else default_splitter(development)
        fold = outer_folds(development, node, outer.n_splits, outer.seed)[outer.fold]
        return rows[fold.train], rows[fold.valid]

    def _lock_test(self, dataset: Dataset, seed: int) -> tuple[Rows, Rows]:
        fraction = self.spec.data.test_fraction
        if self.spec.data.test is not None and not (self.file.folder / self.spec.data.test).is_file():
            raise DataError.of(("data", "test"), "the locked test file must exist", self.spec.data.test)
        if fraction is None:
            return np.arange(dataset.n_rows), np.arange(0)
        return lock_test_rows(dataset, fraction, seed)

    def _fingerprint(self, dataset: Dataset) -> str:
        """Of all rows, and of the bytes of a locked test file."""
        if self.spec.data.test is None:
            return dataset.fingerprint
        locked = sha256((self.file.folder / self.spec.data.test).read_bytes())
        return digest([dataset.fingerprint, locked.hexdigest()])

    def _folds(self, dataset: Dataset | None) -> tuple[Fold, ...] | None:
        node = self.spec.validation.node if self.spec.validation else None
        if problems := refs.check(node, refs.SPLITTER, ("validation",), FILLED) if node else []:
            raise SpecError(problems)
        return make_folds(dataset, node, self.spec.search.seed) if dataset else None
