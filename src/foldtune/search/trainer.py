"""One process's share of the training: an engine's run, and the checkpoints of its jobs."""

from foldtune.errors import CheckpointError, StoreError
from foldtune.store.artifacts import Artifacts
from foldtune.train.checkpoint import dump, load
from foldtune.train.engine import Run, TrainingSetup
from foldtune.train.make import make_engine
from foldtune.values import EpochReport, Job, TrialResult


class Trainer:
    """A run whose jobs can be saved, and go on from where they were.

    Args:
        setup: the study's data, metrics and seed.
        artifacts: where checkpoints go; None to keep none.
    """

    def __init__(self, setup: TrainingSetup, artifacts: Artifacts | None) -> None:
        self.run: Run = make_engine(setup).start([])
        self.artifacts = artifacts
        self.repeats: dict[int, int] = {}  # by trial

    def add(self, job: Job, saved: bytes | None = None) -> None:
        """Take a job in; with a checkpoint, it goes on from there."""
        self.repeats[job.trial] = job.repeat
        self.run.add(job, None if saved is None else load(saved))

    def unusable(self, job: Job, saved: bytes) -> str | None:
        """Why a job cannot go on from a checkpoint; None when it can."""
        try:
            self.add(job, saved)
        except CheckpointError as error:
            return str(error)
        self.run.drop(job.trial)
        return None

    def step(self) -> list[EpochReport]:
        return self.run.step()

    def drop(self, trial: int) -> TrialResult:
        return self.run.drop(trial)

    def finish(self, trial: int) -> TrialResult:
        return self.run.finish(trial)

    def save(self) -> str | None:
        """Write every job's checkpoint; why not, where that fails. The search goes on without."""
        if self.artifacts is None:
            return None
        try:
            for trial, state in self.run.state_dict().items():
                self.artifacts.save(trial, state["epoch"], dump(state), self.repeats[trial])
        except (StoreError, CheckpointError) as error:
            return str(error)
        return None
