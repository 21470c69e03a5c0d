"""Training processes: one per core with one thread each, alive as long as the search.

How many there are changes nothing but the time: jobs are dealt to them as they come, each in a run of its own.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import Any, Protocol

import numpy as np

from foldtune.errors import FoldtuneError, TrainingError
from foldtune.train.engine import Run, TrainingSetup
from foldtune.values import EpochReport, Failure, Job, TrialResult


class Pool(Protocol):
    """Where jobs train."""

    def add(self, job: Job) -> None:
        """Take a job in; it is not trained yet."""

    def step(self, trials: Iterable[int]) -> list[EpochReport]:
        """Train each of these jobs one epoch; reports in trial order. A job that failed is gone."""

    def drop(self, trial: int) -> TrialResult:
        """Stop a job; scores of its last epoch. LostWorkerError when the process that trained it died."""

    def finish(self, trial: int) -> TrialResult:
        """Stop a job; scores of its chosen epochs. LostWorkerError likewise."""


class LostWorkerError(TrainingError):
    """The process that trained a job died."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"the training process died with exit code {exitcode}")

    @property
    def failure(self) -> Failure:
        return Failure("lost worker", str(self), "")


class LocalPool:
    """Trains in this process: `workers=0`, as in a DataLoader. For debuggers and tests.

    Args:
        setup: the study's data, metrics and seed.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        from foldtune.train.lockstep import LockstepEngine

        self.engine = LockstepEngine(setup)
        self.runs: dict[int, Run] = {}

    def add(self, job: Job) -> None:
        self.runs[job.trial] = self.engine.start([job])

    def step(self, trials: Iterable[int]) -> list[EpochReport]:
        reports = [report for trial in sorted(trials) for report in self.runs[trial].step()]
        for report in reports:
            if report.failure:
                del self.runs[report.trial]
        return reports

    def drop(self, trial: int) -> TrialResult:
        return self.runs.pop(trial).drop(trial)

    def finish(self, trial: int) -> TrialResult:
        return self.runs.pop(trial).finish(trial)


class ProcessPool:
    """Trains in processes of its own. A process that dies fails its jobs and is replaced.

    Args:
        setup: the study's data, metrics and seed; sent to each process once.
        processes: where to train, from `training_processes`; one that died is replaced in this list.

    Raises:
        FoldtuneError: a process cannot start.
    """

    def __init__(self, setup: TrainingSetup, processes: "list[TrainingProcess]") -> None:
        self.setup, self.processes = setup, processes
        self.places: dict[int, TrainingProcess] = {}  # trial -> where it trains
        for process in processes:
            process.send("setup", setup)
        for process in processes:
            process.wait_until_ready()

    def add(self, job: Job) -> None:
        for process in self.processes:
            if process not in self.places.values() and not process.is_alive():
                self._replace(process)
        loads = {process: 0 for process in self.processes}
        for process in self.places.values():
            loads[process] += 1
        place = min(self.processes, key=loads.__getitem__)
        self.places[job.trial] = place
        place.send("add", job)

    def step(self, trials: Iterable[int]) -> list[EpochReport]:
        asked: dict[TrainingProcess, list[int]] = {}
        for trial in sorted(trials):
            asked.setdefault(self.places[trial], []).append(trial)
        for process, mine in asked.items():
            process.send("step", mine)
        waiting = {process.connection: process for process in asked}
        reports: list[EpochReport] = []
        while waiting:
            for connection in wait(list(waiting)):
                reports += self._receive(waiting.pop(connection))  # type: ignore[call-overload]
        for report in reports:
            if report.failure:
                del self.places[report.trial]
        return sorted(reports, key=lambda report: report.trial)

    def drop(self, trial: int) -> TrialResult:
        result: TrialResult = self.places.pop(trial).call("drop", trial)
        return result

    def finish(self, trial: int) -> TrialResult:
        result: TrialResult = self.places.pop(trial).call("finish", trial)
        return result

    def _receive(self, process: "TrainingProcess") -> list[EpochReport]:
        try:
            reports: list[EpochReport] = process.receive()
        except LostWorkerError as error:
            self._replace(process)
            nothing = np.empty((0, len(self.setup.metrics)))
            lost = [trial for trial, place in self.places.items() if place is process]
            return [EpochReport(trial, 1, nothing[:, 0], nothing, 0.0, failure=error.failure) for trial in lost]
        return reports

    def _replace(self, dead: "TrainingProcess") -> None:
        dead.end()
        fresh = self.processes[self.processes.index(dead)] = TrainingProcess(dead.threads)
        fresh.send("setup", self.setup)
        fresh.wait_until_ready()


@contextmanager
def training_processes(workers: int, threads: int = 1) -> "Iterator[list[TrainingProcess]]":
    """Processes that end with the block. They import torch, which takes seconds, while the block does other things.

    Args:
        workers: how many.
        threads: torch threads of each; two are slower than one on small nets, and collapse beside a busy neighbour.
    """
    processes: list[TrainingProcess] = []
    try:
        processes += [TrainingProcess(threads) for _ in range(workers)]
        yield processes
    finally:
        for process in processes:
            process.process.kill()  # they hold nothing that is not stored
        for process in processes:
            process.end()


class TrainingProcess:
    """A training process and the pipe to it."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        context = multiprocessing.get_context("spawn")  # database engines and torch's threads must not cross a fork
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, threads), daemon=True)
        with _without_interrupts():
            self.process.start()
        theirs.close()

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def send(self, command: str, *args: Any) -> None:
        """Send without waiting; that a process is dead shows when its answer is awaited."""
        try:
            self.connection.send((command, args))
        except ConnectionError:
            return

    def receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.kill()
            self.process.join()
            raise LostWorkerError(self.process.exitcode) from error
        if isinstance(answer, _Crash):
            raise FoldtuneError(f"a training process failed:\n{answer.traceback}")
        return answer

    def call(self, command: str, *args: Any) -> Any:
        self.send(command, *args)
        return self.receive()

    def wait_until_ready(self) -> None:
        """Wait until the process has its setup.

        Raises:
            FoldtuneError: it ended before.
        """
        try:
            self.receive()
        except LostWorkerError as error:
            advice = 'A script that trains in processes must start under `if __name__ == "__main__":`'
            raise FoldtuneError(f"{error} before it could train. {advice}; or use `workers=0`.") from error

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Crash:
    """A bug inside of a training process, to be raised in the search."""

    def __init__(self, text: str) -> None:
        self.traceback = text


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back: it reaches the whole group, but the search alone decides what it means.

    A process that starts meanwhile inherits this; here it comes through at the end.
    """
    resource_tracker.ensure_running()  # when it starts, it lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, threads: int) -> None:
    """The life of a training process: commands until the pipe closes, or until the search dies."""
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        import torch
        import torch._dynamo  # the first optimizer would import it, which takes a second: now nobody waits

        torch.set_num_threads(threads)
        _, (setup,) = connection.recv()
        pool = LocalPool(setup)
        connection.send("ready")
        while True:
            command, args = connection.recv()
            answer = getattr(pool, command)(*args)
            if command != "add":
                connection.send(answer)
    except (EOFError, ConnectionError):
        return
    except Exception:  # told to the search, which raises it
        connection.send(_Crash(traceback.format_exc()))


def _end_with_parent() -> None:
    """A search that was killed cannot end its processes, and an epoch may take minutes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
