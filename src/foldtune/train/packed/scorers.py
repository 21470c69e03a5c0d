"""Scores of all jobs in stacks, where their answers mean the same at once."""

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from foldtune.metrics import Metric
from foldtune.train.answers import Read
from foldtune.train.engine import TrainingSetup
from foldtune.train.packed.member import Member
from foldtune.train.scoring import Scorer
from foldtune.values import Floats


class Scorers:
    """A `Scorer` for each kind of answer among the jobs that train together; made anew when these are other jobs.

    Args:
        setup: the study's data and metrics.
        metrics: what to compute, objectives first.
    """

    def __init__(self, setup: TrainingSetup, metrics: Sequence[Metric]) -> None:
        self.setup, self.metrics = setup, metrics
        self._scorers: dict[tuple[int, ...], Scorer] = {}

    def clear(self) -> None:
        """Give up all scorers, and the memory that they hold."""
        self._scorers = {}

    def score(
        self, members: Sequence[Member], answers: Mapping[tuple[int, int], Tensor]
    ) -> dict[int, tuple[Floats, Read]]:
        """Every metric of all jobs whose answers mean the same, at once; and what gives those answers."""
        found: dict[int, tuple[Floats, Read]] = {}
        kinds = dict.fromkeys((member.head.predict, member.shape.outputs) for member in members)
        for kind in kinds:
            alike = [member for member in members if (member.head.predict, member.shape.outputs) == kind]
            scorer, stop = self._scorer(alike), 0
            places = [(member.job.trial, fold) for member in alike for fold in range(len(member.job.folds))]
            scores = scorer.score([answers[place] for place in places])
            for member in alike:
                start, stop = stop, stop + len(member.job.folds)
                found[member.job.trial] = scores[start:stop].copy(), partial(scorer.kept, start, stop)
        return found

    def _scorer(self, members: Sequence[Member]) -> Scorer:
        key = tuple(member.job.trial for member in members)
        if key not in self._scorers:
            self._scorers[key] = Scorer(
                self.setup.dataset,
                [data for member in members for data in member.data],
                [fold for member in members for fold in member.job.folds],
                head=members[0].head,
                metrics=self.metrics,
                device=self.setup.device,
            )
        return self._scorers[key]
