"""Many search loops on one study that train nothing, and as many of Optuna's own: trials per second, and errors."""

import logging
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, text

from benchmarks.storage_fill import make_study
from foldtune import space
from foldtune.search.loop import Search
from foldtune.search.optuna_parts import build_sampler, quiet
from foldtune.search.plan import Plan
from foldtune.search.pool import Saved
from foldtune.search.study import open_study
from foldtune.store.engine import configure
from foldtune.store.store import Store
from foldtune.values import EpochReport, Job, TrialResult

POSTGRES = "postgresql+psycopg://postgres@127.0.0.1/test?connect_timeout=5"

IMPORTED = ("torch", "sklearn.datasets", "sklearn.model_selection", "foldtune.train.engine", "foldtune.models.builder")
"""What processes import while they open a study, once for all of them."""

Contender = Literal["foldtune", "Optuna", "Optuna, tuned"]
"""Optuna as it comes, and on SQLite also with the settings that foldtune gives its connections."""


@dataclass(frozen=True)
class Load:
    """What a number of processes do together.

    Args:
        database: "sqlite" or "postgresql".
        workers: processes.
        trials: of all of them together.
        sampler: class of Optuna's; None for foldtune's default.
    """

    database: Literal["sqlite", "postgresql"]
    workers: int
    trials: int
    sampler: str | None = "RandomSampler"

    @property
    def contenders(self) -> tuple[Contender, ...]:
        return ("foldtune", "Optuna", "Optuna, tuned") if self.database == "sqlite" else ("foldtune", "Optuna")

    def share(self, share: float) -> "Load":
        """The same with a part of the trials."""
        return replace(self, trials=max(self.workers, round(share * self.trials)))

    def plan(self) -> Plan:
        """The study: one epoch, one trial at once in each process, nothing pruned."""
        search: dict[str, Any] = {"cohort": 1, "pruner": {"use": "NopPruner"}}
        search |= {} if self.sampler is None else {"sampler": {"use": self.sampler}}
        return make_study(self.trials, epochs=1, **search)


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Args:
        seconds: from the first trial's beginning until all processes have given up their connections.
        cpu_s: processor time of the processes, the database's apart.
        complete: trials that are complete in the database.
        errors: exceptions, and warnings that foldtune logged.
    """

    seconds: float
    cpu_s: float
    complete: int
    errors: int

    @property
    def per_second(self) -> float:
        return self.complete / self.seconds


class NoPool:
    """Answers at once that an epoch is trained; see `Pool`."""

    def __init__(self, plan: Plan) -> None:
        self.planned = int(plan.space["training"]["epochs"])
        self.scores = np.full((len(plan.folds), len(plan.metrics)), 0.5)
        self.epochs: dict[int, int] = {}

    def add(self, job: Job, saved: Saved | None = None) -> None:
        self.epochs[job.trial] = 0

    def unusable(self, job: Job, saved: bytes) -> str | None:
        return "nothing is trained"

    def start(self) -> None:
        """Nothing is trained."""

    def step(self) -> list[EpochReport]:
        return [self._step(trial) for trial in self.epochs]

    def save(self) -> list[str]:
        return []

    def finish(self, trial: int) -> TrialResult:
        epoch = self.epochs.pop(trial)
        return TrialResult(trial, epoch, np.full(len(self.scores), epoch), self.scores)

    def drop(self, trial: int) -> TrialResult:
        return self.finish(trial)

    def _step(self, trial: int) -> EpochReport:
        epoch = self.epochs[trial] = self.epochs[trial] + 1
        return EpochReport(trial, epoch, self.scores[:, 0], self.scores, 0.0, done=epoch == self.planned)


class Errors(logging.Handler):
    """Counts what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        print(record.getMessage()[:200], flush=True)


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of an empty database, which is removed in the end."""
    if kind == "sqlite":
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/study.db"
        return
    engine, schema = create_engine(POSTGRES, isolation_level="AUTOCOMMIT"), f"foldtune_{uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield f"{POSTGRES}&options=-csearch_path%3D{schema}"
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


def measure(load: Load, contender: Contender) -> Outcome:
    """Let the processes work, all from the same moment on.

    Raises:
        RuntimeError: foldtune's rows are not what so many trials must be, or Optuna's copy of them is not.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *IMPORTED])
    with database(load.database) as url, TemporaryDirectory() as folder:
        _create(load, contender, url, folder)
        barrier, answers = context.Barrier(load.workers + 1), context.SimpleQueue()
        arguments = [(load, contender, url, folder, index, barrier, answers) for index in range(load.workers)]
        workers = [context.Process(target=_work, args=given) for given in arguments]
        for worker in workers:
            worker.start()
        barrier.wait()
        began = time.monotonic()
        found = [answers.get() for _ in workers]
        seconds = time.monotonic() - began
        for worker in workers:
            worker.join()
        complete = _check(load, url) if contender == "foldtune" else _complete(load, url)
    return Outcome(seconds, sum(cpu_s for cpu_s, _ in found), complete, sum(errors for _, errors in found))


