"""Clocks that are wrong, and workers that are stopped for longer than their lease holds."""

import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from foldtune.search.result import load_study
from foldtune.store.store import Store

from .arena import WAIT_S, Arena, signal_group, wait_until
from .checks import check_alone
from .conftest import IS_LARGE, Size, Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SHIFTED = "from tests.chaos.shifted import main; main()"
DATABASES = ("sqlite", "postgres") if IS_LARGE else ("postgres",)
WORKER = ("worker", "--idle-exit", "6")


@pytest.mark.parametrize("database", DATABASES)
def test_a_worker_whose_clock_is_wrong_takes_nothing_from_others(
    database: str, tmp_path: Path, size: Size, tell: Tell, request: pytest.FixtureRequest
) -> None:
    began = time.monotonic()
    url = str(request.getfixturevalue("postgres_url")) if database == "postgres" else f"sqlite:///{tmp_path}/study.db"
    with Arena(tmp_path, url, 2 * size.trials, cohort=2) as arena:
        arena.create()
        shifts = ("0", "5", "-5")
        workers = [arena.search(*WORKER, workers=0, main=SHIFTED, CHAOS_HOURS=hours) for hours in shifts]
        arena.faults += [0, 0]
        for worker in workers:
            assert worker.wait(timeout=WAIT_S) == 0, arena.log.read_text()[-3000:]
        check_alone(arena)
        tell(f"clocks 5 h ahead and 5 h behind, {database}", [arena], began)
        assert arena.redone() == 0
        assert "lease" not in arena.log.read_text()
        started = [trial.started_at for trial in load_study("chaos", storage=url).trials if trial.started_at]
        assert (max(started) - min(started)).total_seconds() > 4 * 3600  # the clocks were wrong indeed


@pytest.mark.parametrize("database", DATABASES)
def test_a_worker_that_was_stopped_for_too_long_cannot_write(
    database: str, tmp_path: Path, size: Size, tell: Tell, request: pytest.FixtureRequest
) -> None:
    began = time.monotonic()
    url = str(request.getfixturevalue("postgres_url")) if database == "postgres" else f"sqlite:///{tmp_path}/study.db"
    with Arena(tmp_path, url, 8 + 8 * size.repeats, cohort=2, epochs=12, sleep_s=0.15) as arena:
        arena.create()
        first, second = (arena.search(*WORKER, workers=0, main=SHIFTED, CHAOS_LEASE_S="3") for _ in range(2))
        for _ in range(size.repeats):
            wait_until(lambda: _has_lease(arena, first) and _has_lease(arena, second))
            _stop(arena, first)
            arena.faults.append(arena.count())
            wait_until(lambda: not _has_lease(arena, first), 120)  # the other one found it expired
            signal_group(first, signal.SIGCONT)
        for worker in (first, second):
            assert worker.wait(timeout=WAIT_S) == 0, arena.log.read_text()[-3000:]
        check_alone(arena)
        told = arena.log.read_text().count("a search loop must still hold its lease to write")
        tell(f"a worker stopped past its lease, {database}", [arena], began)
    assert 1 <= told <= len(arena.faults), arena.log.read_text()[-3000:]
    wait_until(lambda: all(process.poll() is not None for process in arena.processes))


def _stop(arena: Arena, worker: "subprocess.Popen[bytes]") -> None:
    """Stop a worker anywhere; but between its transactions where SQLite would let nobody write during one."""
    while True:
        arena.wait_a_moment()
        signal_group(worker, signal.SIGSTOP)
        if _can_write(arena):
            return
        signal_group(worker, signal.SIGCONT)


def _can_write(arena: Arena) -> bool:
    if not arena.url.startswith("sqlite"):
        return True
    with closing(sqlite3.connect(arena.url.removeprefix("sqlite:///"), timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.rollback()
    return True


def _has_lease(arena: Arena, worker: "subprocess.Popen[bytes]") -> bool:
    with closing(Store(arena.url)) as store, store.engine.connect() as connection:
        found = connection.scalar(text("SELECT count(*) FROM foldtune_leases WHERE pid = :pid"), {"pid": worker.pid})
    return bool(found)
