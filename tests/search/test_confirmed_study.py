"""Whole studies with real training: confirmation changes no trial, and ends the same whatever interrupts it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from foldtune.search.result import StudyResult
from foldtune.search.run import resume_study, run_study
from foldtune.search.status import Status
from foldtune.store.artifacts import Artifacts
from foldtune.store.store import Store
from foldtune.testing.confirm_laws import check_same_repeats
from foldtune.testing.search_laws import check_same_trials
from foldtune.testing.store_laws import same

WAIT_S = 120.0
"""How long a test waits for another process, which imports torch."""


def _tree(name: str = "iris", epochs: int = 3, **search: Any) -> dict[str, Any]:
    return {
        "name": name,
        "data": {"use": "iris"},
        "validation": {"use": "StratifiedKFold", "n_splits": 3},
        "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 16]}, "dropout": {"float": [0.0, 0.5]}},
        "training": {"epochs": epochs, "batch_size": 64},
        "search": {"trials": 5, "cohort": 2, "sampler": {"use": "RandomSampler"}, **search},
    }


def test_confirmation_changes_no_trial_and_an_interruption_changes_no_confirmation(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on does so from a checkpoint of its own repeat."""
    without = run_study(_tree("without", confirm=0), storage=sqlite_url, workers=0)
    whole = run_study(_tree("whole"), storage=sqlite_url, workers=0)
    seen: list[Status] = []

    def press(status: Status) -> None:
        seen.append(status)
        if status.confirming and status.running and status.running[0].epoch == 1:
            signal.raise_signal(signal.SIGINT)

    taken: list[tuple[int, int]] = []
    load = Artifacts.load

    def noted(artifacts: Artifacts, trial: int, at_most: int, repeat: int = 0) -> tuple[int, bytes] | None:
        if found := load(artifacts, trial, at_most, repeat):
            taken.append((repeat, found[0]))
        return found

    monkeypatch.setattr(Artifacts, "load", noted)
    for repeat in (1, 2):
        parts = run_study(_tree(), storage=sqlite_url, workers=0, watch=press)
        assert (parts.ending, parts.finished) == ("interrupted", 5)
        assert {file.name[0] for file in tmp_path.rglob("*.ckpt")} == {str(repeat)}
    parts = resume_study("iris", storage=sqlite_url, workers=0)
    assert parts.ending == "budget" and seen[-1].confirming == (1, 2)
    assert taken == [(1, 2), (2, 2)]
    for other in (whole, parts):
        check_same_trials(without.trials, other.trials)
        assert without.best and other.best and without.best.number == other.best.number
    check_same_confirmation(whole, sqlite_url, parts, sqlite_url)
    assert list(tmp_path.rglob("*.ckpt")) == []


@pytest.mark.slow
def test_confirmation_killed_in_the_middle_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/foldtune.db"
    tree = _tree(epochs=30)
    (tmp_path / "study.yaml").write_text(json.dumps(tree))
    command = [sys.executable, "-c", "from foldtune.cli.main import script; script()", "run", "study.yaml", "-q"]
    process = subprocess.Popen([*command, "--workers", "0", "--checkpoint-every", "0"], cwd=tmp_path, process_group=0)
    try:
        deadline = time.monotonic() + WAIT_S
        while max(_confirmed(tmp_path / "foldtune.db").values(), default=0) < 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 3 <= sum(_confirmed(tmp_path / "foldtune.db").values()) < 60, "it was killed in the middle"
    parts = resume_study("iris", storage=url, workers=0)
    alone = f"sqlite:///{tmp_path}/alone.db"
    whole = run_study(tree, storage=alone, workers=0)
    check_same_trials(whole.trials, parts.trials)
    check_same_confirmation(whole, alone, parts, url)


def check_same_confirmation(left: StudyResult, left_url: str, right: StudyResult, right_url: str) -> None:
    """Repeats, their curves, partitions and answers are equal to the last bit."""
    with closing(Store(left_url)) as one, closing(Store(right_url)) as other:
        uuids = left.record.uuid, right.record.uuid
        repeats = one.repeats(uuids[0])
        assert [repeat.repeat for repeat in repeats] == [1, 2]
        check_same_repeats(repeats, other.repeats(uuids[1]))
        assert same(one.partitions(uuids[0]), other.partitions(uuids[1]))
        for each in repeats:
            key = each.trial, each.repeat
            assert same(one.curves(uuids[0], *key), other.curves(uuids[1], *key))
        for repeat in range(3):
            assert same(one.answers(uuids[0], repeat), other.answers(uuids[1], repeat))


def _confirmed(database: Path) -> dict[int, int]:
    """Epochs of each repeat that has begun."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            return dict(connection.execute("SELECT repeat, epochs FROM foldtune_repeats").fetchall())
        except sqlite3.OperationalError:  # there are no tables yet
            return {}
