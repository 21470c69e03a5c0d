"""A process that is stopped keeps nobody out of a study for long, wherever in a transaction it was.

Of a stopped process a server sees an open connection on which nothing happens, as of a thread that does not go on.
PostgreSQL alone is asked here: MariaDB and MySQL have limits of their own, SQLite has none.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from foldtune.store import engine, leases, retry
from foldtune.store.records import Barrier, Lease
from foldtune.store.store import Store
from foldtune.testing.repeat_laws import make_answers, make_partition, make_repeat, make_repeated
from foldtune.testing.store_laws import LONG_S, START_S, create, make_place, make_report, make_trial, opened

AT_ONCE = 16
LARGE = 9_000_000
"""Bytes that do not fit between a server and a process that does not read them."""

PATIENCE = "%20-clock_timeout%3D20000"
"""How long somebody else waits, in ms."""

Exchange = Generator[Any, Any, Any]
Write = Callable[[Store, Lease], object]


class Stops(threading.local):
    """Stops each thread once: when psycopg waits for its socket for the n-th time, until all may go on."""

    def __init__(self, over: threading.Event) -> None:
        self.over, self.left = over, 0
        self.tell: Callable[[], object] = lambda: None

    def exchange(self, exchange: Exchange) -> Exchange:
        """What passes between psycopg and the server, with a stop in it."""
        try:
            wanted = next(exchange)
            while True:
                self.left -= 1
                if self.left == 0:
                    self.tell()
                    self.over.wait()
                wanted = exchange.send((yield wanted))
        except StopIteration as ended:
            return ended.value


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Stops:
    """Stops in transactions that may stand still for two seconds: a busy machine must not take that long by itself."""
    found, wait = Stops(threading.Event()), psycopg.Connection.wait

    def stopping(connection: Any, exchange: Exchange, *interval: float) -> Any:
        return wait(connection, found.exchange(exchange), *interval)

    monkeypatch.setattr(psycopg.Connection, "wait", stopping)
    monkeypatch.setattr(engine, "IDLE_S", 2.0)
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.001)
    return found


def test_in_a_barrier(postgres_url: str, stops: Stops) -> None:
    """At every moment of it; those that were stopped store theirs when they go on."""

    def record(store: Store, lease: Lease) -> None:
        numbers = range(3)
        barrier = Barrier(
            reports=(
                *(make_report(number, 1) for number in numbers),
                *(make_repeated(number, 1) for number in numbers),
            ),
            trials=tuple(make_trial(number, epochs=1) for number in numbers),
            repeats=tuple(make_repeat(number, 1, 0.5) for number in numbers),
            kept=tuple(make_answers(number, 1) for number in numbers),
        )
        store.record(lease, barrier)
        assert store.last_epochs(lease.study) == dict.fromkeys(numbers, 1)

    assert stopped_everywhere(postgres_url, record, stops, most=200) > 20


@pytest.mark.parametrize("statement", ["SELECT repeat('x', length(:sent))", "SELECT length(:sent)"])
def test_in_what_takes_long_to_send(statement: str, postgres_url: str, stops: Stops) -> None:
    """To the server, and by it."""

    def exchange(store: Store, lease: Lease) -> None:
        def work(connection: Connection) -> None:
            leases.check(connection, lease)
            connection.execute(text(statement), {"sent": "x" * LARGE})

        store._transactions.write(work)

    assert stopped_everywhere(postgres_url, exchange, stops, most=AT_ONCE) > 6


def stopped_everywhere(url: str, write: Write, stops: Stops, most: int) -> int:
    """Stop a write at its first moment, another at its second, and so on; each time somebody else comes to the study.

    Returns:
        How many moments it has, up to the most that are tried.
    """

    def work(moment: int, standing: "Queue[Lease]") -> bool:
        with opened(url) as store:
            lease = create(store, *(make_trial(number) for number in range(3)))
            store.add_partition(lease, 1, make_partition(1))
            stops.left, stops.tell = moment, lambda: standing.put(lease)
            write(store, lease)
            if stops.left > 0:  # there is no such moment
                stops.left = 0
                standing.put(lease)
                return False
            return True

    reached = 0
    with opened(url + PATIENCE) as other:
        for first in range(1, most, AT_ONCE):
            standing = Queue[Lease]()
            with all_at_once(stops.over) as pool:
                ways = [pool.submit(work, moment, standing) for moment in range(first, first + AT_ONCE)]
                for _ in ways:
                    other.acquire(standing.get(timeout=START_S).study, make_place(2), LONG_S)
            reached += sum(way.result() for way in ways)
            if reached < first + AT_ONCE - 1:
                break
    return reached


@contextmanager
def all_at_once(over: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads that are stopped in the block, and go on after it."""
    over.clear()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield pool
        finally:
            over.set()
