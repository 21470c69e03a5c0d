"""Checkpoints that are damaged between a kill and the next start: the one before is used."""

import time
from itertools import cycle
from pathlib import Path

import pytest

from .arena import Arena
from .checks import check_undisturbed
from .conftest import Size, Tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-len(data) // 3] ^= 4
    file.write_bytes(data)


def test_a_damaged_checkpoint_is_seen_and_the_one_before_is_used(tmp_path: Path, size: Size, tell: Tell) -> None:
    """One is truncated, in the next a bit is flipped, and so on."""
    began = time.monotonic()
    with Arena(tmp_path, f"sqlite:///{tmp_path}/study.db", size.trials) as arena:
        process, damaged = arena.search("run", str(arena.file)), 0
        for _ in range(size.repeats):
            if not arena.wait_for_epochs(14, process):
                break
            arena.kill(process)
            newest = _newest(arena)
            for file, damage in zip(newest, cycle((_truncate, _flip_a_bit)), strict=False):
                damage(file)
            process, damaged = arena.search(), damaged + len(newest)
        assert process.wait() == 0
        check_undisturbed(arena)
        told = arena.log.read_text().count("is damaged: the one before it is used")
        tell(f"{damaged} checkpoints truncated, or a bit flipped", [arena], began)
        assert 2 <= told <= damaged
        assert arena.most_redone() <= 2  # the epoch of the kill, and that of the checkpoint


def _newest(arena: Arena) -> list[Path]:
    """The newest checkpoint of every trial that has two."""
    assert arena.artifacts
    folders = {file.parent for file in arena.artifacts.rglob("*.ckpt")}
    found = [sorted(folder.glob("*.ckpt"), key=lambda file: int(file.stem.split("-")[2])) for folder in folders]
    return [files[-1] for files in found if len(files) > 1]
