"""Laws of the search loop, on a table of learning curves instead of training; for any database and any pruner.

A law searches studies of its own, so that many can share a database. It raises `AssertionError` when it is broken.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np

from foldtune.search.loop import Ending, Search
from foldtune.search.plan import Plan, make_plan
from foldtune.search.pool import Saved, since
from foldtune.search.result import StudyResult, read_result
from foldtune.search.study import OpenStudy, open_study
from foldtune.spec.load import load_spec
from foldtune.store.artifacts import Artifacts
from foldtune.store.records import TrialRecord
from foldtune.store.store import Store
from foldtune.testing.mortal import Mortal, live, nobody_lives
from foldtune.testing.store_laws import same
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean
from foldtune.values import Direction, EpochReport, Floats, Job, TrialResult

EXEMPT = 5

Decisions = dict[int, tuple[str, int]]
"""State and epochs of every trial."""


class TablePool:
    """Reads y[trial, fold, epoch] where others train, and notes what it read.

    Args:
        table: the objective, shape (trials, K, E); NaN diverges.
        direction: of the objective.
        artifacts: where checkpoints go; None to keep none.
        fresh: tables of the fresh partitions.
    """

    def __init__(
        self,
        table: Floats,  # (trials, K, E) float64
        direction: Direction = "minimize",
        artifacts: Artifacts | None = None,
        fresh: Sequence[Floats] = (),
    ) -> None:
        self.table, self.direction, self.artifacts, self.fresh = table, direction, artifacts, fresh
        self.epochs: dict[int, int] = {}
        self.repeats: dict[int, int] = {}
        self.read: list[tuple[int, int, int]] = []  # trial, fold, epoch
        self.again: list[tuple[int, int, int]] = []  # trial, repeat, epoch
        self.steps: list[list[int]] = []  # the trials of each

    def add(self, job: Job, saved: Saved | None = None) -> None:
        self.epochs[job.trial], self.repeats[job.trial] = since(saved), job.repeat

    def unusable(self, job: Job, saved: bytes) -> str | None:
        return None if saved.startswith(_mark(job.trial, job.repeat)) else "it is another trial's"

    def start(self) -> None:
        """Nobody else reads."""

    def step(self) -> list[EpochReport]:
        self.steps.append(sorted(self.epochs))
        return [self._step(trial) for trial in self.steps[-1]]

    def save(self) -> list[str]:
        for trial, epoch in self.epochs.items():
            if self.artifacts and epoch:
                repeat = self.repeats[trial]
                self.artifacts.save(trial, epoch, _mark(trial, repeat) + b"epoch %d" % epoch, repeat)
        return []

    def drop(self, trial: int) -> TrialResult:
        curves = self._curves(trial)
        epoch = len(curves)
        return TrialResult(trial, epoch, np.full(curves.shape[1], epoch), curves[-1][:, None])

    def finish(self, trial: int) -> TrialResult:
        curves, planned = self._curves(trial), self.table.shape[2]
        chosen = choose_epochs(curves, self.direction, eligible_epochs(planned, len(curves)))
        return TrialResult(trial, len(curves), chosen, curves[chosen - 1, np.arange(len(chosen))][:, None])

    def _curves(self, trial: int) -> Floats:
        """What a trial that ends has read, (E, K)."""
        return np.asarray(self._table(trial).T[: self.epochs.pop(trial)])

    def _table(self, trial: int) -> Floats:
        """A trial's own, (K, E)."""
        return np.asarray([self.table, *self.fresh][self.repeats[trial]][trial])

    def _step(self, trial: int) -> EpochReport:
        self.epochs[trial] += 1
        epoch, repeat, table = self.epochs[trial], self.repeats[trial], self._table(trial)
        if repeat:
            self.again.append((trial, repeat, epoch))
        else:
            self.read += [(trial, fold, epoch) for fold in range(len(table))]
        scores = table[:, epoch - 1 : epoch]  # (K, 1)
        return EpochReport(trial, epoch, scores[:, 0], scores, 0.0, done=epoch == table.shape[1], repeat=repeat)


def _mark(trial: int, repeat: int) -> bytes:
    return b"trial %d repeat %d " % (trial, repeat)


