"""Transactions on one database: whole, patient where they may be, and failing in our own words."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

from foldtune.errors import Problem
from foldtune.store.border import reported
from foldtune.store.engine import WRITING
from foldtune.store.retry import persistently

T = TypeVar("T")

_READING = {"isolation_level": "REPEATABLE READ"}  # all that one transaction reads is of one moment
_WRITING = {"isolation_level": "READ COMMITTED"}  # after a wait for a lock, what was waited for is seen


class Transactions:
    """Runs functions of a connection, each in one transaction; `StoreError` when the database fails.

    Args:
        engine: the database.
    """

    def __init__(self, engine: Engine) -> None:
        levels = engine.dialect.name == "postgresql"  # where they cost nothing; the others' own do the same for us
        self.engine = engine
        self._reader = engine.execution_options(**_READING if levels else {})
        self._writer = engine.execution_options(**{WRITING: True}, **_WRITING if levels else {})

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads, all of one moment; tried again while the database is away."""
        return self._run(self._reader, work)

    def write(self, work: Callable[[Connection], T], taken: Problem | None = None) -> T:
        """Let `work` write, all or nothing; tried again while the database is away.

        Args:
            work: may be called again after it has had its effect.
            taken: the problem when a key that is written is there already.
        """
        return self._run(self._writer, work, taken)

    def write_once(self, work: Callable[[Connection], T], taken: Problem | None = None) -> T:
        """Let `work` write, all or nothing, and fail at once when the database is away."""
        with reported(self.engine.url, taken), self._writer.begin() as connection:
            return work(connection)

    def _run(self, engine: Engine, work: Callable[[Connection], T], taken: Problem | None = None) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        with reported(self.engine.url, taken):
            return persistently(self.engine.url, transaction)
