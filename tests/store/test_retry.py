"""A database that goes away is waited for, and named when it stays away."""

import logging
import socket
import sqlite3
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from foldtune.errors import StoreError
from foldtune.store import engine as engine_module
from foldtune.store import retry
from foldtune.store.border import reported
from foldtune.store.records import Barrier
from foldtune.testing.lease_laws import losing, make_barrier
from foldtune.testing.store_laws import create, make_study, make_trial, opened

POSTGRES = ("127.0.0.1", 5432)
URL = make_url("postgresql+psycopg://ann:secret@db/studies")


class DriverError(Exception):
    """An error as pymysql raises it: a number and words."""


def lost(words: str = "no answer\nwith secret") -> DBAPIError:
    return OperationalError("COMMIT", {}, psycopg.OperationalError(words))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, without waiting."""
    made: list[float] = []
    monkeypatch.setattr(retry, "time", SimpleNamespace(sleep=made.append, monotonic=lambda: sum(made)))
    return made


def test_a_database_that_comes_back_is_two_lines_in_the_log(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    tries = iter([lost(), lost(), lost(), lost(), lost(), lost(), None])

    def transaction() -> str:
        if error := next(tries):
            raise error
        return "done"

    with caplog.at_level(logging.DEBUG, "foldtune"):
        assert retry.persistently(URL, transaction) == "done"
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "the database does not answer (no answer with ***); waiting up to 300 s"),
        ("WARNING", "the database answers again"),
    ]


def test_a_database_that_stays_away_is_named(pauses: list[float]) -> None:
    def transaction() -> None:
        raise lost()

    message = r"must answer, however: postgresql\+psycopg://ann:\*\*\*@db/studies \(no answer with \*\*\*\)"
    with pytest.raises(StoreError, match=message), reported(URL):
        retry.persistently(URL, transaction)
    assert 295.0 <= sum(pauses) <= 300.0


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("", {}, psycopg.OperationalError("connection refused")),
        OperationalError("", {}, psycopg.errors.AdminShutdown()),
        OperationalError("", {}, psycopg.errors.CannotConnectNow()),
        OperationalError("", {}, psycopg.errors.ConnectionFailure()),
        OperationalError("", {}, psycopg.errors.DeadlockDetected()),
        OperationalError("", {}, DriverError(2003, "Can't connect")),
        OperationalError("", {}, DriverError(1213, "Deadlock found")),
        InterfaceError("", {}, DriverError(2006, "gone away")),
        DBAPIError("", {}, Exception(), connection_invalidated=True),
    ],
)
def test_what_passes_is_waited_for(error: DBAPIError) -> None:
    assert retry.is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("", {}, psycopg.errors.DiskFull()),
        OperationalError("", {}, sqlite3.OperationalError("disk I/O error")),
        DBAPIError("", {}, sqlite3.OperationalError("database is locked"), connection_invalidated=True),
        IntegrityError("", {}, psycopg.errors.UniqueViolation()),
        DataError("", {}, psycopg.errors.StringDataRightTruncation()),
        OperationalError("", {}, DriverError(1045, "Access denied")),
        OperationalError("", {}, DriverError()),
    ],
)
def test_what_does_not_pass_is_not_waited_for(error: DBAPIError, pauses: list[float]) -> None:
    def transaction() -> None:
        raise error

    with pytest.raises(type(error)):
        retry.persistently(URL, transaction)
    assert pauses == []


def test_a_busy_file_is_not_waited_for_twice(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_S", 0.05)
    with opened(sqlite_url) as store, closing(sqlite3.connect(tmp_path / "study.db")) as other:
        lease = create(store, make_trial(0))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="must be free to write within"):
            store.record(lease, Barrier())
    assert pauses == []


def test_a_new_study_is_not_waited_for(url: str, pauses: list[float]) -> None:
    with opened(url) as store, losing(store, ("before",)), pytest.raises(StoreError, match="the database must answer"):
        store.create_study(make_study())
    assert pauses == []


class Line:
    """A line to a server that can be cut; its own port stays."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server, self.port = server, 0
        self.join()

    def join(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in self._ends:
            with suppress(OSError):  # it has hung up by itself
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self.server)
                self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=ends))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


def test_a_search_outlives_its_connection(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.05)
    with ExitStack() as stack:
        line = Line(POSTGRES)
        stack.callback(line.cut)
        url = make_url(postgres_url).set(port=line.port).render_as_string(hide_password=False)
        store = stack.enter_context(opened(url))
        lease = create(store, make_trial(0))
        for epoch in (1, 2, 3):
            line.cut()
            timer = threading.Timer(0.3, line.join)
            timer.start()
            store.record(lease, make_barrier(0, epoch))
            timer.join()
        assert list(store.means(lease.study)[0]) == [1, 2, 3]
    said = [record.getMessage().partition(" (")[0] for record in caplog.records]
    assert said == ["the database does not answer", "the database answers again"] * 3
