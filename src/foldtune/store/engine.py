"""Connections: from a URL to an engine whose transactions are all or nothing."""

import logging
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from foldtune.errors import NoTablesError, StoreError, nearest
from foldtune.store.border import redact, reported

BUSY_TIMEOUT_S = 60
"""How long a writer waits for SQLite's one write lock."""

IDLE_S = 90
"""How long a transaction of ours may stand still on a server, as that of a process that is stopped: then it is undone,
and others go on. As long as a search loop keeps its trials unheard of."""

WRITING = "foldtune_writing"
"""Execution option of connections that will write: SQLite's lock is taken first, so that no read grows stale."""

_EXAMPLES = (
    "Write sqlite:///foldtune.db, postgresql+psycopg://user@host/database or mysql+pymysql://user@host/database."
)
_DRIVERS = ("sqlite", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql")
_EXTRAS = {
    "postgresql": ("postgres", "postgresql+psycopg"),
    "mysql": ("mysql", "mysql+pymysql"),
    "mariadb": ("mysql", "mariadb+pymysql"),
}
MYSQL = ("mysql", "mariadb")
"""Names of the dialects of both."""

_MYSQL_SESSION = (
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), "
    f"innodb_lock_wait_timeout = {BUSY_TIMEOUT_S}, default_storage_engine = InnoDB"
)
"""What does not fit is an error, and every table has transactions, whatever the server was set to."""


def configure(engine: Engine, *, wal: bool = True) -> None:
    """Set up every connection of an engine, Optuna's too, for many processes on one database.

    Args:
        engine: connections in its pool are closed, so that all in use from now on are set up.
        wal: turn write-ahead logging on in SQLite; the file remembers it.
    """
    if engine.dialect.name == "sqlite":
        _configure_sqlite(engine, wal)
    if engine.dialect.name in MYSQL:
        _configure_mysql(engine)
    if engine.dialect.name == "postgresql":
        _configure_postgres(engine)
    engine.dispose()


def _configure_sqlite(engine: Engine, wal: bool) -> None:
    """Write-ahead logging, `synchronous=NORMAL`, a wait of 60 s for the write lock, and foreign keys."""

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
        if wal:
            _enter_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")


def connect(url: str, *, create: bool) -> Engine:
    """An engine on a database that answers.

    Args:
        url: an SQLAlchemy URL.
        create: create a SQLite file that is missing.

    Raises:
        StoreError: the URL is wrong, its driver is not installed, or the database does not answer.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed, create)
    with reported(parsed):
        engine = _engine(parsed)
    configure(engine, wal=create)
    if engine.dialect.name == "sqlite":
        _own_transactions(engine)
    with reported(parsed), engine.connect():
        return engine


def _parse(url: str) -> URL:
    rule = "a storage URL must name a database"
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        hint = f"Write sqlite:///{url}." if url and ":" not in url else _EXAMPLES
        raise StoreError.of((), rule, redact(url) or "''", hint) from error


def _engine(url: URL) -> Engine:
    options = {"isolation_level": "REPEATABLE READ"} if url.get_backend_name() in MYSQL else {}
    try:
        return create_engine(url, pool_pre_ping=True, **options)
    except NoSuchModuleError as error:
        hint = nearest(url.drivername, _DRIVERS) or _EXAMPLES
        raise StoreError.of((), "the storage URL's kind of database must be known", url.drivername, hint) from error
    except ImportError as error:
        raise StoreError.of(
            (), "the driver of the database must be installed", f"{error}", _installation(url)
        ) from error
    except ValueError as error:
        raise StoreError.of(
            (), "the options in a storage URL must be the driver's", redact(url), f"{error}."
        ) from error


def _installation(url: URL) -> str:
    if url.get_backend_name() not in _EXTRAS:
        return f"Install the Python package of the driver, or another and name it: {url.get_backend_name()}+driver://"
    extra, driver = _EXTRAS[url.get_backend_name()]
    return f"Run `pip install 'foldtune[{extra}]'` and write {redact(url.set(drivername=driver))}."


def _check_file(url: URL, create: bool) -> None:
    name = (url.database or "").removeprefix("file:")
    if name in ("", ":memory:") or url.query.get("mode") == "memory":
        raise StoreError.of((), "a SQLite database must be a file", redact(url), "Write sqlite:///foldtune.db.")
    file = Path(name.partition("?")[0])
    if not file.parent.is_dir():
        raise StoreError.of(
            (), "the folder of the database must exist", file.parent, f"Create it: mkdir -p {file.parent}"
        )
    if not create and not file.exists():
        hint = "Check `--storage` and the working folder; `foldtune run` creates a database."
        raise NoTablesError.of((), f"there is no database at {file}", hint=hint)


def _own_transactions(engine: Engine) -> None:
    """Begin transactions ourselves: the sqlite3 module begins them late, and not before it reads or creates tables."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get(WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _configure_postgres(engine: Engine) -> None:
    """Have the server undo a transaction whose process stands still, wherever it was stopped.

    The server's limits count while it waits for the beginning of a message, and while nobody takes its answer; but not
    after a message that another one shall follow. So nothing is sent ahead of the answers: psycopg's `executemany`
    would, and a statement that is not prepared travels in two messages.
    """
    logging.getLogger("psycopg").addFilter(_is_news)
    engine.dialect.use_insertmanyvalues_wo_returning = True  # many rows in one statement
    engine.dialect.supports_sane_multi_rowcount = False

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        if engine.dialect.driver == "psycopg":
            connection.prepare_threshold = 0
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {1000 * IDLE_S:.0f}")
            cursor.execute(f"SET tcp_user_timeout = {1000 * IDLE_S:.0f}")
        connection.commit()

    @event.listens_for(engine, "do_executemany")
    def execute_one_by_one(cursor: Any, statement: str, rows: Sequence[Any], _: object) -> bool:
        for row in rows:
            cursor.execute(statement, row)
        return True


def _is_news(record: logging.LogRecord) -> bool:
    """Whether psycopg says more than that it clears up behind an error, which we report."""
    return not record.getMessage().startswith("error ignored")


def _configure_mysql(engine: Engine) -> None:
    """Set up every connection, and have texts in new tables compared as bytes: "Adult" is not "adult"."""

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_MYSQL_SESSION)
            # MySQL knows no limit for transactions alone: it closes idle connections, which the pool makes anew
            limit = "idle_transaction_timeout" if getattr(engine.dialect, "is_mariadb", False) else "wait_timeout"
            cursor.execute(f"SET SESSION {limit} = {IDLE_S}")

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def name_collation(*execution: Any) -> tuple[str, Any]:
        statement, parameters = execution[2:4]
        if statement.lstrip().startswith("CREATE TABLE"):
            statement = f"{statement.rstrip()} DEFAULT {utf8(engine)}"
        return statement, parameters


def utf8(engine: Engine) -> str:
    """All of Unicode, compared byte by byte, trailing blanks too."""
    collation = "utf8mb4_nopad_bin" if getattr(engine.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return f"CHARACTER SET utf8mb4 COLLATE {collation}"


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Turn write-ahead logging on; where several processes do it at once, SQLite does not wait but fails in some."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_READONLY:
                return
            if code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
