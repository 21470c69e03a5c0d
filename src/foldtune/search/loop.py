"""The search loop: ask, train an epoch, report, prune, store, tell. It knows neither torch nor SQL.

After each epoch of every running trial stands a barrier: reports are decided on in trial-number order. They are stored
with the decisions in one transaction, while the next epoch trains already, so the rows in the database are a consistent
cut at any moment. Trials that an interruption left running go on from their checkpoints, are trained again from there
to the cut, silently and to the same numbers, and the search goes on as if it had never stopped.

Any number of search loops may work on one study. Each has a lease on the trials that it trains, reserves the numbers of
new ones, and takes in what the others did before it asks; trials whose loop has died go on in another.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from foldtune.errors import StoreError
from foldtune.search.pool import Pool, Saved, since, staggered
from foldtune.search.process import LostWorkerError
from foldtune.search.run import CHECKPOINT_EVERY_S
from foldtune.search.status import RunningTrial, Status, news
from foldtune.search.study import OpenStudy
from foldtune.store.records import Barrier, Curves, TrialRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import EpochReport, Failure, TrialResult

logger = logging.getLogger("foldtune")

SAVING_SHARE = 0.05
"""Of the time that writing checkpoints may take; where it takes longer, they become rarer."""

TAKEN_OVER_EVERY_S = 5.0
"""How soon trials of a search loop that died are noticed, while there is a slot for them."""

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
    news: tuple[str, ...] = field(default=(), init=False)
    reasons: set[str] = field(default_factory=set, init=False)
    decided: Barrier = field(default_factory=Barrier, init=False)
    asked: list[TrialRecord] = field(default_factory=list, init=False)
    stored: dict[int, Curves] = field(default_factory=dict, init=False)  # of trials that are trained again

    def __post_init__(self) -> None:
        self.began = self._lapped = self._looked = time.monotonic()
        self._next_save = self.began + self.saved_every_s
        self._unsaved: set[str] = set()
        self._spent_before = self.study.store.seconds(self.study.record.uuid)

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
        self._save_checkpoints()
        self._save()
        self._tell()
        return "interrupted" if busy or ending is None or self.study.others else ending

    def _train(self) -> None:
        """One epoch of every trial, and the barrier behind it."""
        if time.monotonic() >= self._next_save:
            self._save_checkpoints()
        if not self.saved_every_s:  # an epoch shorter than this write could end before the one before it is stored
            self._save(whole=False)
        self.pool.start()
        self._save(whole=False)
        self._tell()
        self._barrier(self.pool.step())

    def _wait(self) -> None:
        """Others train the last trials: wait a little, and see what became of them."""
        self._save()
        self._tell()
        until = time.monotonic() + TAKEN_OVER_EVERY_S
        while time.monotonic() < until and not self.interrupted():
            time.sleep(0.1)
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
        trial = self.study.trials[number]
        found = self.study.artifacts.load(number, trial.epochs)
        if found and (reason := self.pool.unusable(self.study.job(number), found[1])):
            logger.warning("trial %d is trained again from its start: %s", number, reason)
            return None
        return found

    def _join(self, number: int, saved: Saved | None = None) -> None:
        """Give a trial to the pool; what it reports of epochs that are stored already is compared with them."""
        trial = self.study.trials[number]
        if trial.epochs > since(saved):
            self.stored[number] = self.study.store.curves(self.study.record.uuid, number)
        self.pool.add(self.study.job(number), saved)

    def _refill(self) -> Ending | None:
        """Fill free slots: with trials whose search loop died, those put back, and new ones; why there are no more."""
        study = self.study
        if self._free and time.monotonic() - self._looked >= TAKEN_OVER_EVERY_S:
            self._looked = time.monotonic()
            for number in study.take_over():
                self._join(number, self._saved(number))
        for number in study.put_back[: self._free]:
            self.asked.append(study.try_again(number))
            self._join(number)
        while (ending := self._ending()) is None and self._free:
            if not study.reserved:
                study.reserve(1 if study.mirror.finite else self._free)
            for number in study.reserved[: self._free]:
                self.asked.append(study.ask(number))
                self._join(number)
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
        if search.timeout is not None and self._elapsed() >= search.timeout:
            return "timeout"
        best = study.trials.best
        if search.patience is None or best is None:
            return None
        since = sum(trial.number > best.number for trial in study.finished)
        return "patience" if since >= search.patience else None

    def _barrier(self, reports: list[EpochReport]) -> None:
        """Decide on every report in trial-number order, but for those of epochs that were decided on before."""
        study, touched = self.study, []
        known = [
            report for report in reports if not report.failure and report.epoch <= study.trials[report.trial].epochs
        ]
        for report in known:
            self._compare(report)
        if not (reports := [report for report in reports if report not in known]):
            return
        for report in reports:
            trial = self._decide(study.trials[report.trial], report)
            study.trials.put(trial)
            touched.append(trial)
        good = tuple(report for report in reports if report.failure is None)
        self.decided = Barrier(good, tuple(touched), seconds=self._lap())
        self.news = tuple(news(trial, study.record.objectives[0]) for trial in touched if trial.finished_at is not None)

    def _save(self, *, whole: bool = True) -> None:
        """Store reports, decisions and the new trials that followed from them, all at once.

        Args:
            whole: whether Optuna's tables must be up to date, too.
        """
        study, barrier = self.study, replace(self.decided, asked=tuple(self.asked))
        self.decided, self.asked = Barrier(), []
        if barrier.trials or barrier.asked:
            study.store.record(study.lease, barrier)
        self._clean_up([trial.number for trial in barrier.trials if trial.finished_at is not None])
        study.publisher.publish(now=whole)

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
        trial = replace(trial, state=state, values=values, scores=result.scores, chosen=result.chosen)
        return self._ended(trial)

    def _failed(self, trial: TrialRecord, failure: Failure) -> TrialRecord:
        logger.warning("trial %d failed (%s): %s", trial.number, failure.kind, failure.message)
        return self._ended(replace(trial, state="failed", failure=failure))

    def _ended(self, trial: TrialRecord) -> TrialRecord:
        mirror = self.study.mirror
        infeasible = trial.failure is not None and trial.failure.kind == "out of memory"
        mirror.tell(trial.number, trial.state, trial.values, infeasible=infeasible)
        self.finished_here += 1
        return replace(trial, attrs=mirror.attrs(trial.number), finished_at=datetime.now(UTC))

    def _save_checkpoints(self) -> None:
        """Write every trial's checkpoint, and say when next."""
        began = time.monotonic()
        problems = set(self.pool.save())
        for problem in sorted(problems - self._unsaved):
            logger.warning("no checkpoint was written: %s", problem)
        self._unsaved = problems  # each is told once, until all is well again
        ended = time.monotonic()
        pause = max(self.saved_every_s, (ended - began) / SAVING_SHARE) if self.saved_every_s else 0.0
        self._next_save = ended + pause

    def _clean_up(self, trials: Sequence[int]) -> None:
        """Delete the checkpoints of trials that ended; of a study that has no other, all that is left."""
        study = self.study
        try:
            for number in trials:
                study.artifacts.delete(number)
            if trials and study.trials.finished == len(study.trials):
                study.artifacts.clear()
        except StoreError as error:  # they take up room, no more
            logger.warning("checkpoints were left behind: %s", error)

    def _is_known(self, report: EpochReport) -> bool:
        return report.failure is None and report.epoch <= self.study.trials[report.trial].epochs

    def _compare(self, report: EpochReport) -> None:
        """An epoch trained again must give the stored numbers, bitwise on one kind of machine."""
        if not np.array_equal(self.stored[report.trial].scores[report.epoch - 1], report.scores, equal_nan=True):
            text = "trial %d: epoch %d, trained again, differs from what is stored (another kind of machine?)"
            logger.warning(text, report.trial, report.epoch)
        self._say_why(report)
        if report.epoch == self.study.trials[report.trial].epochs:
            del self.stored[report.trial]

    def _say_why(self, report: EpochReport) -> None:
        """Say once of each reason which engine trains a trial, and aloud if it is not the packed one; and all notes."""
        if report.reason is not None and report.reason not in self.reasons:
            self.reasons.add(report.reason)
            level = logging.DEBUG if report.engine == "packed" else logging.INFO
            logger.log(level, "trial %d trains with the %s engine: %s", report.trial, report.engine, report.reason)
        for note in report.notes:
            logger.warning("trial %d: %s", report.trial, note)

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
        best = study.trials.best
        finished, budget = study.trials.finished, study.search.trials
        spent = time.monotonic() - self.began
        rate = spent / self.finished_here if self.finished_here else None
        return Status(
            study=study.record.name,
            objective=study.record.objectives[0],
            budget=budget,
            counts={state: count for state, count in study.trials.counts.items() if count},
            running=tuple(self._running(study.trials[number]) for number in study.running),
            best=(best.number, best.values[0]) if best and best.values else None,
            seconds=spent,
            remaining_s=None if rate is None else max(0, budget - finished) * rate,
            news=self.news,
        )

    def _running(self, trial: TrialRecord) -> RunningTrial:
        epochs = int(trial.config["training"]["epochs"])
        return RunningTrial(
            trial.number,
            trial.epochs,
            epochs,
            len(self.study.plan.folds),
            self.study.means[trial.number].get(trial.epochs),
        )
