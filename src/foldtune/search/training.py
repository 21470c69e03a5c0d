"""Jobs in a pool: joined where their checkpoints left them, saved now and then, compared with what is stored."""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from foldtune.errors import StoreError
from foldtune.search.pool import Pool, Saved, since
from foldtune.search.study import OpenStudy
from foldtune.store.records import Curves
from foldtune.values import EpochReport, Job

logger = logging.getLogger("foldtune")

SAVING_SHARE = 0.05
"""Of the time that writing checkpoints may take; where it takes longer, they become rarer."""


@dataclass(eq=False)
class Training:
    """What a search and its confirmation do alike with a pool.

    Args:
        study: whose jobs train.
        pool: where.
        saved_every_s: seconds between checkpoints, which bound what a crash costs; 0: one after every epoch.
    """

    study: OpenStudy
    pool: Pool
    saved_every_s: float
    stored: dict[tuple[int, int], Curves] = field(default_factory=dict, init=False)  # of jobs that are trained again
    reasons: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._next_save = time.monotonic() + self.saved_every_s
        self._unsaved: set[str] = set()
        self._lapped = time.monotonic()

    def saved(self, job: Job, epochs: int) -> Saved | None:
        """A job's newest checkpoint that it can go on from.

        Args:
            job: the job.
            epochs: those that are stored; a later checkpoint is of no use.
        """
        found = self.study.artifacts.load(job.trial, epochs, job.repeat)
        if found and (reason := self.pool.unusable(job, found[1])):
            logger.warning("%s is trained again from its start: %s", name(job), reason)
            return None
        return found

    def join(self, job: Job, epochs: int, saved: Saved | None = None) -> None:
        """Give a job to the pool; what it reports of epochs that are stored already will be compared with them."""
        if epochs > since(saved):
            curves = self.study.store.curves(self.study.record.uuid, job.trial, job.repeat)
            self.stored[job.trial, job.repeat] = curves
        self.pool.add(job, saved)

    def fresh(self, reports: list[EpochReport]) -> list[EpochReport]:
        """Those of epochs that are not stored yet, and failures; notes of all of them are passed on to the user."""
        for report in reports:
            self._say_why(report)
        return [report for report in reports if report.failure is not None or not self._is_known(report)]

    def save_if_due(self) -> None:
        """Write every job's checkpoint, if it is time."""
        if time.monotonic() >= self._next_save:
            self.save()

    def save(self) -> None:
        """Write every job's checkpoint, and say when next."""
        began = time.monotonic()
        problems = set(self.pool.save())
        for problem in sorted(problems - self._unsaved):
            logger.warning("no checkpoint was written: %s", problem)
        self._unsaved = problems  # each is told once, until all is well again
        ended = time.monotonic()
        rest = max(self.saved_every_s, (ended - began) / SAVING_SHARE) if self.saved_every_s else 0.0
        self._next_save = ended + rest

    def lap(self) -> float:
        """Seconds since the last call, or since this was made."""
        now = time.monotonic()
        lap, self._lapped = now - self._lapped, now
        return lap

    def clean_up(self, ended: Collection[int], *, whole: bool) -> None:
        """Delete checkpoints that are of no use any more.

        Args:
            ended: trials whose jobs have.
            whole: nothing else of the study is in training: delete all that is left.
        """
        try:
            for number in ended:
                self.study.artifacts.delete(number)
            if whole:
                self.study.artifacts.clear()
        except StoreError as error:  # they take up room, no more
            logger.warning("checkpoints were left behind: %s", error)

    def _is_known(self, report: EpochReport) -> bool:
        """Whether an epoch is stored; trained again it must give the same numbers, bitwise on one kind of machine."""
        key = report.trial, report.repeat
        if (curves := self.stored.get(key)) is None:
            return False
        if not np.array_equal(curves.scores[report.epoch - 1], report.scores, equal_nan=True):
            text = "%s: epoch %d, trained again, differs from what is stored (another kind of machine?)"
            logger.warning(text, name(report), report.epoch)
        if report.epoch == len(curves.epochs):
            del self.stored[key]
        return True

    def _say_why(self, report: EpochReport) -> None:
        """Say once of each reason which engine trains a job, and aloud if it is not the packed one; and all notes."""
        if report.reason is not None and report.reason not in self.reasons:
            self.reasons.add(report.reason)
            level = logging.DEBUG if report.engine == "packed" else logging.INFO
            logger.log(level, "%s trains with the %s engine: %s", name(report), report.engine, report.reason)
        for note in report.notes:
            logger.warning("%s: %s", name(report), note)


def name(of: Job | EpochReport) -> str:
    """A job as messages call it."""
    return f"trial {of.trial}, repeat {of.repeat}" if of.repeat else f"trial {of.trial}"


def engine_of(report: EpochReport, before: str) -> str:
    """The engine that trains a job; a job that is lost is not reported by any."""
    lost = report.failure is not None and report.failure.kind == "lost worker"
    return before if lost else report.engine
