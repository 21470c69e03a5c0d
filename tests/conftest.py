"""Tiny seeded data and empty databases for every test."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
POSTGRES = "postgresql+psycopg://postgres@127.0.0.1/test?connect_timeout=5"
MARIADB = "mysql+pymysql://root@127.0.0.1/{}?connect_timeout=5"
NO_INDEX_SCANS = "%20-cenable_indexscan%3Doff%20-cenable_bitmapscan%3Doff"
"""Rows then come in the order of writing, unless a query names its order."""


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


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty schema, dropped in the end."""
    engine = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    schema = f"foldtune_{uuid4().hex}"
    try:
        connection = engine.connect()
    except OperationalError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no PostgreSQL server answers: {error.orig}")
    with connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield f"{POSTGRES}&options=-csearch_path%3D{schema}{NO_INDEX_SCANS}"
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    """The URL of an empty database, dropped in the end."""
    engine = create_engine(MARIADB.format("test"), isolation_level="AUTOCOMMIT")
    name = f"foldtune_{uuid4().hex}"
    try:
        connection = engine.connect()
    except OperationalError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no MariaDB server answers: {error.orig}")
    with connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield MARIADB.format(name)
        connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()


@pytest.fixture(params=["sqlite_url", "postgres_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    """Every kind of database in turn."""
    return str(request.getfixturevalue(request.param))
