"""The seam between search and training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from foldtune.data.dataset import Dataset
from foldtune.spec.schema import EngineChoice
from foldtune.values import Direction, EpochReport, Job, TrialResult


@dataclass(frozen=True, eq=False)
class TrainingSetup:
    """All that a training process needs to know of a study.

    Args:
        dataset: the development rows; locked test rows are not among them.
        metrics: `use:` nodes of every metric, objectives first.
        directions: direction of each objective.
        seed: the study's seed.
        device: where models live, as torch names it.
        dtype: of weights and activations, as torch names it.
        engine: which engine trains; "auto" packs where it can.
        allowed: what references may import beside `foldtune.trust.LIBRARIES`; None: anything.
        keeps_answers: whether results hold out-of-fold answers.
    """

    dataset: Dataset
    metrics: tuple[Mapping[str, Any], ...]
    directions: tuple[Direction, ...]
    seed: int
    device: str = "cpu"
    dtype: str = "float32"
    engine: EngineChoice = "auto"
    allowed: tuple[str, ...] | None = None
    keeps_answers: bool = True


class Run(Protocol):
    """Jobs in training together, folds in lockstep. One process, one thread."""

    def step(self) -> list[EpochReport]:
        """Train each live job one epoch on all its folds; [] when none is live."""

    def add(self, job: Job, state: Mapping[str, Any] | None = None) -> None:
        """Fill a free slot.

        Args:
            job: not live here.
            state: of this job, from any run's `state_dict`: it goes on bitwise after the epoch at which that was taken.

        Raises:
            CheckpointError: the state does not fit; the job is not added.
        """

    def drop(self, trial: int) -> TrialResult:
        """Stop a live job and free its memory; scores and answers are those of its last epoch.

        Raises:
            KeyError: it is not live.
        """

    def finish(self, trial: int) -> TrialResult:
        """Stop a live job and free its memory; each fold's score and answers are those of its chosen epoch."""

    def state_dict(self) -> dict[int, dict[str, Any]]:
        """What each live job goes on from, by trial number; jobs without a trained epoch have none.

        Copies of plain values and tensors, as `foldtune.train.checkpoint` writes them. Nothing of the job itself is
        among them but "engine", that which trains it, and "epoch".
        """


class Engine(Protocol):
    """Starts runs."""

    def start(self, jobs: Sequence[Job]) -> Run:
        """A run of these jobs, none of them trained yet."""
