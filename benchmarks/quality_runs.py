"""Runs either side in fresh processes until it is good enough, or its time is over."""

import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import machine, quality_peer
from benchmarks.quality_cases import BATCH_SIZE, SPLIT_SEED, Size, Variant, arrays, study
from benchmarks.quality_readers import FoldtuneReader, PeerReader, Reader, Run
from foldtune.errors import StoreError

ROOT = Path(__file__).parents[1]
WORKERS = 2
GRACE_S = 120.0
"""How long a search may take to begin, and to end once it was told to."""

PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl.h

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Until:
    """When a search is over.

    Args:
        budget_s: the most time it gets, after the start-up.
        enough: whether the targets are reached.
    """

    budget_s: float
    enough: Callable[[Run], bool]


def watched(search: Callable[[], Run]) -> Run:
    """A search, with what other processes took of the machine meanwhile; all that it started have ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # its orphans become our children, and count as ours
    busy, used, began = machine.busy_s(), machine.used_s([os.getpid()]), time.monotonic()
    run = search()
    _wait_for_all()
    foreign = (machine.busy_s() - busy) - (machine.used_s([os.getpid()]) - used)
    return replace(run, foreign=max(0.0, foreign / (time.monotonic() - began)))


def _wait_for_all() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def run_usual(data_set: str, seed: int, size: Size, enough: Callable[[Run], bool] | None = None) -> Run:
    """The usual Optuna script, until its trials are spent, or it is good enough."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        command, url = _peer(data_set, seed, size, folder, fast=False)
        began = time.time()
        with _processes([[*command, "0"]], folder) as (process,):
            reader = PeerReader(url, began)
            if enough is not None:
                _watch([process], reader, Until(math.inf, enough))
                process.kill()
            code = process.wait()
            _check(0 if enough is not None and code == -signal.SIGKILL else code, 0, folder)
            run = reader.run()
        whole = replace(run, searched_s=run.trials[-1].finished_s)
        return whole if enough is None else _cut(whole, Until(whole.searched_s, enough))


def run_fast(data_set: str, seed: int, size: Size, until: Until) -> Run:
    """The fast Optuna script: two processes that share the study."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        command, url = _peer(data_set, seed, size, folder, fast=True)
        began = time.time()
        with _processes([[*command, str(worker)] for worker in range(WORKERS)], folder) as processes:
            reader = PeerReader(url, began)
            _watch(processes, reader, until)
            _stop(processes, signal.SIGKILL, -signal.SIGKILL, folder)
            return _cut(reader.run(), until)


def run_foldtune(data_set: str, seed: int, size: Size, until: Until, variant: Variant) -> Run:
    """`foldtune run`."""
    with TemporaryDirectory() as name:
        folder, url = Path(name), f"sqlite:///{name}/foldtune.db"
        file = folder / "study.yaml"
        file.write_text(json.dumps(study(_save(data_set, folder), seed=seed, size=size)))  # JSON is YAML
        sets = [text for override in variant.overrides for text in ("--set", override)]
        command = [*variant.program, "run", str(file), "--storage", url, "--workers", str(WORKERS), "--quiet", *sets]
        began = time.time()
        with _processes([command], folder) as processes, closing(FoldtuneReader(url, began)) as reader:
            _watch(processes, reader, until)
            _stop(processes, signal.SIGINT, 130, folder)
            return _cut(reader.run(), until)


def _peer(data_set: str, seed: int, size: Size, folder: Path, *, fast: bool) -> tuple[list[str], str]:
    """The command of a peer's process, but for the process's number, and the URL of the study made for it."""
    url = f"sqlite:///{folder}/peer.db"
    job = quality_peer.Job(
        data=str(_save(data_set, folder)),
        storage=url,
        seed=seed,
        trials=None if fast else size.trials,
        epochs=size.epochs,
        n_splits=size.n_splits,
        split_seed=SPLIT_SEED,
        batch_size=BATCH_SIZE,
        fused=fast or None,
    )
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    quality_peer.create(url)
    return [sys.executable, "-m", "benchmarks.quality_peer", f"{folder}/job.json"], url


def _watch(processes: Sequence[Process], reader: Reader, until: Until) -> None:
    """Wait until the search is over; reading it takes 5 % of one core at most.

    Raises:
        StoreError: it has not begun in time, or has died before.
    """
    given_up = time.time() + GRACE_S
    while True:
        began, died = time.perf_counter(), any(process.poll() is not None for process in processes)
        try:
            run = reader.run()
        except StoreError:
            if time.time() > given_up or died:
                raise
        else:
            if run.searched_s > until.budget_s or died or until.enough(run):
                return
        time.sleep(max(0.2, 20 * (time.perf_counter() - began)))


def _stop(processes: Sequence[Process], how: signal.Signals, code: int, folder: Path) -> None:
    """End a search that never ends by itself."""
    for process in processes:
        process.send_signal(how)
    for process in processes:
        _check(process.wait(GRACE_S), code, folder)


def _cut(run: Run, until: Until) -> Run:
    """The search up to the trial that made it good enough, else up to its time."""
    inside = tuple(trial for trial in run.trials if trial.finished_s <= until.budget_s)
    for count in range(1, len(inside) + 1):
        shorter = replace(run, searched_s=inside[count - 1].finished_s, trials=inside[:count])
        if until.enough(shorter):
            return shorter
    return replace(run, searched_s=until.budget_s, trials=inside)


def _save(data_set: str, folder: Path) -> Path:
    inputs, target = arrays(data_set)
    np.savez(folder / "data.npz", X=inputs, y=target)
    return folder / "data.npz"


@contextmanager
def _processes(commands: Sequence[Sequence[str]], folder: Path) -> Iterator[list[Process]]:
    """Processes whose words go to a file; they do not outlive the block."""
    with (folder / "log").open("ab") as log:
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for command in commands
        ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _check(code: int, expected: int, folder: Path) -> None:
    if code != expected:
        words = (folder / "log").read_text()[-2000:]
        raise RuntimeError(f"a search ended with exit code {code}, not {expected}. Its last words:\n{words}")
