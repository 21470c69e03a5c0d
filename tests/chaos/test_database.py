"""PostgreSQL goes away while workers run, again and again, and once for long."""

import re
import time
from pathlib import Path

import pytest

from .arena import WAIT_S, Arena, wait_until
from .checks import check_alone
from .conftest import Size, Tell
from .postgres import Cluster

AWAY = "the database does not answer"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_a_server_that_crashes_and_one_that_stays_away_are_waited_for(
    cluster: Cluster, tmp_path: Path, size: Size, tell: Tell
) -> None:
    began = time.monotonic()
    with Arena(tmp_path, cluster.url, 8 * size.restarts, cohort=2, every_s=1.0, sleep_s=0.1) as arena:
        arena.create()
        workers = [arena.search("worker", "--idle-exit", "6", workers=0) for _ in range(2)]
        for restart in range(size.restarts):
            assert arena.wait_for_epochs(10, *workers), arena.log.read_text()[-3000:]
            arena.wait_a_moment()
            cluster.stop()
            arena.faults.append(arena.count())
            if restart == 0:
                wait_until(lambda: AWAY in arena.log.read_text())  # said at once, not when it is over
                time.sleep(size.away_s)
            cluster.start()
            wait_until(lambda: "answers again" in arena.log.read_text())
        for worker in workers:
            assert worker.wait(timeout=WAIT_S) == 0, arena.log.read_text()[-3000:]
        check_alone(arena)
        tell("PostgreSQL restarted under load", [arena], began)
    assert arena.redone() == 0
    log = arena.log.read_text()
    assert "Traceback" not in log and "error" not in log.lower(), log
    assert re.search(re.escape(AWAY) + r" \(.+\); waiting up to 300 s", log), log
    assert 1 <= log.count(AWAY) <= 2 * 3 * size.restarts, log
