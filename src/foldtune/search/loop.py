"""The search loop: ask, train an epoch, report, prune, store, tell. It knows neither torch nor SQL.

After each epoch of every running trial stands a barrier: reports are decided on in trial-number order. They are stored
with the decisions in one transaction, while the next epoch trains already, so the rows in the database are a consistent
cut at any moment. Trials that an interruption left running are trained again to the cut, silently and to the same
numbers, and the search goes on as if it had never stopped.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from foldtune.search.pool import Pool
from foldtune.search.process import LostWorkerError
from foldtune.search.status import RunningTrial, Status, news
from foldtune.search.study import OpenStudy
from foldtune.store.records import Barrier, Curves, TrialRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import EpochReport, Failure, TrialResult

logger = logging.getLogger("foldtune")

COPIED_EVERY_S = 1.0
"""How long Optuna's tables may lag behind ours: a trial that begins and ends meanwhile enters them in one commit."""

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
    means: dict[int, float] = field(default_factory=dict, init=False)
    finished_here: int = field(default=0, init=False)
    news: tuple[str, ...] = field(default=(), init=False)
    reasons: set[str] = field(default_factory=set, init=False)
    decided: Barrier | None = field(default=None, init=False)
    asked: list[TrialRecord] = field(default_factory=list, init=False)
    uncopied: dict[int, dict[int, float]] = field(default_factory=dict, init=False)  # trial -> epoch -> mean

    def __post_init__(self) -> None:
        self.began = self._lapped = time.monotonic()
        self._copied = -math.inf
        self._spent_before = self.study.store.seconds(self.study.record.uuid)

    def run(self) -> Ending:
        """Search until the budget is spent or something else ends it. What was decided is stored while the next epoch
        trains."""
        if not self._catch_up():
            return "interrupted"
        while True:
            ending = self._refill()
            goes_on = bool(self.study.running) and not self.interrupted()
            if goes_on:
                self.pool.start()
            self._save(whole=not goes_on)
            self._tell()
            if not goes_on:
                return "interrupted" if self.study.running or ending is None else ending
            self._barrier(self.pool.step())

    def _tell(self) -> None:
        self.watch(self.status())
        self.news = ()

    def _catch_up(self) -> bool:
        """Train the trials of an interrupted session to where they stood; what they report is stored already.

        The pool steps all that it has: a trial joins when as many epochs are left to train as it has stored, so that
        all arrive together.

        Returns:
            Whether they arrived; False when the search was interrupted again.
        """
        uuid, store = self.study.record.uuid, self.study.store
        behind = store.last_epochs(uuid)
        stored = {number: store.curves(uuid, number) for number in behind}
        for left in range(max(behind.values(), default=0), 0, -1):
            if self.interrupted():
                return False
            self._tell()
            self._join(number for number, epoch in behind.items() if epoch == left)
            reports = self.pool.step()
            if lost := [report for report in reports if report.failure is not None]:
                self._barrier(lost)
                self._save()
            for report in reports:
                if report.failure is None:
                    self._compare(report, stored[report.trial])
        self._join(number for number, epoch in behind.items() if epoch == 0)
        return True

    def _join(self, trials: Iterable[int]) -> None:
        for number in trials:
            self.pool.add(self.study.job(number))

    def _refill(self) -> Ending | None:
        """Fill free slots with new trials; why there are no more, if so."""
        ending = self._ending()
        while ending is None and len(self.study.running) < self.study.cohort:
            self.asked.append(self.study.ask())
            ending = self._ending()
        self._join(trial.number for trial in self.asked)
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
        """Decide on every report in trial-number order."""
        study, touched = self.study, []
        for report in reports:
            trial = self._decide(study.trials[report.trial], report)
            study.trials[trial.number] = trial
            touched.append(trial)
        good = tuple(report for report in reports if report.failure is None)
        self.decided = Barrier(good, tuple(touched), seconds=self._lap())
        self.news = tuple(news(trial, study.record.objectives[0]) for trial in touched if trial.finished_at is not None)

    def _save(self, *, whole: bool = True) -> None:
        """Store reports and decisions at once, then the new trials that followed from them.

        Args:
            whole: whether Optuna's tables must be up to date, too.
        """
        study, (decided, asked) = self.study, (self.decided, self.asked)
        self.decided, self.asked = None, []
        if decided is not None:
            study.store.record(study.record.uuid, decided)
        if asked:
            study.store.add_trials(study.record.uuid, asked)
        reports = decided.reports if decided is not None else ()
        for trial in (*(decided.trials if decided is not None else ()), *asked):
            self.uncopied.setdefault(trial.number, {})
        for report in reports:
            self.uncopied[report.trial][report.epoch] = self.means[report.trial]
        if whole or time.monotonic() - self._copied >= COPIED_EVERY_S:
            self._publish()

    def _decide(self, trial: TrialRecord, report: EpochReport) -> TrialRecord:
        """A trial's next state after an epoch."""
        mirror, number = self.study.mirror, trial.number
        self._say_why(report)
        lost = report.failure is not None and report.failure.kind == "lost worker"  # which no engine reports
        engine = trial.engine if lost else report.engine
        trial = replace(trial, seconds=trial.seconds + report.seconds, engine=engine)
        if report.failure is not None:
            return self._failed(trial, report.failure)
        trial = replace(trial, epochs=report.epoch)
        self.means[number] = fold_mean(report.scores[:, 0])
        prune = mirror.report(number, report.epoch, self.means[number])
        if report.done:
            return self._stopped(trial, self.pool.finish, "complete")
        if prune and not trial.exempt:
            return self._stopped(trial, self.pool.drop, "pruned")
        return replace(trial, attrs=mirror.attrs(number))

    def _stopped(
        self, trial: TrialRecord, stop: Callable[[int], TrialResult], state: Literal["complete", "pruned"]
    ) -> TrialRecord:
        """A trial that has its result."""
        try:
            result = stop(trial.number)
        except LostWorkerError as error:
            return self._failed(trial, error.failure)
        n_objectives = len(self.study.record.directions)
        means = tuple(fold_mean(result.scores[:, column]) for column in range(n_objectives))
        values = means if state == "complete" else None
        trial = replace(trial, state=state, values=values, scores=result.scores, chosen=result.chosen)
        return self._ended(trial)

    def _failed(self, trial: TrialRecord, failure: Failure) -> TrialRecord:
        logger.warning("trial %d failed (%s): %s", trial.number, failure.kind, failure.message)
        return self._ended(replace(trial, state="failed", failure=failure))

    def _ended(self, trial: TrialRecord) -> TrialRecord:
        mirror = self.study.mirror
        mirror.tell(trial.number, trial.state, trial.values)
        self.finished_here += 1
        return replace(trial, attrs=mirror.attrs(trial.number), finished_at=datetime.now(UTC))

    def _publish(self) -> None:
        """Bring Optuna's tables up to ours."""
        for number, means in sorted(self.uncopied.items()):
            self.study.copy.update(self.study.trials[number], means)
        self.uncopied, self._copied = {}, time.monotonic()

    def _compare(self, report: EpochReport, stored: Curves) -> None:
        """An epoch trained again must give the stored numbers, bitwise on one kind of machine."""
        if not np.array_equal(stored.scores[report.epoch - 1], report.scores, equal_nan=True):
            text = "trial %d: epoch %d, trained again, differs from what is stored (another kind of machine?)"
            logger.warning(text, report.trial, report.epoch)
        self._say_why(report)
        self.means[report.trial] = fold_mean(report.scores[:, 0])

    def _say_why(self, report: EpochReport) -> None:
        """Say once of each reason which engine trains a trial, and aloud if it is not the packed one."""
        if report.reason is not None and report.reason not in self.reasons:
            self.reasons.add(report.reason)
            level = logging.DEBUG if report.engine == "packed" else logging.INFO
            logger.log(level, "trial %d trains with the %s engine: %s", report.trial, report.engine, report.reason)

    def _elapsed(self) -> float:
        """Seconds that the study was searched for, earlier sessions included."""
        return self._spent_before + time.monotonic() - self.began

    def _lap(self) -> float:
        """Seconds since the last barrier."""
        now = time.monotonic()
        lap, self._lapped = now - self._lapped, now
        return lap

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
            news=self.news,
        )

    def _running(self, trial: TrialRecord) -> RunningTrial:
        epochs = int(trial.config["training"]["epochs"])
        return RunningTrial(
            trial.number, trial.epochs, epochs, len(self.study.plan.folds), self.means.get(trial.number)
        )
