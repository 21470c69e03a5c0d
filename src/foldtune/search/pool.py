"""Where jobs train: in this process, or in training processes.

How many there are changes nothing but the time: a job goes to the one that has least to do, and what a job gives does
not depend on which others share its run. A process that dies is replaced, and its jobs go on from their checkpoints to
where they were, unseen.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from statistics import fmean
from typing import Protocol

import numpy as np

from foldtune.search.process import LostWorkerError, TrainingProcess
from foldtune.store.artifacts import Artifacts
from foldtune.train.engine import TrainingSetup
from foldtune.values import EpochReport, Job, TrialResult

Saved = tuple[int, bytes]
"""An epoch, and the checkpoint of a job after it."""

RECENT = 16
"""Jobs whose beginnings say what the next one's will take."""

DEATHS = 2
"""How many dying processes a job survives: one that always kills its process must not do so for ever."""


class Pool(Protocol):
    """Where jobs train."""

    def add(self, job: Job, saved: Saved | None = None) -> None:
        """Take a job in; it is not trained yet, or goes on from a checkpoint."""

    def unusable(self, job: Job, saved: bytes) -> str | None:
        """Why a job cannot go on from a checkpoint; None when it can."""

    def start(self) -> None:
        """Begin an epoch, whose end the next `step` waits for; no job joins or leaves before that."""

    def step(self) -> list[EpochReport]:
        """Train every job one epoch; reports in trial order. A job that failed is gone."""

    def drop(self, trial: int) -> TrialResult:
        """Stop a job; scores of its last epoch. LostWorkerError when it kills the processes that train it."""

    def finish(self, trial: int) -> TrialResult:
        """Stop a job; scores of its chosen epochs. LostWorkerError likewise."""

    def save(self) -> list[str]:
        """Write a checkpoint of every job, between epochs; what went wrong."""


class LocalPool:
    """Trains in this process: `workers=0`, as in a DataLoader. For debuggers and tests.

    Args:
        setup: the study's data, metrics and seed.
        artifacts: where checkpoints go; None to keep none.
    """

    def __init__(self, setup: TrainingSetup, artifacts: Artifacts | None = None) -> None:
        from foldtune.search.trainer import Trainer

        self.trainer = Trainer(setup, artifacts)

    def add(self, job: Job, saved: Saved | None = None) -> None:
        self.trainer.add(job, saved and saved[1])

    def unusable(self, job: Job, saved: bytes) -> str | None:
        return self.trainer.unusable(job, saved)

    def start(self) -> None:
        """There is nobody else to train."""

    def step(self) -> list[EpochReport]:
        return self.trainer.step()

    def drop(self, trial: int) -> TrialResult:
        return self.trainer.drop(trial)

    def finish(self, trial: int) -> TrialResult:
        return self.trainer.finish(trial)

    def save(self) -> list[str]:
        return [problem] if (problem := self.trainer.save()) else []


@dataclass(eq=False)
class _Placed:
    """A job, the process that trains it, the epochs that it has trained, and what the last one took."""

    job: Job
    process: TrainingProcess
    epoch: int
    seconds: float | None = None


