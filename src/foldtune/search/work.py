"""`foldtune worker`: one more search loop, on any machine that sees the database and the data."""

import logging
import time
from collections.abc import Collection
from contextlib import closing
from typing import Any

from foldtune.errors import DatabaseAwayError, FoldtuneError, LeaseLostError, StoreError
from foldtune.search.finalists import by_key, missing, wanted
from foldtune.search.interrupts import interruptible, pause
from foldtune.search.place import is_dead
from foldtune.search.run import resume_study
from foldtune.store.records import StudySummary
from foldtune.store.store import Store

logger = logging.getLogger("foldtune")

LOOKED_EVERY_S = 2.0
"""How soon a worker that has nothing to do finds a study."""


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
    why.

    Args:
        storage: SQLAlchemy URL of the database; it need not exist yet.
        study: work on the study of this name alone.
        idle_exit: seconds without anything to do after which it ends; None: never.
        retry_failed: train the failed trials of every study again, once, when it first works on it.
        options: others of `resume_study`.
    """
    done: dict[str, StudySummary] = {}  # studies as this worker left them
    refused: set[str] = set()  # of these, those that it cannot work on
    with interruptible() as interrupted:
        idle_since = time.monotonic()
        while not interrupted():
            found = _next_study(storage, study, done, refused, retry_failed=retry_failed)
            if found is not None:
                logger.info("working on the study %s", found)
                try:
                    again = retry_failed and found not in done
                    result = resume_study(found, storage=storage, retry_failed=again, **options)
                except (LeaseLostError, DatabaseAwayError) as error:
                    logger.warning("%s", error)
                    continue
                except FoldtuneError as error:
                    logger.error("the study %s is left to other workers: %s", found, error)
                    refused.add(found)
                else:
                    refused.discard(found)
                    if result.ending == "interrupted":
                        return
                    logger.info("the study %s has %d of %d trials", found, result.finished, result.budget)
                done |= {summary.name: summary for summary in _studies(storage) if summary.name == found}
                idle_since = time.monotonic()
            elif idle_exit is not None and time.monotonic() - idle_since >= idle_exit:
                return
            else:
                pause(LOOKED_EVERY_S, interrupted)


def _next_study(
    storage: str, name: str | None, done: dict[str, StudySummary], refused: Collection[str], *, retry_failed: bool
) -> str | None:
    """The oldest study with something left to train that is not as this worker left it, or whose search loops died."""
    for summary in _studies(storage):
        if name not in (None, summary.name):
            continue
        changed = done.get(summary.name) != summary
        to_retry = retry_failed and summary.name not in done and summary.trials["failed"] > 0
        if to_retry or _is_open(summary):
            if changed or (summary.name not in refused and _is_abandoned(storage, summary.name)):
                return summary.name
        elif changed and _is_unconfirmed(storage, summary.name):
            return summary.name
        else:
            done[summary.name] = summary  # not to be read again
    return None


def _is_abandoned(storage: str, name: str) -> bool:
    with closing(Store(storage, create=False)) as store:
        return store.is_abandoned(store.study(name).uuid, is_dead)


def _is_unconfirmed(storage: str, name: str) -> bool:
    """Whether the best trials of a study that has ended are yet to be trained again."""
    with closing(Store(storage, create=False)) as store:
        record = store.study(name)
        trials, repeats = store.trials(record.uuid), store.repeats(record.uuid)
        try:
            return bool(missing(wanted(record, trials), by_key(repeats)))
        except StoreError:  # whoever works on it is told why
            return True


def _studies(storage: str) -> list[StudySummary]:
    try:
        with closing(Store(storage, create=False)) as store:
            return store.studies()
    except StoreError as error:
        logger.debug("no studies yet: %s", error)
        return []


def _is_open(summary: StudySummary) -> bool:
    ended = sum(summary.trials[state] for state in ("complete", "pruned", "failed"))
    return summary.budget is None or ended < summary.budget
