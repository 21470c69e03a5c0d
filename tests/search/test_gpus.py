"""GPUs are lent to one search at a time, and come back when its process ends."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foldtune.errors import SpecError
from foldtune.search.gpus import leased, leased_devices
from foldtune.search.process import TrainingProcess, training_processes

GPUS = {"cuda:0": "a", "cuda:1": "b", "cuda:2": "c"}
HOLD = """
import sys
from pathlib import Path
from foldtune.search.gpus import leased
workers = None if sys.argv[2] == "all" else int(sys.argv[2])
with leased({"cuda:0": "a", "cuda:1": "b", "cuda:2": "c"}, workers, Path(sys.argv[1])) as devices:
    print(*devices, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, workers: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Another process that holds GPUs."""
    command = [sys.executable, "-c", HOLD, str(folder), workers]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def test_searches_take_gpus_of_their_own(tmp_path: Path) -> None:
    with holder(tmp_path, "1") as (_, first), holder(tmp_path, "1") as (_, second):
        assert (first, second) == (["cuda:0"], ["cuda:1"])
        with leased(GPUS, None, tmp_path) as devices:
            assert devices == ["cuda:2"]
            with pytest.raises(SpecError, match="another search on this machine has taken each") as caught:
                leased(GPUS, None, tmp_path).__enter__()
        assert caught.value.problems[0].value == "cuda:0, cuda:1, cuda:2"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_dies_gives_them_back(tmp_path: Path, end: signal.Signals) -> None:
    with holder(tmp_path, "all") as (process, devices):
        assert devices == [*GPUS]
        process.send_signal(end)
        process.wait()
        with leased(GPUS, None, tmp_path) as again:
            assert again == [*GPUS]


@pytest.mark.parametrize(("workers", "devices"), [(0, 1), (1, 1), (2, 2), (5, 3), (None, 3)])
def test_no_more_gpus_than_workers_are_taken(tmp_path: Path, workers: int | None, devices: int) -> None:
    with leased(GPUS, workers, tmp_path) as found:
        assert len(found) == devices
    with leased(GPUS, None, tmp_path) as found:
        assert len(found) == 3


def test_locks_lie_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers that share this folder share the GPUs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with leased(GPUS, 1):
        assert [file.name for file in tmp_path.iterdir()] == ["foldtune-gpu-a"]


def test_another_users_lock_is_one(tmp_path: Path) -> None:
    (tmp_path / "foldtune-gpu-a").touch(mode=0o444)
    with leased({"cuda:0": "a"}, 1, tmp_path) as devices:
        assert devices == ["cuda:0"]


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "foldtune-gpu-a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        leased({"cuda:0": "a"}, 1, tmp_path).__enter__()


def test_training_processes_do_not_inherit_a_lock(tmp_path: Path) -> None:
    with leased({"cuda:0": "a"}, 1, tmp_path):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    with leased({"cuda:0": "a"}, 1, tmp_path) as again:
        assert again == ["cuda:0"]
    child.kill()
    child.wait()


def test_the_processor_is_everybodys() -> None:
    with leased_devices("cpu", 4) as first, leased_devices("cpu", 4) as second:
        assert first == second == ["cpu"]


def test_training_processes_are_dealt_over_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("start", "kill", "end"):
        monkeypatch.setattr(TrainingProcess, method, lambda self: None)
    with training_processes(3, devices=["cuda:1", "cuda:3"]) as processes:
        assert [process.device for process in processes] == ["cuda:1", "cuda:3", "cuda:1"]
