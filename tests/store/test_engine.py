"""A URL leads to a database that answers, or to a message that says what to do."""

import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier as StartingLine

import optuna
import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateTable

from foldtune.errors import StoreError
from foldtune.search.optuna_copy import optuna_storage
from foldtune.store import engine as engine_module
from foldtune.store.border import redact, reported
from foldtune.store.engine import configure
from foldtune.store.schema import create_beside, revision
from foldtune.store.store import Store
from foldtune.store.tables import Base
from foldtune.testing.store_laws import create, make_study, make_trial, opened

PRAGMAS = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 60_000, "foreign_keys": 1}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foldtune.db", r"must name a database, however: foldtune.db. Write sqlite:///foldtune.db."),
        ("", r"must name a database, however: ''. Write sqlite:///foldtune.db, "),
        ("postgresql://u:secret@h:port/d?password=hidden", r"however: postgresql:\*\*\*@h:port/d. Write"),
        ("postgres://u:secret@h/d", r"kind of database must be known, however: postgres. Did you mean postgresql"),
        ("oracel://h/d", r"kind of database must be known, however: oracel. Write sqlite"),
        ("sqlite://", r"a SQLite database must be a file, however: sqlite://. Write"),
        ("sqlite:///:memory:", r"a SQLite database must be a file"),
        ("sqlite:///file:x?mode=memory&uri=true", r"a SQLite database must be a file"),
        ("sqlite:////no/such/folder/x.db", r"the folder .* must exist, however: /no/such/folder. Create it: mkdir -p"),
        ("mysql://u:secret@h/d", r"must be installed, .*MySQLdb.*foldtune\[mysql\]'` and write mysql\+pymysql://u:\*"),
        (
            "mariadb://u:secret@h/d",
            r"must be installed, .*foldtune\[mysql\]'` and write mariadb\+pymysql://u:\*\*\*@h/d",
        ),
        ("mysql+pymysql://h/d?connect_timeout=x", r"the options in a storage URL must be the driver's, .*: 'x'\."),
        ("oracle://u:secret@h/d", r"must be installed, .*another and name it: oracle\+driver://"),
    ],
)
def test_wrong_urls_are_explained(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store(url)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_missing_postgres_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    message = r"driver .*psycopg.*pip install 'foldtune\[postgres\]'` and write postgresql\+psycopg://u:\*\*\*@h/d\."
    with pytest.raises(StoreError, match=message):
        Store("postgresql+psycopg://u:secret@h/d")


def test_a_server_that_does_not_answer() -> None:
    message = r"the database must answer, however: postgresql\+psycopg://u:\*\*\*@127.0.0.1:1/d \(.*port 1 .*\)\. Check"
    with pytest.raises(StoreError, match=message):
        Store("postgresql+psycopg://u:secret@127.0.0.1:1/d")


def test_a_database_that_does_not_exist(postgres_url: str) -> None:
    with pytest.raises(StoreError, match=r'the database must answer, .*"nowhere" does not exist'):
        Store(postgres_url.replace("/test", "/nowhere"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be taken for one " * 99)
    with pytest.raises(
        StoreError, match=r"must be a whole SQLite database, however: .*notes.txt \(file is not a database"
    ):
        Store(f"sqlite:///{tmp_path / 'notes.txt'}")
    with pytest.raises(StoreError, match="the database file must open"):
        Store(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?user=u&password=p&x=y", "postgresql://h/d?password=***&user=u&x=y"),
        ("nonsense:p@ss@h", "nonsense:***@h"),
    ],
)
def test_urls_are_printed_without_passwords(url: str, printed: str) -> None:
    assert redact(url) == printed


def test_the_drivers_words_are_printed_without_passwords() -> None:
    url = make_url("postgresql+psycopg://u:secret@h/d?sslpassword=hidden")
    message = r"must answer, however: .* \(no entry for u with \*\*\* and \*\*\*\)"
    with pytest.raises(StoreError, match=message), reported(url):
        raise OperationalError("SELECT 1", {}, Exception("no entry for u\nwith secret and hidden"))


def pragmas(connection: sqlite3.Connection) -> dict[str, object]:
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS}


def test_every_connection_is_configured(sqlite_url: str) -> None:
    with opened(sqlite_url) as store, store.engine.connect() as first, store.engine.connect() as second:
        for connection in (first, second):
            assert pragmas(connection.connection.dbapi_connection) == PRAGMAS  # type: ignore[arg-type]


def test_optuna_works_beside_us_on_configured_connections(sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        uuid = create(store, make_trial(0)).study
        storage = optuna.storages.RDBStorage(sqlite_url)
        configure(storage.engine)
        with storage.engine.connect() as connection:
            assert pragmas(connection.connection.dbapi_connection) == PRAGMAS  # type: ignore[arg-type]
        study = optuna.create_study(storage=storage, study_name="adult")
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
        optuna.delete_study(study_name="adult", storage=storage)
        assert optuna.get_all_study_names(storage) == []
        assert len(store.trials(uuid)) == 1
        storage.engine.dispose()


def test_optunas_transactions_on_a_server_do_not_stand_still_for_ever_either(postgres_url: str) -> None:
    with opened(postgres_url) as store:
        storage = optuna_storage(store)
        with storage.engine.connect() as connection:
            for limit in ("idle_in_transaction_session_timeout", "tcp_user_timeout"):
                shown = connection.execute(text(f"SHOW {limit}")).scalar_one()
                assert shown in ("90s", "90000"), (limit, shown)  # servers write the second without its unit
        storage.remove_session()
        storage.engine.dispose()


def test_a_held_database_is_reported(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_S", 0.05)
    with opened(sqlite_url) as store, closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreError, match=r"must be free to write within .* \(database is locked\)\. Another process"
        ):
            store.create_study(make_study())
        other.rollback()
        store.create_study(make_study())


def test_a_reader_does_not_wait_for_a_writer(sqlite_url: str, tmp_path: Path) -> None:
    with opened(sqlite_url) as store, closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.studies() == []


def test_wal_is_waited_for_where_sqlite_does_not(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    with closing(sqlite3.connect(file, check_same_thread=False)) as other, closing(sqlite3.connect(file)) as ours:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("BEGIN EXCLUSIVE")
        ours.execute("PRAGMA busy_timeout = 0")
        timer = threading.Timer(0.1, other.rollback)
        timer.start()
        engine_module._enter_wal(ours)
        timer.join()
        assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def start(url: str, line: StartingLine) -> None:
    """As a search loop starts."""
    line.wait(60)
    with opened(url) as store:
        create_beside(store.engine, "alembic_version", create_optuna_tables)


def create_optuna_tables(url: str) -> None:
    close(optuna.storages.RDBStorage(url))


def close(storage: optuna.storages.RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()


def test_sixteen_start_at_once_on_an_empty_database(url: str) -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    line = context.Barrier(16)
    processes = [context.Process(target=start, args=(url, line)) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 16
    storage = optuna.storages.RDBStorage(url, skip_table_creation=True)
    study = optuna.create_study(storage=storage, study_name="adult")
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
    close(storage)


def test_optunas_tables_are_those_it_makes_itself(url: str, tmp_path: Path) -> None:
    with opened(url) as store:
        create_beside(store.engine, "alembic_version", create_optuna_tables)
        ours = schema(store.engine)
    create_optuna_tables(f"sqlite:///{tmp_path / 'plain.db'}")
    plain = create_engine(f"sqlite:///{tmp_path / 'plain.db'}")
    theirs = schema(plain)
    assert {name: ours[name] for name in theirs} == theirs
    plain.dispose()


def schema(engine: Engine) -> dict[str, tuple[object, ...]]:
    """Every table's columns and key columns."""
    found = inspect(engine)
    return {
        name: (
            {column["name"]: column["nullable"] for column in found.get_columns(name)},
            found.get_pk_constraint(name)["constrained_columns"],
            {(*key["constrained_columns"], key["referred_table"]) for key in found.get_foreign_keys(name)},
        )
        for name in found.get_table_names()
    }


def test_an_interrupted_creation_of_optunas_tables_is_finished(url: str) -> None:
    with opened(url) as store:
        create_beside(store.engine, "alembic_version", create_optuna_tables)
        whole = schema(store.engine)
        with store.engine.begin() as connection:
            for statement in ("DELETE FROM alembic_version", "DROP TABLE trial_values"):
                connection.execute(text(statement))
        create_beside(store.engine, "alembic_version", create_optuna_tables)
        assert schema(store.engine) == whole
        assert revision(store.engine, "alembic_version") is not None


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
def test_mariadb_tells_names_apart_whatever_its_default(mariadb_url: str, charset: str) -> None:
    engine = create_engine(mariadb_url)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE CHARACTER SET {charset}"))
    engine.dispose()
    names = ["adult", "Adult", "adult ", "ädult", "𝔞dult 🎲"]
    with opened(mariadb_url) as store:
        create_beside(store.engine, "alembic_version", create_optuna_tables)
        storage = optuna.storages.RDBStorage(mariadb_url, skip_table_creation=True)
        for name in names:
            store.create_study(make_study(name))
            optuna.create_study(storage=storage, study_name=name)
        assert [study.name for study in store.studies()] == names
        assert [store.study(name).name for name in names] == names
        assert optuna.get_all_study_names(storage) == names
        close(storage)


def test_mariadb_is_strict_and_transactional_whatever_the_server_says(mariadb_url: str) -> None:
    lax = f"{mariadb_url}&init_command=SET sql_mode = '', default_storage_engine = MyISAM"
    with opened(lax) as store, store.engine.connect() as connection:
        tables = "information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
        engines = connection.execute(text(f"SELECT DISTINCT engine FROM {tables}"))
        assert engines.scalars().all() == ["InnoDB"]
        with pytest.raises(StoreError, match=r"must accept what foldtune stores.*Data too long for column 'name'"):
            store.create_study(make_study("x" * 201))
        assert connection.scalar(text("SELECT @@sql_mode")) == "STRICT_ALL_TABLES"
        assert connection.get_isolation_level() == "REPEATABLE READ"


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (1153, r"must fit the server's `max_allowed_packet`, .*\. Raise it"),
        (1205, r"must be free to write within 60 s"),
        (1114, r"the disk must have room"),
        (1142, r"the database must be writable"),
        (1045, r"the database must answer"),
    ],
)
def test_mariadbs_errors_are_explained(number: int, rule: str) -> None:
    url = make_url("mysql+pymysql://u:secret@h/d")
    with pytest.raises(StoreError, match=rule), reported(url):
        raise OperationalError("SELECT 1", {}, Exception(number, "the server's words"))


@pytest.mark.parametrize("dialect", [mysql.dialect, postgresql.dialect, sqlite.dialect])
def test_tables_compile_for_every_database(dialect: Callable[[], object]) -> None:
    statements = [str(CreateTable(table).compile(dialect=dialect())) for table in Base.metadata.sorted_tables]  # type: ignore[arg-type]
    assert all("CREATE TABLE foldtune_" in statement for statement in statements)
    if dialect is mysql.dialect:
        assert "LONGBLOB" in statements[0]
        assert "LONGTEXT" in statements[0]
        assert "DATETIME(6)" in statements[0]
