"""Checkpoints that are damaged between a kill and the next start: the one before is used."""

import time
from itertools import cycle
from pathlib import Path

import pytest

from foldtune.search.result import load_study

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
    damages, damaged = cycle((_truncate, _flip_a_bit)), 0
    with Arena(tmp_path, f"sqlite:///{tmp_path}/study.db", size.trials) as arena:
        process = arena.search("run", str(arena.file), workers=0)
        while damaged < 2 * size.repeats and arena.wait_for_epochs(9, process):
            arena.kill(process)
            needed = _needed(arena)
            for file in needed:
                next(damages)(file)
            process, damaged = arena.search(workers=0), damaged + len(needed)
        assert process.wait() == 0
        check_undisturbed(arena)
        tell(f"{damaged} checkpoints truncated, or a bit flipped", [arena], began)
        assert damaged >= 2
        assert arena.log.read_text().count("is damaged: the one before it is used") == damaged
        assert arena.most_redone() <= 2  # the epoch of the kill, and that of the checkpoint


def _needed(arena: Arena) -> list[Path]:
    """The checkpoint that each running trial would go on from, where there is one before it.

    One whose epoch is not in the database yet is not among them: nobody goes on from it.
    """
    result = load_study("chaos", storage=arena.url)
    stored = {str(trial.number): trial.epochs for trial in result.trials if trial.state == "running"}
    assert arena.artifacts
    useful: dict[Path, list[Path]] = {}
    for file in sorted(arena.artifacts.rglob("*.ckpt"), key=_epoch):
        if _epoch(file) <= stored.get(file.parent.name, -1):
            useful.setdefault(file.parent, []).append(file)
    return [files[-1] for files in useful.values() if len(files) > 1]


def _epoch(file: Path) -> int:
    return int(file.stem.split("-")[1])
