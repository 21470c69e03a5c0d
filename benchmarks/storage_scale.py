"""One study that grows to thousands of trials: how long it takes to open, to suggest, to store and to look at."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Thread
from urllib.request import urlopen

import optuna
from optuna.storages import InMemoryStorage, RDBStorage

from benchmarks.storage_fill import fill, make_study
from benchmarks.storage_load import NoPool
from foldtune import space
from foldtune.dashboard import make_server
from foldtune.search.loop import Search
from foldtune.search.optuna_parts import build_sampler
from foldtune.search.plan import Plan
from foldtune.search.study import open_study
from foldtune.store.records import Barrier
from foldtune.store.store import Store

ASKED = 5
"""Suggestions that are timed at each size; every other figure is the median of three."""


@dataclass(frozen=True)
class Scale:
    """What was measured at one number of trials, times in seconds.

    Args:
        trials: complete, every epoch stored.
        open_s: from the database's URL to a study that can be searched.
        show_s: `foldtune show`, a process from start to end.
        list_s: `foldtune list`, the same.
        ask_s: a suggestion: number, parameters, configuration.
        memory_s: Optuna's own, with the same sampler, in memory.
        rdb_s: Optuna's own, with the same sampler, on this database.
        barrier_s: an epoch of one trial from barrier to barrier, stored, nothing trained.
        own_bytes: of foldtune's rows, a trial.
        optuna_bytes: of Optuna's, a trial.
        dashboard_s: the dashboard's answer with all trials, when it is asked again.
        first_s: the same when it is asked for the first time.
        dashboard_bytes: of the answer.
    """

    trials: int
    open_s: float
    show_s: float
    list_s: float
    ask_s: float
    memory_s: float
    rdb_s: float
    barrier_s: float
    own_bytes: float
    optuna_bytes: float
    dashboard_s: float
    first_s: float
    dashboard_bytes: int


def measure(folder: Path, sizes: Sequence[int], epochs: int) -> list[Scale]:
    """Let a study grow in a SQLite file, and measure it at each size.

    Args:
        folder: where the file is made.
        sizes: numbers of trials, ascending.
        epochs: of each trial.
    """
    file, plan = folder / "study.db", make_study(10 * sizes[-1], epochs=epochs)
    results = []
    for size in sizes:
        fill(f"sqlite:///{file}", plan, size)
        results.append(_measure(file, plan, size))
        print(results[-1], flush=True)
    return results


def _measure(file: Path, plan: Plan, size: int) -> Scale:
    """Asking adds trials, which is done in copies of the file."""
    url, name = f"sqlite:///{file}", plan.spec.name
    own_bytes = _bytes(file, "foldtune_%")
    asked, other = (_copied(file, file.with_name(f"{use}-{size}.db")) for use in ("asked", "optuna"))
    ask_s, barrier_s = _search(f"sqlite:///{asked}", size, int(plan.space["training"]["epochs"]))
    stored = optuna.load_study(study_name=name, storage=url)
    memory = optuna.create_study(study_name=name, storage=InMemoryStorage(), directions=stored.directions)
    memory.add_trials(stored.get_trials(deepcopy=False))
    first_s, dashboard_s, dashboard_bytes = _look(url)
    return Scale(
        trials=size,
        open_s=_median(lambda: _open(url, plan)),
        show_s=_median(lambda: _run("show", name, "--storage", url)),
        list_s=_median(lambda: _run("list", "--storage", url)),
        ask_s=ask_s,
        memory_s=_ask(memory, plan),
        rdb_s=_ask(optuna.load_study(study_name=name, storage=RDBStorage(f"sqlite:///{other}")), plan),
        barrier_s=barrier_s,
        own_bytes=own_bytes / size,
        optuna_bytes=(_bytes(file, "%") - _bytes(file, "foldtune_%")) / size,
        dashboard_s=dashboard_s,
        first_s=first_s,
        dashboard_bytes=dashboard_bytes,
    )


def _copied(file: Path, to: Path) -> Path:
    with closing(sqlite3.connect(file)) as whole, closing(sqlite3.connect(to)) as copy:
        whole.backup(copy)
    return to


def _open(url: str, plan: Plan) -> None:
    with closing(Store(url)) as store, closing(open_study(plan, store, workers=1)):
        return


def _search(url: str, size: int, epochs: int) -> tuple[float, float]:
    """Seconds of a suggestion, its number's reservation included, and of a barrier of as many trials."""
    plan = make_study(size + ASKED, epochs=epochs)
    asks, barriers = [], []
    with closing(Store(url)) as store, closing(open_study(plan, store, workers=1)) as study:
        for _ in range(ASKED):
            began = time.perf_counter()
            study.reserve(1)
            trial = study.ask(study.reserved[0])
            asks.append(time.perf_counter() - began)
            store.record(study.lease, Barrier(asked=(trial,)))
        Search(study, NoPool(plan), watch=lambda status: barriers.append(time.perf_counter())).run()
    return median(asks), median(later - before for before, later in pairwise(barriers))


def _ask(study: optuna.Study, plan: Plan) -> float:
    """Seconds of one of Optuna's own suggestions, each by a sampler that was just made, as in foldtune."""
    seconds = []
    for index in range(ASKED):
        study.sampler = build_sampler(None, plan.space, index)
        began = time.perf_counter()
        trial = study.ask()
        space.sample(plan.space, trial)
        seconds.append(time.perf_counter() - began)
        study.tell(trial, 0.5)
    return median(seconds)


def _look(url: str) -> tuple[float, float, int]:
    """Seconds until the dashboard has answered with all trials, at first and later, and the answer's length."""
    with make_server(url, "127.0.0.1", 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}/api/studies"
        try:
            (study,) = json.loads(_get(place))["study_summaries"]
            page = f"{place}/{study['study_id']}?after=0"
            first_s = _seconds(lambda: _get(page))
            return first_s, _median(lambda: _get(page)), len(_get(page))
        finally:
            server.shutdown()


def _get(address: str) -> bytes:
    with urlopen(address) as answer:
        found: bytes = answer.read()
        return found


def _run(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).with_name("foldtune"), *arguments], check=True, stdout=subprocess.DEVNULL)


def _bytes(file: Path, tables: str) -> int:
    """Of all tables whose names are like this, and their indexes."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name LIKE ?)"
        return int(connection.execute(query, (tables,)).fetchone()[0] or 0)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _median(work: Callable[[], object]) -> float:
    return median(_seconds(work) for _ in range(3))
