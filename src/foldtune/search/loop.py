"""The search loop: ask, train an epoch, report, prune, store, tell. It knows neither torch nor SQL.

After each epoch of every running trial stands a barrier: reports are decided on in trial-number order and stored
with the decisions in one transaction, so the rows in the database are a consistent cut at any moment. Trials that an
interruption left running are trained again to the cut, silently and to the same numbers, and the search goes on
as if it had never stopped.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from foldtune.search.optuna_parts import most_epochs, rungs
from foldtune.search.pool import Pool
from foldtune.search.status import RunningTrial, Status
from foldtune.search.study import OpenStudy
from foldtune.store.records import Barrier, TrialRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import EpochReport, TrialResult

logger = logging.getLogger("foldtune")

Ending = Literal["budget", "patience", "timeout", "exhausted", "interrupted"]
"""Why a search ended."""


@dataclass(eq=False)
class Search:
    """One search loop over an open study.

    Args:
        study: what is searched.
        pool: where jobs train.
        interrupted: asked at every barrier; True ends the search with everything saved.
        watch: told the status after every barrier.
    """

    study: OpenStudy
    pool: Pool
    interrupted: Callable[[], bool] = lambda: False
    watch: Callable[[Status], None] = lambda status: None
    began: float = field(default_factory=time.monotonic)
    means: dict[int, float] = field(default_factory=dict)
    finished_here: int = 0
    _lapped: float = 0.0
    _spent_before: float = 0.0

    def run(self) -> Ending:
        """Search until the budget is spent or something else ends it."""
        self._catch_up()
        while True:
            ending = self._refill()
            self.watch(self.status())
            if not self.study.running and ending is not None:
                return ending
            if self.interrupted():
                return "interrupted"
            self._barrier(self.pool.step(self.study.running))

    def _catch_up(self) -> None:
        """Train the trials of an interrupted session to where they stood; what they report is stored already."""
        stored = self.study.store.last_epochs(self.study.record.uuid)
        for number in self.study.running:
            self.pool.add(self.study.job(number))
        while behind := [number for number, epoch in stored.items() if epoch > 0]:
            for report in self.pool.step(behind):
                stored[report.trial] -= 1
                if report.failure is not None:
                    del stored[report.trial]
                    self._barrier([report])
                else:
                    self._compare(report)

    def _refill(self) -> Ending | None:
        """Fill free slots with new trials; why there are no more, if so."""
        started: list[TrialRecord] = []
        ending = self._ending()
        while ending is None and len(self.study.running) < self.study.cohort:
            started.append(self.study.ask())
            ending = self._ending()
        if started:
            self.study.store.add_trials(self.study.record.uuid, started)
            for trial in started:
                self.study.copy.add(trial)
                self.pool.add(self.study.job(trial.number))
        return ending

    def _ending(self) -> Ending | None:
        """Why no further trial is asked for."""
        study, search = self.study, self.study.search
        if len(study.trials) >= search.trials:
            return "budget"
        if study.mirror.exhausted:
            return "exhausted"
        if search.timeout is not None and self._elapsed() >= search.timeout:
            return "timeout"
        best = study.best
        since = sum(trial.number > best.number for trial in study.finished) if best else 0
        return "patience" if search.patience is not None and since >= search.patience else None

    def _barrier(self, reports: list[EpochReport]) -> None:
        """Decide on every report in trial-number order, then store reports and decisions at once."""
        study, touched = self.study, []
        for report in reports:
            trial = self._decide(study.trials[report.trial], report)
            study.trials[trial.number] = trial
            touched.append(trial)
        good = tuple(report for report in reports if report.failure is None)
        study.store.record(study.record.uuid, Barrier(good, tuple(touched), seconds=self._lap()))
        self._publish(good, touched)

    def _decide(self, trial: TrialRecord, report: EpochReport) -> TrialRecord:
        """A trial's next state after an epoch."""
        mirror, number = self.study.mirror, trial.number
        trial = replace(trial, seconds=trial.seconds + report.seconds)
        if report.failure is not None:
            mirror.tell(number, "failed", None)
            return self._ended(replace(trial, state="failed", failure=report.failure))
        trial = replace(trial, epochs=report.epoch)
        self.means[number] = fold_mean(report.scores[:, 0])
        prune = mirror.report(number, report.epoch, self.means[number])
        if report.done:
            return self._complete(trial, self.pool.finish(number))
        if prune and not trial.exempt:
            result = self.pool.drop(number)
            mirror.tell(number, "pruned", None)
            return self._ended(replace(trial, state="pruned", scores=result.scores, chosen=result.chosen))
        return replace(trial, attrs=mirror.attrs(number))

    def _complete(self, trial: TrialRecord, result: TrialResult) -> TrialRecord:
        n_objectives = len(self.study.record.directions)
        values = tuple(fold_mean(result.scores[:, column]) for column in range(n_objectives))
        self.study.mirror.tell(trial.number, "complete", values)
        return self._ended(replace(trial, state="complete", values=values, scores=result.scores, chosen=result.chosen))

    def _ended(self, trial: TrialRecord) -> TrialRecord:
        self.finished_here += 1
        return replace(trial, attrs=self.study.mirror.attrs(trial.number), finished_at=datetime.now(UTC))

    def _publish(self, reports: tuple[EpochReport, ...], touched: list[TrialRecord]) -> None:
        """Bring Optuna's tables up to the barrier: reports at rungs, and how trials ended."""
        at_rungs = set(rungs(most_epochs(self.study.plan.space)))
        ended = {trial.number: trial for trial in touched if trial.finished_at is not None}
        for report in reports:
            if report.epoch in at_rungs or report.trial in ended:
                self.study.copy.report(report.trial, report.epoch, self.means[report.trial])
        for trial in ended.values():
            self.study.copy.finish(trial)
            if trial.failure is not None:
                logger.warning("trial %d failed (%s): %s", trial.number, trial.failure.kind, trial.failure.message)

    def _compare(self, report: EpochReport) -> None:
        """An epoch trained again must give the stored numbers, bitwise on one kind of machine."""
        stored = self.study.store.curves(self.study.record.uuid, report.trial).scores[report.epoch - 1]
        if not np.array_equal(stored, report.scores, equal_nan=True):
            text = "trial %d: epoch %d, trained again, differs from what is stored (another kind of machine?)"
            logger.warning(text, report.trial, report.epoch)
        self.means[report.trial] = fold_mean(report.scores[:, 0])

    def _elapsed(self) -> float:
        """Seconds that the study was searched for, earlier sessions included."""
        return self._spent_before + time.monotonic() - self.began

    def _lap(self) -> float:
        """Seconds since the last barrier."""
        now = time.monotonic()
        lap, self._lapped = now - self._lapped, now
        return lap

    def __post_init__(self) -> None:
        self._lapped = self.began
        self._spent_before = self.study.store.seconds(self.study.record.uuid)

    def status(self) -> Status:
        """The search as it stands."""
        study = self.study
        best = study.best
        finished, budget = len(study.finished), study.search.trials
        spent = time.monotonic() - self.began
        rate = spent / self.finished_here if self.finished_here else None
        return Status(
            study=study.record.name,
            objective=study.record.objectives[0],
            budget=budget,
            counts=dict(Counter(trial.state for trial in study.trials.values())),
            running=tuple(self._running(study.trials[number]) for number in study.running),
            best=(best.number, best.values[0]) if best and best.values else None,
            seconds=spent,
            remaining_s=None if rate is None else max(0, budget - finished) * rate,
        )

    def _running(self, trial: TrialRecord) -> RunningTrial:
        epochs = int(trial.config["training"]["epochs"])
        return RunningTrial(
            trial.number, trial.epochs, epochs, len(self.study.plan.folds), self.means.get(trial.number)
        )
