"""How large the chaos is, its figures, and a PostgreSQL server that may be shot at.

`FOLDTUNE_CHAOS`, which `make chaos` sets, is how many processes are killed in each scenario; from 30 on, everything
else is large, too.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .arena import Arena
from .checks import Figures, check_whole
from .postgres import Cluster, binaries

COLUMNS = ("faults", "lost", "redone", "most", "duplicates", "seconds")


@dataclass(frozen=True)
class Size:
    """How much of each.

    Args:
        kills: of search loops and training processes, per database and scenario.
        trials: of a study.
        restarts: of PostgreSQL.
        away_s: how long PostgreSQL stays away.
        repeats: of everything else.
    """

    kills: int
    trials: int
    restarts: int
    away_s: float
    repeats: int


IS_LARGE = int(os.environ.get("FOLDTUNE_CHAOS", "0")) >= 30

SMALL = Size(kills=4, trials=8, restarts=2, away_s=8.0, repeats=1)
LARGE = Size(kills=30, trials=24, restarts=6, away_s=60.0, repeats=3)

Tell = Callable[[str, list[Arena], float], None]


@pytest.fixture
def size() -> Size:
    kills = int(os.environ.get("FOLDTUNE_CHAOS", SMALL.kills))
    return replace(LARGE if IS_LARGE else SMALL, kills=kills)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Check that studies are whole, and note what it cost: name, studies, and when it began."""

    def told(scenario: str, arenas: list[Arena], began: float) -> None:
        seconds = time.monotonic() - began
        lost, duplicates = (sum(column) for column in zip(*map(check_whole, arenas), strict=True))
        faults = sum(len(arena.faults) for arena in arenas)
        redone, most = sum(arena.redone() for arena in arenas), max(arena.most_redone() for arena in arenas)
        figures = Figures(scenario, faults, lost, redone, most, duplicates, seconds)
        record_property("chaos", figures.to_dict())

    return told


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of the test's own."""
    found = binaries()
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no PostgreSQL server is installed: pg_ctl, initdb")
    with TemporaryDirectory() as folder, Cluster(found, Path(folder)) as running:
        yield running


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m tmpfs {folder} 2>/dev/null"):
        pytest.skip("a small file system can be mounted by root alone")
    yield folder
    assert os.system(f"umount -l {folder}") == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of what faults cost."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    rows = [value for report in reports for name, value in report.user_properties if name == "chaos"]
    if rows:
        terminalreporter.section("chaos: what faults cost")
        terminalreporter.write_line(f"{'scenario':<44}" + "".join(f"{name:>12}" for name in COLUMNS))
    for row in rows:
        cells = [f"{row[name]:>12.0f}" for name in COLUMNS]
        terminalreporter.write_line(f"{row['scenario']:<44}{''.join(cells)}")
