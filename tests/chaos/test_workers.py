"""Three `foldtune worker` on one study; random ones are killed and replaced, and the last ones are not."""

import subprocess
import time
from pathlib import Path

import pytest

from .arena import WAIT_S, Arena, wait_until
from .checks import check_alone
from .conftest import IS_LARGE, Size, Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

WORKER = ("worker", "--idle-exit", "6")
N_WORKERS = 3
PROCESSES = 1 if IS_LARGE else 0  # for training, of each; how they end is seen elsewhere
STUDIES = [("sqlite", "packed"), ("postgres", "lockstep")] if IS_LARGE else [("postgres", "lockstep")]


@pytest.mark.parametrize(("database", "engine"), STUDIES)
def test_workers_that_are_killed_and_replaced_lose_nothing(
    database: str, engine: str, tmp_path: Path, size: Size, tell: Tell, request: pytest.FixtureRequest
) -> None:
    began, left, arenas = time.monotonic(), size.kills, []
    for seed in range(100):
        url = str(request.getfixturevalue("postgres_url")) if database == "postgres" else f"sqlite:///{tmp_path}/{seed}"
        trials = 4 * size.trials if database == "postgres" else 2 * size.trials
        with Arena(tmp_path / f"folder {seed}", url, trials, cohort=2, engine=engine, seed=seed) as arena:
            arenas.append(arena)
            _attack(arena, left)
            check_alone(arena)
        left -= len(arena.faults)
        if left <= 0 or database == "postgres":
            break
    tell(f"three workers, kill -9, {database}", arenas, began)
    assert max(arena.most_redone() for arena in arenas) <= 1


def _attack(arena: Arena, kills: int) -> None:
    """Work to the end, while workers are killed and replaced, until so many are gone or there is nothing to do."""
    arena.create()
    workers = [arena.search(*WORKER, workers=PROCESSES) for _ in range(N_WORKERS)]
    while len(arena.faults) < kills and arena.wait_for_epochs(arena.rng.randint(2, 16), *workers):
        arena.wait_a_moment()
        victim = arena.rng.randrange(N_WORKERS)
        if workers[victim].poll() is None:
            arena.kill(workers[victim])
            workers[victim] = arena.search(*WORKER, workers=PROCESSES)
    _wait_for_end(arena, workers)


def test_an_idle_worker_takes_over_from_one_that_dies(tmp_path: Path, tell: Tell) -> None:
    began = time.monotonic()
    with Arena(tmp_path, f"sqlite:///{tmp_path}/study.db", trials=2, cohort=1) as arena:
        arena.create()
        dying = arena.search("worker", workers=0, CHAOS_SLEEP_S="2")
        assert arena.wait_for_epochs(1, dying)
        idle = arena.search(*WORKER, workers=0)
        wait_until(lambda: (1, 0, arena.epochs) in arena.trained())
        time.sleep(2)
        arena.kill(dying)
        _wait_for_end(arena, [idle])
        check_alone(arena)
        tell("an idle worker goes on for a dead one", [arena], began)


def test_optunas_copy_is_whole_when_the_last_search_ends(tmp_path: Path, tell: Tell) -> None:
    began = time.monotonic()
    with Arena(tmp_path, f"sqlite:///{tmp_path}/study.db", trials=2, cohort=1, epochs=5) as arena:
        arena.create()
        slow = arena.search("run", str(arena.file), workers=0, CHAOS_SLEEP_S="2")
        assert arena.wait_for_epochs(1, slow)
        fast = arena.search("run", str(arena.file), workers=0)
        _wait_for_end(arena, [fast, slow])
        tell("two searches, the older one ends last", [arena], began)


def _wait_for_end(arena: Arena, workers: list["subprocess.Popen[bytes]"]) -> None:
    for worker in workers:
        assert worker.wait(timeout=WAIT_S) == 0, arena.log.read_text()[-3000:]
