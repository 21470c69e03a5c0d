"""One search loop with two training processes, killed again and again, comes to the study of an undisturbed one."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from .arena import WAIT_S, Arena
from .checks import check_undisturbed
from .conftest import IS_LARGE, Size, Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("database", ["sqlite", "postgres"] if IS_LARGE else ["sqlite"])
def test_a_search_that_is_killed_anywhere_comes_to_the_same_study(
    database: str, tmp_path: Path, size: Size, tell: Tell, request: pytest.FixtureRequest
) -> None:
    began, left, arenas = time.monotonic(), size.kills, []
    for seed, url in enumerate(_urls(database, tmp_path, request)):
        with Arena(tmp_path / str(seed), url, trials=size.trials, seed=seed, confirm=1) as arena:
            arenas.append(arena)
            left -= _attack(arena, left)
            check_undisturbed(arena)
        if left <= 0 or database == "postgres":
            break
    tell(f"one search loop, kill -9, {database}", arenas, began)
    assert max(arena.most_redone() for arena in arenas) <= 1


def _attack(arena: Arena, kills: int) -> int:
    """Search to the end, killed at most so often; how often."""
    first = True
    while True:
        process = arena.search(*(("run", str(arena.file)) if first else ()))
        first = False
        if len(arena.faults) >= kills:
            assert process.wait(timeout=WAIT_S) == 0, arena.log.read_text()[-3000:]
            return len(arena.faults)
        if arena.rng.random() < 0.1:  # before anything trains
            time.sleep(arena.rng.uniform(0, 4))
            arena.kill(process)
            continue
        for _ in range(arena.rng.choice([0, 0, 1, 2])):  # a trial survives two
            if arena.wait_for_epochs(arena.rng.randint(1, 5), process):
                arena.wait_a_moment()
                arena.kill_training(process)
        if not arena.wait_for_epochs(arena.rng.randint(1, 6), process):
            assert process.wait() == 0, arena.log.read_text()[-3000:]
            return len(arena.faults)
        arena.wait_a_moment()
        arena.kill(process)


def _urls(database: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if database == "postgres":
        yield str(request.getfixturevalue("postgres_url"))
    else:
        yield from (f"sqlite:///{folder}/{number}.db" for number in count())
