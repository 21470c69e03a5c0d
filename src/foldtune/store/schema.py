"""The tables in a database: created once however many start at once, and of this version or refused."""

import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, nullcontext
from tempfile import TemporaryDirectory

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    column,
    insert,
    inspect,
    select,
    table,
    text,
    update,
)

from foldtune.errors import NoTablesError, StoreError
from foldtune.store import views
from foldtune.store.border import redact, reported
from foldtune.store.engine import BUSY_TIMEOUT_S, MYSQL, WRITING, utf8
from foldtune.store.tables import Base

REVISIONS = ("0001", "0002", "0003")
"""Of our tables, oldest first, as `migrations` makes them from each other; the last is this version's."""

VERSION_TABLE = "foldtune_version"
"""Ours, as alembic keeps it; `alembic_version` is Optuna's."""

_LOCK = 0x666F6C64  # "fold": any number that other programs are unlikely to lock
_VERSION = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32)),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
_BEGUN = "0000"
"""Stands in the version table while tables are created, which MySQL may leave half-done."""


def has_tables(engine: Engine) -> bool:
    """Whether foldtune's tables are there, whole.

    Raises:
        StoreError: another version of foldtune made them.
    """
    with reported(engine.url), engine.connect() as connection:
        found = current(connection)
    if found not in (None, REVISIONS[-1]):
        raise _other_version(engine, found)
    return found is not None


def need_tables(engine: Engine) -> None:
    """Refuse a database without foldtune's tables, or with those of another version.

    Raises:
        StoreError: they are of another version, or (`NoTablesError`) not there.
    """
    if not has_tables(engine):
        hint = "Check `--storage`; `foldtune run` creates a study."
        raise NoTablesError.of((), "the database must hold a study of foldtune's", redact(engine.url), hint)


def create_tables(engine: Engine) -> None:
    """Create foldtune's tables and views unless they are there; processes that start at once wait for the first.

    Raises:
        StoreError: the database cannot be written, or holds tables of another version.
    """
    if has_tables(engine):
        return
    with reported(engine.url), creating(engine) as connection:
        if current(connection) is None:
            _VERSION.create(connection, checkfirst=True)
            if revision(connection, VERSION_TABLE) is None:
                connection.execute(insert(_VERSION), {"version_num": _BEGUN})
            Base.metadata.create_all(connection)
            for index in (index for table in Base.metadata.tables.values() for index in table.indexes):
                index.create(connection, checkfirst=True)  # MySQL may have been killed between a table and its index
            views.create(connection)
            connection.execute(update(_VERSION), {"version_num": REVISIONS[-1]})


def current(connection: Connection) -> str | None:
    """The revision of foldtune's tables in a database; None where there are none, or not all of them yet.

    The first release kept no version.
    """
    begun = _is_there(connection, "foldtune_curves")  # asked first: who creates it notes the version before
    found = revision(connection, VERSION_TABLE)
    if found is None and begun:
        return REVISIONS[0]
    return None if found == _BEGUN else found


def revision(bind: Engine | Connection, version_table: str) -> str | None:
    """What a version table of alembic's says; None before it says anything."""
    if not _is_there(bind, version_table):
        return None
    versions = table(version_table, column("version_num", String()))
    with bind.connect() if isinstance(bind, Engine) else nullcontext(bind) as connection:
        return connection.scalars(select(versions.c.version_num)).first()


def _is_there(bind: Engine | Connection, name: str) -> bool:
    """Whether there is a table of that name.

    SQLAlchemy's `has_table` has MySQL describe it, which fails while another process creates it, and keeps others from
    creating it until the transaction ends.
    """
    return name in inspect(bind).get_table_names()


@contextmanager
def creating(engine: Engine) -> Iterator[Connection]:
    """A transaction that alone in its database creates or changes tables; processes that want the same wait.

    MySQL and MariaDB commit each change of a table by itself: there the steps must bear being done again.
    """
    writer = engine.execution_options(**{WRITING: True})
    with writer.connect() as connection, _mysql_lock(connection), connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield connection


def create_beside(engine: Engine, version_table: str, create: Callable[[str], None]) -> None:
    """Have another library create its tables in our database: once, however many processes want them.

    Args:
        engine: our connections.
        version_table: the library's; a row in it says that all its tables are there.
        create: creates them in the database of a URL, on connections of its own.
    """
    with reported(engine.url):
        if revision(engine, version_table):
            return
        if engine.dialect.name == "sqlite":
            with TemporaryDirectory() as folder:  # SQLite's lock would keep the library out as well
                create(f"sqlite:///{folder}/made.db")
                _copy_made(engine, version_table, f"{folder}/made.db")
            return
        with creating(engine) as connection:
            if not revision(connection, version_table):
                before = inspect(connection).get_table_names()
                create(engine.url.render_as_string(hide_password=False))
                _compare_bytes(connection, before)


def _other_version(engine: Engine, found: str | None) -> StoreError:
    url = redact(engine.url)
    rule = "the database must be of this version of foldtune"
    if found in REVISIONS:
        return StoreError.of(
            (), rule, f"{url} was made by an older foldtune", f"Run `foldtune db upgrade --storage {url}`."
        )
    return StoreError.of((), rule, f"{url} was made by a newer foldtune", "Install that version or a newer one.")


def _copy_made(engine: Engine, version_table: str, file: str) -> None:
    """Create what another SQLite file holds; tables and rows that are there are left alone."""
    with closing(sqlite3.connect(file)) as made, creating(engine) as connection:
        if revision(connection, version_table):
            return
        known = {name for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
        schema = made.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC")
        for kind, name, statement in schema.fetchall():
            if name not in known:
                connection.exec_driver_sql(statement)
            for row in made.execute(f'SELECT * FROM "{name}"') if kind == "table" else ():
                places = ", ".join("?" * len(row))
                connection.exec_driver_sql(f'INSERT OR IGNORE INTO "{name}" VALUES ({places})', row)


def _compare_bytes(connection: Connection, before: Collection[str]) -> None:
    """Have new tables of MySQL's compare texts as ours do: Optuna's studies "Adult" and "adult" are two as well."""
    if connection.dialect.name in MYSQL:
        inspect(connection).clear_cache()
        for name in set(inspect(connection).get_table_names()).difference(before):
            connection.exec_driver_sql(f"ALTER TABLE `{name}` CONVERT TO {utf8(connection.engine)}")


@contextmanager
def _mysql_lock(connection: Connection) -> Iterator[None]:
    """Hold the database's lock, on MySQL and MariaDB; its transaction must be over before others go on.

    The server gives the lock back when the connection ends.
    """
    if connection.dialect.name not in MYSQL:
        yield
        return
    name = "CONCAT('foldtune ', LEFT(SHA2(DATABASE(), 256), 32))"  # of 64 characters at most; MySQL 9.6 has no MD5
    if connection.scalar(text(f"SELECT GET_LOCK({name}, :seconds)"), {"seconds": BUSY_TIMEOUT_S}) != 1:
        rule = f"the database must be free for new tables within {BUSY_TIMEOUT_S} s"
        raise StoreError.of((), rule, redact(connection.engine.url), "Another process changes its tables: wait.")
    connection.rollback()
    try:
        yield
    finally:
        connection.execute(text(f"SELECT RELEASE_LOCK({name})"))
