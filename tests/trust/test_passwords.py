"""A database's password stands in no message, log, traceback or `repr`."""

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from foldtune.cli.main import app
from foldtune.errors import StoreError
from foldtune.search.run import resume_study, run_study
from foldtune.store.border import redact, reported
from foldtune.store.store import Store
from tests.conftest import POSTGRES, Command
from tests.trust.conftest import TREE, Database

SECRET = "s3cr&t/@ pw"
ENCODED = "s3cr%26t%2F%40%20pw"
PORT = 9  # discard: nothing listens there

URLS = {
    "PostgreSQL that does not answer": f"postgresql+psycopg://ann:{ENCODED}@127.0.0.1:{PORT}/db",
    "MariaDB that does not answer": f"mysql+pymysql://ann:{ENCODED}@127.0.0.1:{PORT}/db",
    "a driver that is not there": f"postgresql+pg8000://ann:{ENCODED}@127.0.0.1:{PORT}/db",
    "the usual driver": f"postgresql://ann:{ENCODED}@127.0.0.1:{PORT}/db",
    "no kind of database": f"postgress://ann:{ENCODED}@127.0.0.1:{PORT}/db",
    "a port that is no number": f"postgresql+psycopg://ann:{ENCODED}@127.0.0.1:port/db",
    "no port": f"postgresql+psycopg://ann:{ENCODED}@127.0.0.1:/db?x",
    "a password that is not encoded": f"postgresql+psycopg://ann:{SECRET}@127.0.0.1:{PORT}/db",
    "a password in the query": f"postgresql+psycopg://ann@127.0.0.1:{PORT}/db?password={ENCODED}",
    "two of them": f"postgresql+psycopg://ann@127.0.0.1:{PORT}/db?sslpassword={ENCODED}&sslpassword={ENCODED}",
    "a key's password": f"postgresql+psycopg://ann@127.0.0.1:{PORT}/db?sslmode=require&sslpassword={ENCODED}",
    "an unknown option": f"postgresql+psycopg://ann@127.0.0.1:{PORT}/db?secret_token={ENCODED}",
    "MariaDB's in the query": f"mysql+pymysql://ann@127.0.0.1:{PORT}/db?password={ENCODED}",
    "a SQLite file with a password": f"sqlite://ann:{ENCODED}@host/file.db",
    "no URL": f"ann:{ENCODED}@host",
    "no scheme's end": f"postgresql:/ann:{ENCODED}@host/db",
}


BROKEN = """\
import torch


class Net(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) / (1 if len(x) == 2 else 1 // 0)
"""
"""It passes the check, which gives it two rows, and fails in training."""


def leaks(said: str) -> list[str]:
    """The forms of the password that a text holds, parts of it too."""
    return [form for form in (SECRET, ENCODED, "s3cr", "%26t%2F", "&t/@") if form in said]