def _work(load: Load, contender: Contender, url: str, folder: str, index: int, barrier: Barrier, answers: Any) -> None:
    """One process. A trial that fails is an error, and the next one begins."""
    quiet()
    logging.getLogger("foldtune").addHandler(handler := Errors())
    try:
        ready = _foldtune(load, url, folder) if contender == "foldtune" else _optuna(load, contender, url, index)
    except Exception as error:
        print(f"{contender}: {type(error).__name__}: {error}"[:300], flush=True)
        ready, handler.count = [], handler.count + 1
    barrier.wait()
    began, errors = _cpu_s(), 0
    for trial in ready:
        try:
            trial()
        except Exception as error:  # any error is one, and the others go on
            errors += 1
            print(f"{contender}: {type(error).__name__}: {error}"[:300], flush=True)
    answers.put((_cpu_s() - began, errors + handler.count))


def _foldtune(load: Load, url: str, folder: str) -> list[Callable[[], None]]:
    plan = load.plan()
    store = Store(url)
    study = open_study(plan, store, workers=1, artifacts=folder)

    def search() -> None:
        with closing(study):
            Search(study, NoPool(plan)).run()
            study.leave()

    return [search]


def _optuna(load: Load, contender: Contender, url: str, index: int) -> list[Callable[[], None]]:
    plan = load.plan()
    node = None if plan.spec.search.sampler is None else plan.spec.search.sampler.node
    storage = RDBStorage(url)
    if contender == "Optuna, tuned":
        configure(storage.engine)
    sampler = build_sampler(node, plan.space, index)
    study = optuna.load_study(study_name=plan.spec.name, storage=storage, sampler=sampler)

    def run() -> None:
        trial = study.ask()
        space.sample(plan.space, trial)
        trial.report(0.5, 1)
        study.tell(trial, 0.5)

    return [run] * len(range(index, load.trials, load.workers))


def _create(load: Load, contender: Contender, url: str, folder: str) -> None:
    plan = load.plan()
    if contender == "foldtune":
        with closing(Store(url)) as store, closing(open_study(plan, store, workers=1, artifacts=folder)):
            return
    storage = RDBStorage(url)
    optuna.create_study(study_name=plan.spec.name, storage=storage)
    _close(storage)


def _check(load: Load, url: str) -> int:
    """How many trials are complete: all, or it is an error."""
    plan = load.plan()
    with closing(Store(url)) as store:
        uuid = store.study(plan.spec.name).uuid
        trials, means = store.trials(uuid), store.means(uuid)
    copied = _optuna_trials(load, url)
    numbers = list(range(load.trials))
    wrong = [trial.number for trial in trials if trial.state != "complete" or trial.epochs != 1]
    if [trial.number for trial in trials] != numbers or wrong or means != {number: {1: 0.5} for number in numbers}:
        raise RuntimeError(f"{len(trials)} of {load.trials} trials are stored, not complete: {wrong}")
    left = [trial.number for trial in copied if trial.state != TrialState.COMPLETE]
    if [trial.params for trial in copied] != [trial.params for trial in trials] or left:
        raise RuntimeError(f"Optuna's copy has {len(copied)} of {load.trials} trials, not complete: {left}")
    return len(trials)


def _complete(load: Load, url: str) -> int:
    return sum(trial.state == TrialState.COMPLETE for trial in _optuna_trials(load, url))


def _optuna_trials(load: Load, url: str) -> list[FrozenTrial]:
    storage = RDBStorage(url)
    trials = optuna.load_study(study_name=load.plan().spec.name, storage=storage).get_trials(deepcopy=False)
    _close(storage)
    return trials


def _close(storage: RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
