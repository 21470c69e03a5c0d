"""Confirmation: when a search has ended, its best trials are trained again, on fresh partitions and with fresh seeds.

A trial may be best by luck with its rows and seeds; the mean over several partitions has less of it. These are no
trials of the search: they have no numbers, nothing prunes them, and sampler and budget do not see them.

The search loop with the oldest lease confirms, in jobs of its cohort's number. The others wait, for it may die. What it
had done is stored, epoch by epoch, and what it was doing goes on from checkpoints, as trials do.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from foldtune.errors import DataError
from foldtune.search.finalists import Again, by_key, missing, wanted
from foldtune.search.interrupts import pause
from foldtune.search.loop import TAKEN_OVER_EVERY_S
from foldtune.search.pool import Pool
from foldtune.search.process import LostWorkerError
from foldtune.search.run import CHECKPOINT_EVERY_S
from foldtune.search.status import RunningTrial, Status, news_again, planned, status_of
from foldtune.search.study import OpenStudy
from foldtune.search.training import Training, engine_of
from foldtune.store.records import Barrier, Kept, RepeatRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import EpochReport, Failure, Fold, Job

logger = logging.getLogger("foldtune")


@dataclass(eq=False)
class Confirmation:
    """What `search.confirm` asks for, once a search has ended.

    Args:
        study: whose best trials are confirmed.
        pool: where jobs train.
        interrupted: asked at every barrier; True ends it with everything saved.
        watch: told the status after every barrier.
        saved_every_s: seconds between checkpoints, which bound what a crash costs; 0: one after every epoch.
    """

    study: OpenStudy
    pool: Pool
    interrupted: Callable[[], bool] = lambda: False
    watch: Callable[[Status], None] = lambda status: None
    saved_every_s: float = CHECKPOINT_EVERY_S
    repeats: dict[Again, RepeatRecord] = field(default_factory=dict, init=False)
    jobs: dict[int, Job] = field(default_factory=dict, init=False)  # in training, by trial
    partitions: dict[int, tuple[Fold, ...]] = field(default_factory=dict, init=False)  # by repeat
    means: dict[int, float] = field(default_factory=dict, init=False)  # the last ones, by trial
    touched: dict[Again, EpochReport] = field(default_factory=dict, init=False)  # since the last write
    kept: list[Kept] = field(default_factory=list, init=False)
    news: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.training = Training(self.study, self.pool, self.saved_every_s)
        self.asked = wanted(self.study.record, self.study.trials.values())
        self.began = time.monotonic()
        self.done_before = 0

    def run(self) -> bool:
        """Confirm what is yet to be confirmed, or wait until another search loop has.

        Returns:
            Whether all is done; False when it was interrupted.
        """
        while self._look() and not self._leads():
            if self.interrupted():
                return False
            self._tell()
            pause(TAKEN_OVER_EVERY_S, self.interrupted)
        if not self._missing():
            return True
        self._begin()
        while not self.interrupted() and self._refill():
            self._train()
        self.training.save()
        self._save()
        self._tell()
        done = not self._missing()
        if done:
            self.training.clean_up((), whole=True)
        return done

    def _look(self) -> list[Again]:
        """See how far confirmation has come, whoever does it; what is missing."""
        self.repeats = by_key(self.study.store.repeats(self.study.record.uuid))
        return self._missing()

    def _missing(self) -> list[Again]:
        return missing(self.asked, self.repeats)

    def _leads(self) -> bool:
        """Whether this search loop has the oldest lease, those of the dead being gone."""
        self.study.take_over()
        return self.study.store.leads(self.study.lease)

    def _begin(self) -> None:
        """Make the fresh partitions; one that does not suit the data is done without, now and later."""
        left, without = self._missing(), list[RepeatRecord]()
        self.began = time.monotonic()
        self.training.lap()  # nobody trained while this one waited
        self.done_before = len(self.asked) - len(left)
        for repeat in sorted({repeat for _, repeat in left}):
            try:
                self.partitions[repeat] = self.study.plan.partition(repeat)
            except DataError as error:
                logger.warning("nothing is confirmed on partition %d, which does not suit the data: %s", repeat, error)
                self.asked = [again for again in self.asked if again[1] != repeat]
                without += [_done_without(again, error) for again in left if again[1] == repeat]
            else:
                self.study.store.add_partition(self.study.lease, repeat, self.partitions[repeat])
        if without:
            self.study.store.record(self.study.lease, Barrier(repeats=tuple(without)))
        trials = ", ".join(f"trial {trial}" for trial in dict.fromkeys(trial for trial, _ in left))
        text = "confirming %s on fresh partitions: %d of %d cross-validations are left"
        logger.info(text, trials, len(self._missing()), len(self.asked))

    def _refill(self) -> bool:
        """Fill free slots in order; whether anything is in training. A trial trains on one partition at a time."""
        for trial, repeat in self._missing():
            if trial in self.jobs or len(self.jobs) >= self.study.cohort:
                continue
            record = self.repeats.setdefault((trial, repeat), RepeatRecord(trial, repeat))
            job = Job(trial, self.study.trials[trial].config, self.partitions[repeat], repeat)
            self.jobs[trial] = job
            self.training.join(job, record.epochs, self.training.saved(job, record.epochs))
        return bool(self.jobs)

    def _train(self) -> None:
        """One epoch of every job; what the one before it gave is stored meanwhile."""
        self.training.save_if_due()
        if not self.saved_every_s:  # as in a search
            self._save()
        self.pool.start()
        self._save()
        self._tell()
        for report in self.training.fresh(self.pool.step()):
            self._take(report)

    def _take(self, report: EpochReport) -> None:
        """Note an epoch."""
        again = report.trial, report.repeat
        before = self.repeats[again]
        seconds, engine = before.seconds + report.seconds, engine_of(report, before.engine)
        record = replace(before, seconds=seconds, engine=engine)
        if report.failure is not None:
            record = self._failed(record, report.failure)
        else:
            self.means[report.trial] = fold_mean(report.scores[:, 0])
            record = replace(record, epochs=report.epoch)
            record = self._complete(record) if report.done else record
        self.repeats[again], self.touched[again] = record, report
        if record.finished_at is not None:
            self.news += (news_again(record, self.study.record.objectives[0]),)
            del self.jobs[report.trial]
            self.means.pop(report.trial, None)

    def _complete(self, record: RepeatRecord) -> RepeatRecord:
        try:
            result = self.pool.finish(record.trial)
        except LostWorkerError as error:
            return self._failed(record, error.failure)
        self.kept += self.study.kept(self.jobs[record.trial], result)
        ended = replace(record, state="complete", scores=result.scores, chosen=result.chosen)
        return replace(ended, finished_at=datetime.now(UTC))

    def _failed(self, record: RepeatRecord, failure: Failure) -> RepeatRecord:
        text = "trial %d cannot be confirmed and is left out of the ranking: on partition %d it failed (%s): %s"
        logger.warning(text, record.trial, record.repeat, failure.kind, failure.message)
        return replace(record, state="failed", failure=failure, finished_at=datetime.now(UTC))

    def _save(self) -> None:
        """Store what is new, all at once, and delete checkpoints that are of no use any more."""
        if not self.touched:
            return
        repeats = tuple(self.repeats[again] for again in self.touched)
        reports = tuple(report for report in self.touched.values() if report.failure is None)
        barrier = Barrier(reports, seconds=self.training.lap(), repeats=repeats, kept=tuple(self.kept))
        self.touched, self.kept = {}, []
        self.study.store.record(self.study.lease, barrier)
        self.training.clean_up([repeat.trial for repeat in repeats if repeat.finished_at is not None], whole=False)

    def _tell(self) -> None:
        self.watch(self.status())
        self.news = ()

    def status(self) -> Status:
        """Confirmation as it stands."""
        left, spent = len(self._missing()), time.monotonic() - self.began
        done = len(self.asked) - left
        return status_of(
            self.study,
            running=tuple(self._running(job) for _, job in sorted(self.jobs.items())),
            seconds=spent,
            remaining_s=spent * left / (done - self.done_before) if done > self.done_before else None,
            news=self.news,
            confirming=(done, len(self.asked)),
        )

    def _running(self, job: Job) -> RunningTrial:
        epoch, epochs = self.repeats[job.trial, job.repeat].epochs, planned(self.study.trials[job.trial])
        return RunningTrial(job.trial, epoch, epochs, len(job.folds), self.means.get(job.trial), job.repeat)


def _done_without(again: Again, error: DataError) -> RepeatRecord:
    """What is stored of a trial on a partition that does not suit the data, so that nobody tries that one again."""
    trial, repeat = again
    return RepeatRecord(trial, repeat, "pruned", failure=Failure("data", str(error), ""), finished_at=datetime.now(UTC))
