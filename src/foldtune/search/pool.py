"""Where jobs train: in this process, or in training processes.

How many there are changes nothing but the time: jobs are dealt to them as they come, and what a job gives does not
depend on which others share its run.
"""

from multiprocessing.connection import Connection, wait
from typing import Protocol

import numpy as np

from foldtune.search.process import LostWorkerError, TrainingProcess
from foldtune.train.engine import Run, TrainingSetup
from foldtune.values import EpochReport, Job, TrialResult


class Pool(Protocol):
    """Where jobs train."""

    def add(self, job: Job) -> None:
        """Take a job in; it is not trained yet."""

    def start(self) -> None:
        """Begin an epoch, whose end the next `step` waits for; no job joins or leaves before that."""

    def step(self) -> list[EpochReport]:
        """Train every job one epoch; reports in trial order. A job that failed is gone."""

    def drop(self, trial: int) -> TrialResult:
        """Stop a job; scores of its last epoch. LostWorkerError when the process that trained it died."""

    def finish(self, trial: int) -> TrialResult:
        """Stop a job; scores of its chosen epochs. LostWorkerError likewise."""


class LocalPool:
    """Trains in this process: `workers=0`, as in a DataLoader. For debuggers and tests.

    Args:
        setup: the study's data, metrics and seed.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        from foldtune.train.make import make_engine

        self.run: Run = make_engine(setup).start([])

    def add(self, job: Job) -> None:
        self.run.add(job)

    def start(self) -> None:
        """There is nobody else to train."""

    def step(self) -> list[EpochReport]:
        return self.run.step()

    def drop(self, trial: int) -> TrialResult:
        return self.run.drop(trial)

    def finish(self, trial: int) -> TrialResult:
        return self.run.finish(trial)


class ProcessPool:
    """Trains in processes of its own. A process that dies fails its jobs and is replaced.

    Args:
        setup: the study's data, metrics and seed; sent to each process once.
        processes: where to train, from `training_processes`; one that died is replaced in this list.

    Raises:
        FoldtuneError: a process cannot start.
    """

    def __init__(self, setup: TrainingSetup, processes: list[TrainingProcess]) -> None:
        self.setup, self.processes = setup, processes
        self.places: dict[int, TrainingProcess] = {}  # trial -> where it trains
        self.training: dict[Connection, TrainingProcess] = {}  # those in an epoch
        self.lost: list[EpochReport] = []  # of processes that died since the last step
        for process in processes:
            process.start()
            process.send("setup", setup)
        for process in processes:
            process.wait_until_ready()

    def add(self, job: Job) -> None:
        for process in list(self.processes):
            if not process.is_alive():
                self._replace(process, LostWorkerError(process.process.exitcode))
        loads = {process: 0 for process in self.processes}
        for process in self.places.values():
            loads[process] += 1
        place = min(self.processes, key=loads.__getitem__)
        self.places[job.trial] = place
        place.send("add", job)

    def start(self) -> None:
        self.training = {process.connection: process for process in self.places.values()}
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
            if report.failure:
                del self.places[report.trial]
        reports, self.lost = [*reports, *self.lost], []
        return sorted(reports, key=lambda report: report.trial)

    def drop(self, trial: int) -> TrialResult:
        result: TrialResult = self.places.pop(trial).call("drop", trial)
        return result

    def finish(self, trial: int) -> TrialResult:
        result: TrialResult = self.places.pop(trial).call("finish", trial)
        return result

    def _receive(self, process: TrainingProcess) -> list[EpochReport]:
        try:
            reports: list[EpochReport] = process.receive()
        except LostWorkerError as error:
            self._replace(process, error)
            return []
        return reports

    def _replace(self, dead: TrainingProcess, error: LostWorkerError) -> None:
        """Start another process; the jobs of the dead one have failed."""
        nothing = np.empty((0, len(self.setup.metrics)))
        for trial in [trial for trial, place in self.places.items() if place is dead]:
            del self.places[trial]
            self.lost.append(EpochReport(trial, 1, nothing[:, 0], nothing, 0.0, failure=error.failure))
        dead.end()
        fresh = self.processes[self.processes.index(dead)] = TrainingProcess(dead.threads, dead.device)
        fresh.start()
        fresh.send("setup", self.setup)
        fresh.wait_until_ready()
