"""The search loop: ask, train an epoch, report, prune, store, tell. It knows neither torch nor SQL.

After each epoch of every running trial stands a barrier: reports are decided on in trial-number order. They are stored
with the decisions in one transaction, while the next epoch trains already, so the rows in the database are a consistent
cut at any moment. Trials that an interruption left running go on from their checkpoints, are trained again from there
to the cut, silently and to the same numbers, and the search goes on as if it had never stopped.

While trials train, the next ones are asked for: a slot that becomes free need not wait for the sampler.

Any number of search loops may work on one study. Each has a lease on the trials that it trains, reserves the numbers of
new ones, and takes in what the others did before it asks; trials whose loop has died go on in another.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from foldtune.search.finalists import Reserve
from foldtune.search.interrupts import pause
from foldtune.search.pool import Pool, Saved, since, staggered
from foldtune.search.process import LostWorkerError
from foldtune.search.run import CHECKPOINT_EVERY_S
from foldtune.search.status import RunningTrial, Status, news, planned, status_of
from foldtune.search.study import OpenStudy
from foldtune.search.training import Training, engine_of
from foldtune.store.records import Barrier, Kept, TrialRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import EpochReport, Failure, TrialResult

logger = logging.getLogger("foldtune")

TAKEN_OVER_EVERY_S = 5.0
"""How soon trials of a search loop that died are noticed, while there is a slot for them."""

AHEAD = 4
"""For so many trials in training, one is asked for before a slot is free."""

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
        saved_every_s: seconds between checkpoints, which bound what a crash costs; 0: one after every epoch.
    """

    study: OpenStudy
    pool: Pool
    interrupted: Callable[[], bool] = lambda: False
    watch: Callable[[Status], None] = lambda status: None
    saved_every_s: float = CHECKPOINT_EVERY_S
    finished_here: int = field(default=0, init=False)
    announced: bool = field(default=False, init=False)  # that time is kept back
    news: tuple[str, ...] = field(default=(), init=False)
    decided: Barrier = field(default_factory=Barrier, init=False)
    asked: list[TrialRecord] = field(default_factory=list, init=False)
    kept: list[Kept] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        study = self.study
        self.training = Training(study, self.pool, self.saved_every_s)
        self.reserve = Reserve(study.record, study.trials, study.cohort)
        self.began = self._looked = time.monotonic()
        self._spent_before = study.store.seconds(study.record.uuid)
        self._trained = sum(trial.seconds for trial in study.trials.values())  # seconds, of trials

    def run(self) -> Ending:
        """Search until the budget is spent, by other search loops too, or something else ends it. What was decided is
        stored while the next epoch trains."""
        if not self._catch_up():
            return "interrupted"
        while True:
            ending = self._refill()
            busy = bool(self.study.running)
            if self.interrupted() or not (busy or self.study.others):
                break
            if busy:
                self._train()
            else:
                self._wait()
        self.training.save()
        self._save()
        self._tell()
        return "interrupted" if busy or ending is None or self.study.others else ending

    def _train(self) -> None:
        """One epoch of every trial, and the barrier behind it."""
        self.training.save_if_due()
        if not self.saved_every_s:  # an epoch shorter than this write could end before the one before it is stored
            self._save(whole=False)
        self.pool.start()
        self._save(whole=False)
        self._look_ahead()
        self._tell()
        self._barrier(self.pool.step())

    def _wait(self) -> None:
        """Others train the last trials: wait a little, and see what became of them."""
        self._save()
        self._tell()
        pause(TAKEN_OVER_EVERY_S, self.interrupted)
        self.study.refresh()

    def _tell(self) -> None:
        self.watch(self.status())
        self.news = ()

    def _catch_up(self) -> bool:
        """Train the trials of an interrupted session to where they stood.

        Returns:
            Whether they arrived; False when the search was interrupted again.
        """
        saved = {number: self._saved(number) for number in self.study.running}
        left = {number: self.study.trials[number].epochs - since(saved[number]) for number in saved}
        for joining, steps in staggered(left):
            for number in joining:
                self._join(number, saved[number])
            for _ in range(steps):
                if self.interrupted():
                    return False
                self._tell()
                self._barrier(self.pool.step())
                self._save()
        return True

    def _saved(self, number: int) -> Saved | None:
        """A trial's newest checkpoint that it can go on from."""
        return self.training.saved(self.study.job(number), self.study.trials[number].epochs)

    def _join(self, number: int, saved: Saved | None = None) -> None:
        """Give a trial to the pool."""
        self.training.join(self.study.job(number), self.study.trials[number].epochs, saved)

    def _refill(self) -> Ending | None:
        """Fill free slots, with trials whose search loop died, those that are ready, and new ones; why no more are
        asked for."""
        study = self.study
        if self._free and time.monotonic() - self._looked >= TAKEN_OVER_EVERY_S:
            self._looked = time.monotonic()
            for number in study.take_over():
                self._join(number, self._saved(number))
        ending, late = self._ending(), self._late
        while self._free and not late:
            if not study.ready and (ending := self._ask(self._free)) is not None:
                break
            self.asked.append(study.begin(study.ready[0]))
            self._join(self.asked[-1].number)
        return "timeout" if late and study.ready else ending

    def _look_ahead(self) -> None:
        """Ask for trials that will have the next free slots."""
        study = self.study
        while (missing := study.cohort // AHEAD - len(study.ready)) > 0 and self._ask(missing) is None:
            pass

    def _ask(self, missing: int) -> Ending | None:
        """Ask for the next trial, whose number is reserved with those of all that are missing; why there is none."""
        study = self.study
        while (ending := self._ending()) is None:
            if not study.reserved:
                study.reserve(1 if study.mirror.finite else missing)
            if study.reserved:
                self.asked.append(study.ask(study.reserved[0]))
                return None
        return ending

    @property
    def _free(self) -> int:
        """Slots that no trial has."""
        return max(0, self.study.cohort - len(self.study.running))

    def _ending(self) -> Ending | None:
        """Why no further trial is asked for."""
        study, search = self.study, self.study.search
        if len(study.trials) >= search.trials and not study.reserved:
            return "budget"
        if study.mirror.exhausted:
            return "exhausted"
        if self._late:
            return "timeout"
        best = study.trials.best
        if search.patience is None or best is None:
            return None
        later = sum(trial.number > best.number for trial in study.trials.values() if trial.finished_at is not None)
        return "patience" if later >= search.patience else None

    @property
    def _late(self) -> bool:
        """Whether the time is over, or what is left of it is needed for confirmation."""
        if (timeout := self.study.search.timeout) is None:
            return False
        elapsed = self._elapsed()
        pace = elapsed / self._trained if self._trained else 0.0
        needed = self.reserve.needed_s(self.study.trials.n_finished, pace)
        late = elapsed + needed >= timeout
        if late and elapsed < timeout and not self.announced:
            self.announced = True
            text = "no new trials in the last %.0f s of `search.timeout`: to confirm the best takes about %.0f s"
            logger.info(text, timeout - elapsed, needed)
        return late

    def _barrier(self, reports: list[EpochReport]) -> None:
        """Decide on every report in trial-number order, but for those of epochs that were decided on before."""
        study, touched = self.study, []
        if not (reports := self.training.fresh(reports)):
            return
        for report in reports:
            trial = self._decide(study.trials[report.trial], report)
            study.trials.put(trial)
            touched.append(trial)
        good = tuple(report for report in reports if report.failure is None)
        self.decided = Barrier(good, tuple(touched), seconds=self.training.lap())
        self.news = tuple(news(trial, study.record.objectives[0]) for trial in touched if trial.finished_at is not None)

    def _save(self, *, whole: bool = True) -> None:
        """Store reports, decisions and the new trials that followed from them, all at once.

        Args:
            whole: whether Optuna's tables must be up to date, too.
        """
        study, barrier = self.study, replace(self.decided, asked=tuple(self.asked), kept=tuple(self.kept))
        self.decided, self.asked, self.kept = Barrier(), [], []
        if barrier.trials or barrier.asked:
            study.store.record(study.lease, barrier)
        ended = [trial.number for trial in barrier.trials if trial.finished_at is not None]
        all_ended = study.trials.n_finished == len(study.trials)
        self.training.clean_up(ended, whole=bool(ended) and all_ended and not study.confirming)
        study.publisher.publish(now=whole)

    def _decide(self, trial: TrialRecord, report: EpochReport) -> TrialRecord:
        """A trial's next state after an epoch."""
        mirror, number = self.study.mirror, trial.number
        self._trained += report.seconds
        trial = replace(trial, seconds=trial.seconds + report.seconds, engine=engine_of(report, trial.engine))
        if report.failure is not None:
            return self._failed(trial, report.failure)
        trial = replace(trial, epochs=report.epoch)
        mean = self.study.means[number][report.epoch] = fold_mean(report.scores[:, 0])
        prune = mirror.report(number, report.epoch, mean)
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
        self.kept += self.study.kept(self.study.job(trial.number), result)
        trial = replace(trial, state=state, values=values, scores=result.scores, chosen=result.chosen)
        return self._ended(replace(trial, n_parameters=result.n_parameters))

    def _failed(self, trial: TrialRecord, failure: Failure) -> TrialRecord:
        logger.warning("trial %d failed (%s): %s", trial.number, failure.kind, failure.message)
        return self._ended(replace(trial, state="failed", failure=failure))

    def _ended(self, trial: TrialRecord) -> TrialRecord:
        mirror = self.study.mirror
        infeasible = trial.failure is not None and trial.failure.kind == "out of memory"
        mirror.tell(trial.number, trial.state, trial.values, infeasible=infeasible)
        self.finished_here += 1
        return replace(trial, attrs=mirror.attrs(trial.number), finished_at=datetime.now(UTC))

    def _elapsed(self) -> float:
        """Seconds that the study was searched for, earlier sessions included."""
        return self._spent_before + time.monotonic() - self.began

    def status(self) -> Status:
        """The search as it stands."""
        study = self.study
        left, spent = max(0, study.search.trials - study.trials.n_finished), time.monotonic() - self.began
        rate = spent / self.finished_here if self.finished_here else None
        return status_of(
            study,
            running=tuple(self._running(study.trials[number]) for number in study.running),
            seconds=spent,
            remaining_s=None if rate is None else left * rate,
            news=self.news,
        )

    def _running(self, trial: TrialRecord) -> RunningTrial:
        mean = self.study.means[trial.number].get(trial.epochs)
        return RunningTrial(trial.number, trial.epochs, planned(trial), len(self.study.plan.folds), mean)
