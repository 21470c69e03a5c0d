"""Search processes that die at any call, without a process of their own."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any
from unittest.mock import patch

from foldtune.search import study as opening
from foldtune.search.plan import Plan
from foldtune.search.study import OpenStudy, open_study
from foldtune.store.store import Store


class Died(BaseException):
    """The search process dies here."""


class Mortal:
    """Counts the calls of everything that it wraps, and dies at one of them.

    Args:
        calls: how many are carried out.
    """

    def __init__(self, calls: int) -> None:
        self.left = calls

    def wrap(self, target: Any) -> Any:
        return _Wrapped(target, self)


class _Wrapped:
    def __init__(self, target: Any, mortal: Mortal) -> None:
        self._target, self._mortal = target, mortal

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found) or name in ("close", "remove_session"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._mortal.left <= 0:
                raise Died
            self._mortal.left -= 1
            return found(*args, **kwargs)

        return call


def live(
    url: str,
    plan: Plan,
    pool: Any,
    artifacts: str,
    mortal: "Mortal",
    work: Callable[[OpenStudy, Any], None],
) -> None:
    """One life of a search process: it releases nothing when it dies.

    Args:
        url: a database.
        plan: the study.
        pool: what it reads.
        artifacts: where its checkpoints go.
        mortal: when it dies.
        work: what it does.
    """
    try:
        with closing(Store(url)) as store, closing(open_study(plan, store, workers=1, artifacts=artifacts)) as study:
            pool.artifacts = study.artifacts
            study.store = study.publisher.store = mortal.wrap(study.store)
            study.artifacts, pool.artifacts = mortal.wrap(study.artifacts), mortal.wrap(study.artifacts)
            work(study, mortal.wrap(pool))
    except Died:
        return


def nobody_lives() -> AbstractContextManager[object]:
    """A search process that died here lives on: it is the test's."""
    return patch.object(opening, "is_dead", return_value=True)