def make_table(seed: int, trials: int = 20, folds: int = 3, epochs: int = 27) -> Floats:
    """Learning curves that fall at different speeds to different ends, some with equal values."""
    rng = np.random.default_rng(seed)
    end, speed = rng.uniform(0, 1, (trials, 1, 1)), rng.uniform(0.02, 1, (trials, 1, 1))
    noise = 0.1 * rng.standard_normal((trials, folds, epochs))
    return np.asarray(np.round(end + np.exp(-speed * np.arange(epochs)) + noise, 2))


def make_table_plan(
    table: Floats,  # (trials, K, E) float64
    search: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Plan:
    """A study of as many trials, folds and epochs as a table has, two trials at once, with a name of its own.

    Args:
        table: learning curves.
        search: changes of the `search` section.
        changes: of other sections.
    """
    trials, folds, epochs = table.shape
    tree = {
        "name": f"table-{uuid4().hex}",
        "data": {"use": "make_moons", "n_samples": 60},
        "validation": {"use": "KFold", "n_splits": folds},
        "metrics": ["log_loss"],
        "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 16]}},
        "optimizer": {"use": "SGD", "lr": {"float": [1e-3, 1.0], "log": True}},
        "training": {"epochs": epochs, "batch_size": 64},
    }
    return make_plan(load_spec({**tree, **changes, "search": {"trials": trials, "cohort": 2, **(search or {})}}))


@contextmanager
def opened_study(
    url: str, plan: Plan, artifacts: str | None = None, *, retry_failed: bool = False
) -> Iterator[OpenStudy]:
    """A study in a database, closed in the end.

    Args:
        url: a database.
        plan: the study.
        artifacts: where its checkpoints go; None for a folder that is removed.
        retry_failed: put back what failed.
    """
    with TemporaryDirectory() as folder, closing(Store(url)) as store:
        place = artifacts or folder
        with closing(open_study(plan, store, workers=1, artifacts=place, retry_failed=retry_failed)) as study:
            yield study


def search_table(
    url: str,
    plan: Plan,
    pool: TablePool,
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Ending, StudyResult]:
    """Search a study, or go on with it, as `run_study` does."""
    with opened_study(url, plan) as study:
        ending = Search(study, pool, interrupted).run()
        return ending, read_result(study.store, plan.spec.name, ending)


def decisions(trials: Iterable[TrialRecord]) -> Decisions:
    """State and epochs of every trial."""
    return {trial.number: (trial.state, trial.epochs) for trial in trials}


def halving(
    table: Floats,  # (trials, K, E) float64
    cohort: int,
    direction: Direction = "minimize",
) -> Decisions:
    """The reference: successive halving on the fold mean with eta 3 and rungs 1, 3, 9, 27; the first 5 are exempt."""
    sign = 1.0 if direction == "minimize" else -1.0
    rungs: dict[int, list[float]] = {3**power: [] for power in range(10)}
    live: dict[int, int] = {}
    decided: Decisions = {}
    waiting = list(range(len(table)))
    while live or waiting:
        while waiting and len(live) < cohort:
            live[waiting.pop(0)] = 0
        for trial in sorted(live):
            epoch = live[trial] = live[trial] + 1
            bad, value = False, sign * fold_mean(table[trial, :, epoch - 1])
            if epoch in rungs:
                rungs[epoch].append(value)
                bad = value > sorted(rungs[epoch])[max(len(rungs[epoch]) // 3, 1) - 1]
            if epoch == table.shape[2] or (bad and trial >= EXEMPT):
                decided[trial] = ("complete" if epoch == table.shape[2] else "pruned", epoch)
                del live[trial]
    return decided


def median(
    table: Floats,  # (trials, K, E) float64
    cohort: int,
) -> Decisions:
    """The reference: worse at its best than the median, at this epoch, of at least 5 complete trials."""
    live: dict[int, int] = {}
    decided: Decisions = {}
    waiting, means = list(range(len(table))), table.mean(axis=1)
    while live or waiting:
        while waiting and len(live) < cohort:
            live[waiting.pop(0)] = 0
        for trial in sorted(live):
            epoch = live[trial] = live[trial] + 1
            complete = [number for number, (state, _) in decided.items() if state == "complete"]
            bad = len(complete) >= 5 and means[trial, :epoch].min() > np.median(means[complete, epoch - 1])
            if epoch == table.shape[2] or (bad and trial >= EXEMPT):
                decided[trial] = ("complete" if epoch == table.shape[2] else "pruned", epoch)
                del live[trial]
    return decided


def check_decisions(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    reference: Decisions,
    direction: Direction = "minimize",
) -> None:
    """Trials are pruned where a reference prunes them; what it does not need is not trained, nothing is trained twice.

    Args:
        url: a database.
        plan: a study of the table's sizes.
        table: learning curves.
        reference: what must come out.
        direction: of the objective.
    """
    pool = TablePool(table, direction)
    ending, result = search_table(url, plan, pool)
    assert ending == "budget"
    assert decisions(result.trials) == dict(sorted(reference.items()))
    wanted = {
        (trial, fold, epoch)
        for trial, (_, epochs) in reference.items()
        for fold in range(table.shape[1])
        for epoch in range(1, epochs + 1)
    }
    assert set(pool.read) == wanted and len(pool.read) == len(wanted)


def check_full(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    share: float = 0.8,
) -> None:
    """Until the last trial begins, more than a share of the cohort trains, on the mean over barriers.

    Args:
        url: a database.
        plan: a study of the table's sizes that names its cohort.
        table: learning curves.
        share: of the cohort.
    """
    pool = TablePool(table)
    _, result = search_table(url, plan, pool)
    live = [len(trials) for trials in pool.steps if trials[-1] < len(table) - 1]
    assert live and any(trial.state == "pruned" for trial in result.trials)
    assert np.mean(live) > share * int(result.record.spec["search"]["cohort"])


def check_fold_order(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    order: list[int],
) -> None:
    """The order of the folds changes no decision, no suggestion and no value."""
    _, result = search_table(url, plan, TablePool(table))
    _, other = search_table(url, renamed(plan), TablePool(table[:, order]))
    assert decisions(result.trials) == decisions(other.trials)
    assert same([trial.params for trial in result.trials], [trial.params for trial in other.trials])
    assert same([trial.values for trial in result.trials], [trial.values for trial in other.trials])


def check_interruptions(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    barriers: Iterable[int],
) -> None:
    """A search that is interrupted, each time after so many barriers, ends as one that is not."""
    _, whole = search_table(url, plan, TablePool(table))
    plan = renamed(plan)
    for count in barriers:
        left = iter([False] * count)
        search_table(url, plan, TablePool(table), lambda left=left: next(left, True))  # type: ignore[misc]
    ending, parts = search_table(url, plan, TablePool(table))
    assert ending == whole.ending
    check_same_trials(whole.trials, parts.trials)


def check_deaths(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    steps: Iterable[int],
) -> None:
    """A search that dies at any write, again and again, ends as one that does not.

    Args:
        url: a database.
        plan: a study of the table's sizes.
        table: learning curves.
        steps: how many calls of pool, store and artifacts each life lasts.
    """
    _, whole = search_table(url, plan, TablePool(table))
    plan = renamed(plan)
    with TemporaryDirectory() as folder, nobody_lives():
        for count in steps:
            live(url, plan, TablePool(table), folder, Mortal(count), _search)
        with opened_study(url, plan, folder) as study:
            Search(study, TablePool(table, artifacts=study.artifacts), saved_every_s=0).run()
            parts = read_result(study.store, plan.spec.name)
    check_same_trials(whole.trials, parts.trials)


def _search(study: OpenStudy, pool: Any) -> None:
    Search(study, pool, saved_every_s=0).run()


def check_same_trials(left: Iterable[TrialRecord], right: Iterable[TrialRecord]) -> None:
    """Trials are equal to the last bit, apart from what clocks showed."""
    for one, other in zip(left, right, strict=True):
        one, other = (
            replace(
                trial,
                seconds=0.0,
                started_at=None,
                finished_at=None,
                lease=None,
                attrs=dict(sorted(trial.attrs.items())),
            )
            for trial in (one, other)
        )
        assert same(one, other), f"{one}\n{other}"


def renamed(plan: Plan) -> Plan:
    """The same study under a new name; Optuna's Hyperband reads its brackets from the name."""
    name = f"table-{uuid4().hex}"
    spec = plan.spec.model_copy(update={"name": name})
    return replace(plan, tree={**plan.tree, "name": name}, spec=spec)
