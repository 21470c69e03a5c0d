"""The trials that a winner was chosen from: complete ones, and pruned ones that can be placed beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldtune.seeds import derive
from foldtune.selection.bbc import Candidates
from foldtune.selection.gains import aligned_gains, alignment_errors, reference_trials
from foldtune.selection.resampling import Units, draw_counts
from foldtune.selection.scorers import Scorer
from foldtune.store.records import TrialRecord
from foldtune.values import Direction, Floats, OutOfFold, Rows

Means = Mapping[int, Mapping[int, float]]
"""Trial number -> epoch -> the objective's mean over the folds."""

TOLERATED = 2.0
"""Standard errors by which gains may vary: those of noise alone vary by less, those of nets that begin to learn by
many."""
DRAWS = 50


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

    def candidates(self, scorer: Scorer, direction: Direction, n_answers: int) -> Candidates:
        """The trials, pruned ones with what the reference trials gained after their rung.

        None is placed before the best complete trial: it is that one which was chosen, and good starters gain less.

        Args:
            scorer: the metric of these trials.
            direction: whether more is better.
            n_answers: of each trial.
        """
        full, gains = scorer.every(np.ones((1, n_answers)))[0], aligned_gains(self.table, self.stopped)
        best = (np.max if direction == "maximize" else np.min)(full[self.complete])
        room = best - full
        limited = np.minimum(gains, room) if direction == "maximize" else np.maximum(gains, room)
        numbers = np.array([trial.number for trial in self.trials])
        return Candidates(numbers, self.complete, np.where(self.complete, 0.0, limited))

    def comparable(self, scorer: Scorer, units: Units, seed: int) -> list[TrialRecord]:
        """Trials that can be placed: all but those pruned where the reference trials had most of their way to go.

        What trials gain from there differs by much more than the rows' noise, so adding the mean would put some of them
        before the best. They were not dropped by luck with the rows either, which is what a correction is about.

        Args:
            scorer: the metric of these trials.
            units: what a draw takes as a whole.
            seed: the study's.
        """
        errors = alignment_errors(self.table)
        limit = TOLERATED * self._standard_error(scorer, units, seed) if len(errors) else 0.0
        lost = {rung for rung, error in enumerate(errors) if error > limit}
        return [trial for trial, rung in zip(self.trials, self.stopped, strict=True) if int(rung) not in lost]

    def _standard_error(self, scorer: Scorer, units: Units, seed: int) -> float:
        """Of a reference trial's score, by its rows."""
        counts = draw_counts(units, DRAWS, np.random.default_rng(derive(seed, "standard error")))
        scores = [scorer.one(counts, np.full(DRAWS, column)) for column in self.reference]
        return float(
            np.mean([found[np.isfinite(found)].std() if np.isfinite(found).any() else 0.0 for found in scores])
        )


def value(trial: TrialRecord) -> float:
    """A complete trial's objective."""
    assert trial.values is not None
    return trial.values[0]


def _mean_at(means: Mapping[int, float], epoch: int) -> float:
    """A trial's mean after an epoch; after its last one where it has fewer."""
    return means[min(epoch, max(means))]