class ProcessPool:
    """Trains in processes of its own.

    Args:
        setup: the study's data, metrics and seed; sent to each process once.
        processes: where to train, from `training_processes`; one that died is replaced in this list.
        artifacts: where checkpoints go; None to keep none.

    Raises:
        FoldtuneError: a process cannot start.
    """

    def __init__(
        self, setup: TrainingSetup, processes: list[TrainingProcess], artifacts: Artifacts | None = None
    ) -> None:
        self.setup, self.processes, self.artifacts = setup, processes, artifacts
        self.placed: dict[int, _Placed] = {}  # by trial
        self.training: dict[Connection, TrainingProcess] = {}  # those in an epoch
        self.deaths: Counter[tuple[int, int]] = Counter()  # of the processes of a trial and repeat
        self.lost: list[EpochReport] = []  # jobs that nothing can train
        self.beginnings: deque[float] = deque(maxlen=RECENT)  # seconds of first epochs that were not spent training
        self.started = 0.0  # on the clock: the epoch in training
        for process in processes:
            self._begin(process)
        for process in processes:
            process.wait_until_ready()

    def add(self, job: Job, saved: Saved | None = None) -> None:
        for process in list(self.processes):
            if not process.is_alive():
                self._replace(process, LostWorkerError(process.process.exitcode))
        process = min(self.processes, key=self._loads().__getitem__)
        self.placed[job.trial] = _Placed(job, process, saved[0] if saved else 0)
        process.send("add", job, saved and saved[1])

    def _loads(self) -> dict[TrainingProcess, float]:
        """Seconds that the next epoch takes each process, as far as is known: a first one takes as long as others do,
        and the beginning."""
        known = [placed.seconds for placed in self.placed.values() if placed.seconds is not None] or [1.0]
        first = fmean(known) + fmean(self.beginnings or [0.0])
        loads = dict.fromkeys(self.processes, 0.0)
        for placed in self.placed.values():
            loads[placed.process] += first if placed.seconds is None else placed.seconds
        return loads

    def unusable(self, job: Job, saved: bytes) -> str | None:
        found: str | None = self.processes[0].call("unusable", job, saved)
        return found

    def start(self) -> None:
        self.started = time.perf_counter()
        self.training = {placed.process.connection: placed.process for placed in self.placed.values()}
        for process in self.training.values():
            process.send("step")

    def step(self) -> list[EpochReport]:
        if not self.training:
            self.start()
        reports: list[EpochReport] = []
        while self.training:
            for connection in wait(list(self.training)):
                reports += self._receive(self.training.pop(connection))  # type: ignore[call-overload]
        for report in reports:
            placed = self.placed[report.trial]
            placed.epoch, placed.seconds = report.epoch, report.seconds
            if report.failure:
                del self.placed[report.trial]
        reports, self.lost = [*reports, *self.lost], []
        return sorted(reports, key=lambda report: report.trial)

    def drop(self, trial: int) -> TrialResult:
        return self._stop("drop", trial)

    def finish(self, trial: int) -> TrialResult:
        return self._stop("finish", trial)

    def save(self) -> list[str]:
        processes = list(dict.fromkeys(placed.process for placed in self.placed.values()))
        for process in processes:
            process.send("save")
        return [problem for process in processes if (problem := self._saved_in(process))]

    def _saved_in(self, process: TrainingProcess) -> str | None:
        """What a process answers that was told to save, or the one that takes its place."""
        try:
            problem: str | None = process.receive()
        except LostWorkerError as error:
            fresh = self._replace(process, error)
            fresh.send("save")
            return self._saved_in(fresh)
        return problem

    def _begin(self, process: TrainingProcess) -> None:
        process.start()
        process.send("setup", replace(self.setup, device=process.device), self.artifacts)

    def _stop(self, command: str, trial: int) -> TrialResult:
        while True:
            process = self.placed[trial].process
            try:
                result: TrialResult = process.call(command, trial)
            except LostWorkerError as error:
                self._replace(process, error)
                if trial not in self.placed:
                    self.lost = [report for report in self.lost if report.trial != trial]
                    raise
                continue
            del self.placed[trial]
            return result

    def _receive(self, process: TrainingProcess) -> list[EpochReport]:
        try:
            reports: list[EpochReport] = process.receive()
        except LostWorkerError as error:
            fresh = self._replace(process, error)
            if any(placed.process is fresh for placed in self.placed.values()):
                self.training[fresh.connection] = fresh
                fresh.send("step")
            return []
        self._learn(reports)
        return reports

    def _learn(self, reports: list[EpochReport]) -> None:
        """What the jobs that a process has begun took it beside training: nets to build and check, memory to lay."""
        began = [report for report in reports if self.placed[report.trial].seconds is None]
        spent = time.perf_counter() - self.started - sum(report.seconds for report in reports)
        self.beginnings.extend([spent / len(began)] * len(began) if began else [])

    def _replace(self, dead: TrainingProcess, error: LostWorkerError) -> TrainingProcess:
        """Start another process, in which the jobs of the dead one go on."""
        dead.end()
        fresh = self.processes[self.processes.index(dead)] = TrainingProcess(dead.device)
        self._begin(fresh)
        fresh.wait_until_ready()
        for placed in [placed for placed in self.placed.values() if placed.process is dead]:
            placed.process, job = fresh, placed.job
            self.deaths[job.trial, job.repeat] += 1
            if self.deaths[job.trial, job.repeat] > DEATHS:
                self._give_up(job.trial, error)
        try:
            self._catch_up(fresh)
        except LostWorkerError as again:
            return self._replace(fresh, again)
        return fresh

    def _give_up(self, trial: int, error: LostWorkerError) -> None:
        nothing = np.empty((0, len(self.setup.metrics)))
        placed = self.placed.pop(trial)
        epoch, repeat = placed.epoch + 1, placed.job.repeat
        self.lost.append(EpochReport(trial, epoch, nothing[:, 0], nothing, 0.0, failure=error.failure, repeat=repeat))

    def _catch_up(self, fresh: TrainingProcess) -> None:
        """Bring a new process's jobs to where they were; what they report is known."""
        jobs = {trial: placed for trial, placed in self.placed.items() if placed.process is fresh}
        saved = {trial: self._saved(placed) for trial, placed in jobs.items()}
        left = {trial: placed.epoch - since(saved[trial]) for trial, placed in jobs.items()}
        for joining, steps in staggered(left):
            for trial in joining:
                checkpoint = saved[trial]
                fresh.send("add", jobs[trial].job, checkpoint and checkpoint[1])
            for _ in range(steps):
                fresh.call("step")

    def _saved(self, placed: _Placed) -> Saved | None:
        """The newest checkpoint of a job that it can go on from."""
        found = self.artifacts and self.artifacts.load(placed.job.trial, placed.epoch, placed.job.repeat)
        return found if found and placed.process.call("unusable", placed.job, found[1]) is None else None


def since(saved: Saved | None) -> int:
    """Epochs that a job need not train again."""
    return saved[0] if saved else 0


def staggered(left: Mapping[int, int]) -> Iterator[tuple[list[int], int]]:
    """How jobs that are behind arrive together, where all that have joined are stepped at once.

    Args:
        left: the epochs that each has left to train.

    Yields:
        Those that join, and the steps until the next ones join, or until all have arrived.

    Example:
        >>> list(staggered({0: 5, 1: 0, 2: 2, 3: 5}))
        [([0, 3], 3), ([2], 2), ([1], 0)]
    """
    marks = sorted({*left.values()}, reverse=True)
    for mark, below in pairwise([*marks, 0]):
        yield [trial for trial, epochs in left.items() if epochs == mark], mark - below
