"""A full disk: without room for checkpoints a search goes on, without room for its database it ends and can go on."""

import os
import time
from pathlib import Path

import pytest

from .arena import Arena, wait_until
from .checks import check_undisturbed
from .conftest import Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_without_room_for_checkpoints_a_search_goes_on(tmp_path: Path, full_disk: Path, tell: Tell) -> None:
    began = time.monotonic()
    with Arena(tmp_path, f"sqlite:///{tmp_path}/study.db", 4, artifacts=full_disk / "kept") as arena:
        _fill(full_disk)
        process = arena.search("run", str(arena.file))
        assert arena.wait_for_epochs(16, process)
        arena.kill(process)
        warnings = arena.log.read_text().count("no checkpoint was written")
        assert arena.search().wait() == 0
        (full_disk / "filler").unlink()
        check_undisturbed(arena)
        tell("disk full, checkpoints", [arena], began)
    assert warnings == 1, arena.log.read_text()


def test_without_room_for_the_database_a_search_ends_and_goes_on_later(
    tmp_path: Path, full_disk: Path, tell: Tell
) -> None:
    began = time.monotonic()
    with Arena(tmp_path, f"sqlite:///{full_disk}/study.db", 6) as arena:
        arena.create()
        process = arena.search(workers=0)
        assert arena.wait_for_epochs(10, process)
        _fill(full_disk)
        wait_until(lambda: process.poll() is not None)
        arena.faults.append(arena.count())
        assert process.returncode == 2
        log = arena.log.read_text()
        assert log.count("error: the disk must have room for the database") == 1 and "Traceback" not in log, log
        (full_disk / "filler").unlink()
        assert arena.search(workers=0).wait() == 0, arena.log.read_text()[-3000:]
        check_undisturbed(arena)
        tell("disk full, database", [arena], began)


def _fill(folder: Path) -> None:
    """Write until there is no room."""
    file = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError:
        os.close(file)
