"""`foldtune worker`: one more search loop, on any machine that sees the database and the data."""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from foldtune.errors import DatabaseAwayError, FoldtuneError, LeaseLostError, NoTablesError, StoreError
from foldtune.search.finalists import by_key, missing, wanted
from foldtune.search.interrupts import interruptible, pause
from foldtune.search.place import is_dead
from foldtune.search.run import resume_study
from foldtune.store.records import StudySummary
from foldtune.store.store import Store

logger = logging.getLogger("foldtune")

LOOKED_EVERY_S = 2.0
"""How soon a worker that has nothing to do finds a study."""

T = TypeVar("T")


def work(
    storage: str,
    *,
    study: str | None = None,
    idle_exit: float | None = None,
    retry_failed: bool = False,
    **options: Any,
) -> None:
    """Work on the open studies of a database, the oldest first, until it is interrupted.

    A study that this machine cannot work on, for its data are not here, say, is left to others, with a line that says
    why. So is a database waited for that does not answer, or is empty.

    Args:
        storage: SQLAlchemy URL of the database; it need not exist yet.
        study: work on the study of this name alone.
        idle_exit: seconds without anything to do after which it ends; None: never.
        retry_failed: train the failed trials of every study again, once, when it first works on it.
        options: others of `resume_study`.

    Raises:
        StoreError: the database cannot be used, and waiting will not change it: its URL is wrong, or its version.
    """
    agenda = _Agenda(storage, study, retry_failed)
    with interruptible() as interrupted:
        idle_since = time.monotonic()
        while not interrupted():
            found = agenda.next()
            if found is not None:
                logger.info("working on the study %s", found)
                try:
                    again = retry_failed and found not in agenda.done
                    result = resume_study(found, storage=storage, retry_failed=again, **options)
                except (LeaseLostError, DatabaseAwayError) as error:
                    logger.warning("%s", error)
                    continue
                except FoldtuneError as error:
                    logger.error("the study %s is left to other workers: %s", found, error)
                    agenda.refused.add(found)
                else:
                    agenda.refused.discard(found)
                    if result.ending == "interrupted":
                        return
                    logger.info("the study %s has %d of %d trials", found, result.finished, result.budget)
                agenda.leave(found)
                idle_since = time.monotonic()
            elif idle_exit is not None and time.monotonic() - idle_since >= idle_exit:
                return
            else:
                pause(LOOKED_EVERY_S, interrupted)


@dataclass(eq=False)
class _Agenda:
    """What a database has left for one worker.

    Args:
        storage: SQLAlchemy URL of the database.
        name: of the study that it works on; None: of all.
        retry_failed: whether failed trials are left, too, once.
    """

    storage: str = field(repr=False)  # it may hold a password
    name: str | None
    retry_failed: bool
    done: dict[str, StudySummary] = field(default_factory=dict, init=False)  # studies as this worker left them
    refused: set[str] = field(default_factory=set, init=False)  # of these, those that it cannot work on
    opened: bool = field(default=False, init=False)  # whether the database ever could be
    trouble: str = field(default="", init=False)  # of the last look

    def next(self) -> str | None:
        """The oldest study with something left to train that is not as this worker left it, or whose loops died.

        Raises:
            StoreError: the database was never any good, and waiting will not change it.
        """
        return self._look(self._next)

    def leave(self, name: str) -> None:
        """Remember a study as it is now."""
        self._look(lambda store: self.done.update({each.name: each for each in store.studies() if each.name == name}))

    def _look(self, look: Callable[[Store], T]) -> T | None:
        """What a look at the database gives; None, with a line that says why, while there is nothing to see."""
        try:
            with closing(Store(self.storage, create=False)) as store:
                self.opened = True
                found = look(store)
        except StoreError as error:
            if not (self.opened or isinstance(error, DatabaseAwayError | NoTablesError)):
                raise
            if str(error) != self.trouble:
                logger.warning("waiting for studies: %s", error)
            self.trouble = str(error)
            return None
        self.trouble = ""
        return found

    def _studies(self, store: Store) -> list[StudySummary]:
        """Those that it may work on, the oldest first."""
        found = [summary for summary in store.studies() if self.name in (None, summary.name)]
        if self.name is not None and not found:
            store.study(self.name)  # which says that there is none, and which there are
        return found

    def _next(self, store: Store) -> str | None:
        for summary in self._studies(store):
            changed = self.done.get(summary.name) != summary
            to_retry = self.retry_failed and summary.name not in self.done and summary.trials["failed"] > 0
            if to_retry or _is_open(summary):
                if changed or (summary.name not in self.refused and _is_abandoned(store, summary.name)):
                    return summary.name
            elif changed and _is_unconfirmed(store, summary.name):
                return summary.name
            else:
                self.done[summary.name] = summary  # not to be read again
        return None


def _is_abandoned(store: Store, name: str) -> bool:
    return store.is_abandoned(store.study(name).uuid, is_dead)


def _is_unconfirmed(store: Store, name: str) -> bool:
    """Whether the best trials of a study that has ended are yet to be trained again."""
    record = store.study(name)
    trials, repeats = store.trials(record.uuid), store.repeats(record.uuid)
    try:
        return bool(missing(wanted(record, trials), by_key(repeats)))
    except StoreError:  # whoever works on it is told why
        return True


def _is_open(summary: StudySummary) -> bool:
    ended = sum(summary.trials[state] for state in ("complete", "pruned", "failed"))
    return summary.budget is None or ended < summary.budget
