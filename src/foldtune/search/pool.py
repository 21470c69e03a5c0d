"""Training processes: one per core with one thread each, alive as long as the search.

How many there are changes nothing but the time: jobs are dealt to them as they come, each in a run of its own.
"""

import multiprocessing
import signal
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

import numpy as np

from foldtune.errors import FoldtuneError
from foldtune.train.engine import Run, TrainingSetup
from foldtune.values import EpochReport, Failure, Job, TrialResult


class Pool(Protocol):
    """Where jobs train."""

    def add(self, job: Job) -> None:
        """Take a job in; it is not trained yet."""

    def step(self, trials: Iterable[int]) -> list[EpochReport]:
        """Train each of these jobs one epoch; reports in trial order. A job that failed is gone."""

    def drop(self, trial: int) -> TrialResult:
        """Stop a job; scores of its last epoch."""

    def finish(self, trial: int) -> TrialResult:
        """Stop a job; scores of its chosen epochs."""

    def close(self) -> None:
        """Stop everything."""


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

    def close(self) -> None:
        self.runs.clear()


class ProcessPool:
    """Trains in processes of its own. A process that dies fails its jobs and is replaced.

    Args:
        setup: the study's data, metrics and seed; sent to each process once.
        workers: number of processes.
        threads: torch threads of each; two are slower than one on small nets, and collapse beside a busy neighbour.
    """

    def __init__(self, setup: TrainingSetup, workers: int, threads: int = 1) -> None:
        self.setup, self.threads = setup, threads
        self.processes = [_Process(setup, threads) for _ in range(workers)]
        self.places: dict[int, _Process] = {}  # trial -> where it trains

    def add(self, job: Job) -> None:
        loads = {process: 0 for process in self.processes}
        for process in self.places.values():
            loads[process] += 1
        place = min(self.processes, key=loads.__getitem__)
        self.places[job.trial] = place
        place.send("add", job)

    def step(self, trials: Iterable[int]) -> list[EpochReport]:
        asked = {process: [t for t in sorted(trials) if self.places[t] is process] for process in self.processes}
        waiting = {process.connection: process for process, mine in asked.items() if mine}
        for process in waiting.values():
            process.send("step", asked[process])
        reports: list[EpochReport] = []
        while waiting:
            for connection in wait(list(waiting)):
                process = waiting.pop(connection)  # type: ignore[call-overload]
                reports += self._receive(process, asked[process])
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

    def close(self) -> None:
        for process in self.processes:
            process.connection.close()  # all of them leave at the same time
        for process in self.processes:
            process.end()

    def _receive(self, process: "_Process", trials: list[int]) -> list[EpochReport]:
        try:
            reports: list[EpochReport] = process.receive()
        except (EOFError, ConnectionError):
            return self._lost(process)
        return reports

    def _lost(self, dead: "_Process") -> list[EpochReport]:
        """Every job of a process that died has failed; another process takes its place."""
        dead.end()
        self.processes[self.processes.index(dead)] = _Process(self.setup, self.threads)
        message = f"the training process died with exit code {dead.process.exitcode}"
        failure, nothing = Failure("lost worker", message, ""), np.empty((0, len(self.setup.metrics)))
        lost = [trial for trial, process in self.places.items() if process is dead]
        return [EpochReport(trial, 1, nothing[:, 0], nothing, 0.0, failure=failure) for trial in lost]


class _Process:
    """A training process and the pipe to it."""

    def __init__(self, setup: TrainingSetup, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # database engines and torch's threads must not cross a fork
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, setup, threads), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, command: str, *args: Any) -> None:
        """Send without waiting; that a process is dead shows when its answer is awaited."""
        try:
            self.connection.send((command, args))
        except ConnectionError:
            return

    def receive(self) -> Any:
        answer = self.connection.recv()
        if isinstance(answer, _Crash):
            raise FoldtuneError(f"a training process failed:\n{answer.traceback}")
        return answer

    def call(self, command: str, *args: Any) -> Any:
        self.send(command, *args)
        return self.receive()

    def end(self) -> None:
        """Let the process leave, as it does when the pipe closes between two epochs; end it when it does not."""
        self.connection.close()
        self.process.join(timeout=1)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()


class _Crash:
    """A bug inside of a training process, to be raised in the search."""

    def __init__(self, text: str) -> None:
        self.traceback = text


def _serve(connection: Connection, setup: TrainingSetup, threads: int) -> None:
    """The life of a training process: commands until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the search decides what it means
    import torch

    torch.set_num_threads(threads)
    try:
        pool = LocalPool(setup)
        while True:
            command, args = connection.recv()
            answer = getattr(pool, command)(*args)
            if command != "add":
                connection.send(answer)
    except (EOFError, ConnectionError):
        return
    except Exception:  # told to the search, which raises it
        connection.send(_Crash(traceback.format_exc()))
