"""Tiny seeded data and empty databases for every test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from foldtune.cli.main import main

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
POSTGRES = "postgresql+psycopg://postgres@127.0.0.1/test?connect_timeout=5"
MARIADB = os.environ.get("FOLDTUNE_TEST_MYSQL", "mysql+pymysql://root@127.0.0.1") + "/{}?connect_timeout=5"
"""Of a server that every test with MariaDB uses; the environment may name another, as one of MySQL."""
NO_INDEX_SCANS = "%20-cenable_indexscan%3Doff%20-cenable_bitmapscan%3Doff"
"""Rows then come in the order of writing, unless a query names its order."""


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    err: str
    out: str


Command = Callable[..., Answer]


@pytest.fixture
def foldtune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("FOLDTUNE_STORAGE", raising=False)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["foldtune", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return Answer(code, err, out)

    return run


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets, where a checkout has one beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data sets are not here: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As in training processes: on nets this small two threads are slower, and collapse beside a busy neighbour."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'study.db'}"


def _connected(engine: Engine, kind: str) -> Connection:
    """A connection; without a server the test is skipped, and fails where CI promises one."""
    try:
        return engine.connect()
    except OperationalError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {kind} server answers: {error.orig}")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty schema, dropped in the end."""
    engine = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    schema = f"foldtune_{uuid4().hex}"
    with _connected(engine, "PostgreSQL") as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield f"{POSTGRES}&options=-csearch_path%3D{schema}{NO_INDEX_SCANS}"
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    """The URL of an empty database, dropped in the end."""
    engine = create_engine(MARIADB.format("test"), isolation_level="AUTOCOMMIT")
    name = f"foldtune_{uuid4().hex}"
    with _connected(engine, "MariaDB") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield MARIADB.format(name)
        connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()


@pytest.fixture(params=["sqlite_url", "postgres_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    """Every kind of database in turn."""
    return str(request.getfixturevalue(request.param))
