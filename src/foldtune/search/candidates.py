"""The trials that a winner was chosen from: complete ones, and pruned ones placed beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldtune.seeds import derive
from foldtune.selection.bbc import Candidates
from foldtune.selection.gains import align, reference_trials, shrinkage
from foldtune.selection.resampling import Units
from foldtune.selection.scorers import Scorer
from foldtune.store.records import TrialRecord
from foldtune.values import Direction, Floats, OutOfFold, Rows

Means = Mapping[int, Mapping[int, float]]
"""Trial number -> epoch -> the objective's mean over the folds."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """Where trials stopped, and what the reference trials scored there.

    Args:
        trials: with answers, shape (C,).
        complete: which were trained to their end, shape (C,).
        rungs: epochs at which others were pruned, ascending, shape (T,).
        stopped: the rung of each trial; T for complete ones, shape (C,).
        reference: columns of the reference trials, shape (R,).
        table: their scores at the rungs and, last, at their end, shape (R, T + 1).
    """

    trials: Sequence[TrialRecord]
    complete: NDArray[np.bool_]
    rungs: Sequence[int]
    stopped: Rows
    reference: Rows
    table: Floats

    @classmethod
    def of(cls, trials: Sequence[TrialRecord], answers: Mapping[int, OutOfFold], means: Means) -> "Ladder":
        """The ladder of trials with answers, one of them complete."""
        complete = np.array([trial.state == "complete" for trial in trials])
        ends = [int(answers[trial.number].epochs.max()) for trial in trials]
        rungs = sorted({end for end, done in zip(ends, complete, strict=True) if not done})
        stopped = np.array([len(rungs) if done else rungs.index(end) for end, done in zip(ends, complete, strict=True)])
        reference = reference_trials(complete, np.array([trial.exempt for trial in trials]))
        known = [trials[index] for index in reference]
        rows = [[*(_mean_at(means[trial.number], rung) for rung in rungs), value(trial)] for trial in known]
        return cls(trials, complete, rungs, stopped, reference, np.array(rows))

    def candidates(self, scorer: Scorer, direction: Direction, units: Units, seed: int) -> Candidates:
        """The trials, pruned ones as the reference trials went on from their rung.

        Args:
            scorer: the metric of these trials.
            direction: whether more is better.
            units: what a draw takes as a whole.
            seed: the study's.
        """
        own = scorer.every(np.ones((1, len(units.of_row))))[0]
        numbers = np.array([trial.number for trial in self.trials])
        generator = np.random.default_rng(derive(seed, "deviations"))
        shrink = shrinkage(scorer, units, self.reference, generator) if self.rungs else 1.0
        return Candidates(numbers, self.complete, align(self.table, self.stopped, own, direction, shrink=shrink))


def value(trial: TrialRecord) -> float:
    """A complete trial's objective."""
    assert trial.values is not None
    return trial.values[0]


def _mean_at(means: Mapping[int, float], epoch: int) -> float:
    """A trial's mean after an epoch; after its last one where it has fewer."""
    return means[min(epoch, max(means))]