def everything(error: BaseException) -> str:
    """A traceback with its causes and the `repr` of every local of every frame."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("command", [("list",), ("resume", "victim"), ("dashboard", "--port", "0"), ("run", "s.yaml")])
def test_commands_do_not_print_a_password(
    foldtune: Command,
    caplog: pytest.LogCaptureFixture,
    name: str,
    command: tuple[str, ...],
) -> None:
    caplog.set_level(logging.DEBUG)
    Path("s.yaml").write_text("name: x\ndata: {use: iris}\nmodel: {use: MLP, d_block: 2}\ntraining: {epochs: 1}\n")
    workers = ("--workers", "0", "-v", "-v") if command[0] in ("run", "resume") else ()
    code, err, out = foldtune(*command, *workers, "--storage", URLS[name])
    assert code == 2 and err.startswith("error: ")
    assert leaks(err + out + caplog.text) == []


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "command",
    [
        ("worker", "--idle-exit", "0", "--workers", "0", "--storage"),
        ("db", "upgrade", "--storage"),
        ("delete", "victim", "--yes", "--storage"),
        ("copy", "victim", "--to", "sqlite:///copy.db", "--storage"),
        ("copy", "victim", "--to"),  # of the database in the environment
    ],
)
def test_commands_that_care_for_a_database_do_not_print_a_password(
    database: Database,
    foldtune: Command,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setenv("FOLDTUNE_STORAGE", database.url)
    caplog.set_level(logging.DEBUG)
    code, err, out = foldtune(*command, URLS[name])
    assert leaks(err + out + caplog.text) == []
    if command[0] == "worker" and code == 0:  # it waits for a server
        assert "waiting for studies: " in caplog.text
    else:
        assert code == 2 and err.startswith("error: ")


@pytest.mark.parametrize("name", URLS)
def test_errors_do_not_hold_a_password(name: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(URLS[name])
    messages = traceback.format_exception(caught.value)
    assert leaks("".join(messages)) == []
    assert leaks(redact(URLS[name])) == []


def test_a_store_does_not_show_its_password(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    store.engine.dispose()
    engine = create_engine(f"postgresql+psycopg://ann:{ENCODED}@127.0.0.1:{PORT}/db")
    store.engine = engine
    try:
        assert leaks(f"{store!r} {store.url} {engine!r} {engine.url!r} {engine.url} {engine.pool!r}") == []
    finally:
        store.close()


def test_an_unexpected_error_inside_of_the_store_does_not_show_it() -> None:
    engine = create_engine(f"postgresql+psycopg://ann:{ENCODED}@127.0.0.1:{PORT}/db")
    with pytest.raises(ZeroDivisionError) as caught, reported(engine.url):
        1 / 0  # noqa: B018
    assert leaks(everything(caught.value)) == []


def test_an_unexpected_error_of_a_command_does_not_show_it(foldtune: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(store: Store) -> None:
        raise RuntimeError("an accident")

    monkeypatch.setattr("foldtune.store.engine.connect", lambda url, create: create_engine(url))
    monkeypatch.setattr("foldtune.store.store.connect", lambda url, create: create_engine(url))
    monkeypatch.setattr("foldtune.store.store.need_tables", lambda engine: None)
    monkeypatch.setattr(Store, "studies", broken)
    with pytest.raises(RuntimeError, match="an accident") as caught:
        foldtune("list", "--storage", URLS["PostgreSQL that does not answer"])
    assert leaks("".join(traceback.format_exception(caught.value))) == []
    assert app.pretty_exceptions_enable is False  # they would print local variables


@pytest.fixture
def guarded_url() -> str:
    """A PostgreSQL server that answers, with a password in the URL that it may or may not ask for."""
    engine = create_engine(POSTGRES)
    try:
        engine.connect().close()
    except OperationalError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no PostgreSQL server answers: {error.orig}")
    engine.dispose()
    return POSTGRES.replace("postgres@", f"nobody_{os.getpid()}:{ENCODED}@")


def test_a_refused_login_does_not_show_it(guarded_url: str) -> None:
    with pytest.raises(StoreError, match="must answer") as caught:
        Store(guarded_url)
    assert leaks("".join(traceback.format_exception(caught.value))) == []


@pytest.mark.slow
def test_a_whole_study_does_not_show_it(
    postgres_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    foldtune: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process with one of its own for training, and then commands in this one."""
    caplog.set_level(logging.DEBUG)
    url = postgres_url.replace("postgres@", f"postgres:{ENCODED}@")
    broken = tmp_path / "broken_net.py"
    broken.write_text(BROKEN)
    (tmp_path / "s.yaml").write_text(
        "name: x\ndata: {use: iris}\nmodel: {use: 'broken_net:Net'}\ntraining: {epochs: 1}\nsearch: {trials: 1}\n"
    )
    monkeypatch.setenv("FOLDTUNE_STORAGE", url)
    program = "from foldtune.cli.main import main; main()"
    command = [sys.executable, "-c", program, "run", "s.yaml", "--workers", "1", "-vv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    said = done.stdout + done.stderr
    for words in (
        ("trial", "x", "0"),
        ("show", "x", "--json"),
        ("resume", "x", "--trials", "2", "--workers", "0", "--allow-import", "broken_net"),
    ):
        code, err, out = foldtune(*words)
        assert code in (0, 1), err
        said += out + err
    said += caplog.text
    assert "ZeroDivisionError" in said
    assert leaks(said) == []
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT t.*, s.* FROM foldtune_trials t, foldtune_studies s")).all()
    engine.dispose()
    assert rows and leaks(repr(rows)) == []


@pytest.mark.slow
def test_logs_of_optuna_and_sqlalchemy_do_not_show_it(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "optuna", "alembic"):
        caplog.set_level(logging.DEBUG, name)
    url = postgres_url.replace("postgres@", f"postgres:{ENCODED}@")
    run_study(TREE, storage=url, workers=0)
    resume_study("victim", storage=url, workers=0, overrides=["search.trials=3"])
    assert len(caplog.text) > 10_000
    assert leaks(caplog.text) == []
