"""Patience with a database that is away: servers restart, networks drop, and a search of days should not end of it."""

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from foldtune.store.border import reason

PATIENCE_S = 300.0
"""How long a database may be away."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

logger = logging.getLogger("foldtune")
T = TypeVar("T")

_POSTGRES = frozenset({"25P03", "40001", "40P01", "53300", "57P01", "57P02", "57P03"})
"""Idle for too long, deadlock or conflict, too many connections, shutting down or starting up; class 08 are lost
connections."""

_MYSQL = frozenset({1040, 1053, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2055, 4031})
"""The same of MySQL and MariaDB."""


def persistently(url: URL, transaction: Callable[[], T]) -> T:
    """Run a transaction, and run it again while the database is away, with one line in the log.

    Args:
        url: the database, whose passwords are kept out of the log.
        transaction: may be called after it has had its effect: its commit may have lost its answer alone.

    Raises:
        SQLAlchemyError: it failed for another reason, or the database stayed away.
    """
    deadline, pause_s = None, FIRST_PAUSE_S
    while True:
        try:
            result = transaction()
        except DBAPIError as error:
            if not is_away(error):
                raise
            if deadline is None:
                deadline = time.monotonic() + PATIENCE_S
                logger.warning("the database does not answer (%s); waiting up to %g s", reason(error, url), PATIENCE_S)
            if time.monotonic() + pause_s > deadline:
                raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            if deadline is not None:
                logger.warning("the database answers again")
            return result


def is_away(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a little later; a SQLite file has been waited for already."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return False
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError | InterfaceError) or cause is None:
        return False
    if hasattr(cause, "sqlstate"):  # None: libpq itself has no connection
        return cause.sqlstate is None or cause.sqlstate in _POSTGRES or cause.sqlstate.startswith("08")
    return bool(cause.args) and cause.args[0] in _MYSQL
