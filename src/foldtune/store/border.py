"""The border to SQLAlchemy and the drivers: their errors become `StoreError`, here and only here."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError

from foldtune.errors import DatabaseAwayError, Problem, StoreError

_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)
_WRITABLE = (
    "the database must be writable",
    "Check the rights on it (for a file, on its folder too), or name another with `--storage`.",
)
_BUSY = ("the database must be free to write within 60 s", "Another process holds it: end that process, or wait.")
_WHOLE = ("the file must be a whole SQLite database", "Name another file with `--storage`, or restore a copy.")
_TABLES = (
    "foldtune's tables must be those of this version",
    "Use the version of foldtune that made them, or another database.",
)
_FULL = ("the disk must have room for the database", "Free some space; nothing of this step is stored.")
_ACCEPT = ("the database must accept what foldtune stores", "Check its encoding (UTF-8) and its limits.")
_SQLITE = {
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_NOTADB: _WHOLE,
    sqlite3.SQLITE_CORRUPT: _WHOLE,
    sqlite3.SQLITE_CANTOPEN: ("the database file must open", "Check that the path is a file and may be written."),
    sqlite3.SQLITE_FULL: _FULL,
}
_POSTGRES = {
    "25006": _WRITABLE,
    "42501": _WRITABLE,
}
_MYSQL = {
    1021: _FULL,
    1054: _TABLES,
    1114: _FULL,
    1142: _WRITABLE,
    1153: ("what is stored must fit the server's `max_allowed_packet`", "Raise it on the server: 64M is plenty."),
    1205: _BUSY,
    1290: _WRITABLE,
    1792: _WRITABLE,
}
_UNREACHABLE = (
    "the database must answer",
    "Check that its server runs, and the user, host, port and database in the URL.",
)


def redact(url: str | URL) -> str:
    """A database's URL as it may be printed: without passwords.

    Example:
        >>> redact("postgresql+psycopg://ann:secret@db/studies?sslpassword=x")
        'postgresql+psycopg://ann:***@db/studies?sslpassword=***'
    """
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return re.sub(r":.*@", ":***@", str(url).partition("?")[0])
    query = {key: "***" if _SECRET.search(key) else value for key, value in parsed.query.items()}
    return parsed.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


@contextmanager
def reported(url: URL, taken: Problem | None = None) -> Iterator[None]:
    """Raise SQLAlchemy's and the driver's errors as `StoreError`.

    Args:
        url: the database; its passwords appear in no message.
        taken: the problem when a key that is written is there already.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if isinstance(error, StatementError) and isinstance(error.orig, StoreError):
            raise error.orig from None
        if isinstance(error, IntegrityError) and taken:
            raise StoreError([taken]) from error
        rule, hint = _explanation(error)
        kind = DatabaseAwayError if (rule, hint) == _UNREACHABLE else StoreError
        raise kind.of((), rule, f"{redact(url)} ({reason(error, url)})", hint) from error


def _explanation(error: SQLAlchemyError) -> tuple[str, str]:
    """The rule that was broken, and what to do."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the low byte is the primary code
        return _SQLITE.get(code, _TABLES)
    if (code := getattr(cause, "sqlstate", None)) in _POSTGRES:
        return _POSTGRES[code]
    if isinstance(cause, Exception) and (number := next(iter(cause.args), None)) in _MYSQL:
        return _MYSQL[number]
    return _TABLES if isinstance(error, ProgrammingError) else _ACCEPT if isinstance(error, DataError) else _UNREACHABLE


def reason(error: SQLAlchemyError, url: URL) -> str:
    """The driver's own words, on one line, without the password."""
    words = " ".join(str(error.orig if isinstance(error, StatementError) else error).split())
    secrets = [url.password or "", *(value for key, value in url.query.items() if _SECRET.search(key))]
    for secret in filter(None, secrets):
        words = words.replace(str(secret), "***")
    return words
