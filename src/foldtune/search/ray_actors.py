"""Search loops as Ray's actors, and the driver that starts them, looks after them and ends them."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any

from foldtune.errors import FoldtuneError
from foldtune.search.interrupts import interrupted_by, interruptible
from foldtune.search.ray_cluster import Cluster

logger = logging.getLogger("foldtune")

LOOKED_EVERY_S = 0.5
"""How often the database is read for progress."""

ANSWER_S = 10.0
"""How soon an actor answers that was asked to end, unless it waits for a place to run."""

Task = Callable[[], str | None]
"""What an actor does: search until there is nothing left to do, and say why there is not."""


class SearchLoop:
    """A Ray actor with one search loop. Signals do not reach actors: it is asked to end in another thread.

    Args:
        folder: the driver's working folder, to which paths are relative, where this machine has it.
    """

    def __init__(self, folder: str) -> None:
        self._asked_to_end = Event()
        if os.path.isdir(folder):
            os.chdir(folder)

    def run(self, task: Task) -> str | None:
        """Carry a task out."""
        with interrupted_by(self._asked_to_end.is_set):
            return task()

    def end(self) -> None:
        """End the task after the epoch in training."""
        self._asked_to_end.set()


@dataclass(eq=False)
class _Handle:
    """An actor as the driver knows it.

    Args:
        actor: Ray's handle.
        ending: Ray's reference to its task's end.
        answer: the same, to its answer to the last call that asks it to end.
        asked_at: when that call was made.
    """

    actor: Any
    ending: Any
    answer: Any = None
    asked_at: float = 0.0

    def ask_to_end(self, ray: Any) -> bool:
        """Ask it to end, again and again, as an actor that was started anew knows nothing of it.

        Returns:
            Whether it answers; one that waits for a place to run does not.
        """
        now = time.monotonic()
        if self.answer is None or ray.wait([self.answer], timeout=0)[0]:
            self.answer, self.asked_at = self.actor.end.remote(), now
        return now - self.asked_at < ANSWER_S


def drive(ray: Any, cluster: Cluster, task: Task, look: Callable[[], None]) -> str | None:
    """Have actors carry a task out until one has come to its end, or all have failed.

    Returns:
        Why the search ended.

    Raises:
        FoldtuneError: all failed; the last one's error.
    """
    options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(SearchLoop).options(max_concurrency=2, scheduling_strategy="SPREAD", **options)
    working = [_start(actor.remote(os.getcwd()), task) for _ in range(cluster.replicas)]
    endings, errors = list[str | None](), list[FoldtuneError]()
    with interruptible() as interrupted:
        while working:
            ended, _ = ray.wait([handle.ending for handle in working], timeout=LOOKED_EVERY_S)
            for handle in [handle for handle in working if handle.ending in ended]:
                working.remove(handle)
                try:
                    endings.append(_outcome(ray, handle))
                except FoldtuneError as error:
                    logger.warning("a search loop on the cluster ended: %s", error)
                    errors.append(error)
                ray.kill(handle.actor)
            look()
            if interrupted() or any(endings):
                working = [handle for handle in working if handle.ask_to_end(ray)]
    if errors and not endings:
        raise errors[-1]
    return next((ending for ending in endings if ending != "interrupted"), "interrupted")


def _start(actor: Any, task: Task) -> _Handle:
    return _Handle(actor, actor.run.remote(task))


def _outcome(ray: Any, handle: _Handle) -> str | None:
    """Why an actor's search ended.

    Raises:
        FoldtuneError: it failed, as foldtune or Ray says.
    """
    try:
        ending: str | None = ray.get(handle.ending)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FoldtuneError):
            raise error.cause from None
        raise FoldtuneError(f"an actor failed:\n{error}") from error
    except ray.exceptions.RayError as error:
        raise FoldtuneError(f"an actor could not run:\n{error}") from error
    return ending
