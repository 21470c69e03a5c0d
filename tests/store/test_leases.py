"""Leases obey their laws in every database."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import Connection, create_engine, text

from foldtune.errors import LeaseLostError
from foldtune.store import engine, leases, retry
from foldtune.store.records import Place
from foldtune.testing import lease_laws
from foldtune.testing.lease_laws import make_barrier, nobody
from foldtune.testing.store_laws import LONG_S, create, make_trial, opened


@pytest.mark.parametrize("law", lease_laws.LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[str], None], url: str) -> None:
    law(url)


@pytest.mark.parametrize("seed", range(3))
def test_writes_happen_once_whatever_is_lost(seed: int, url: str) -> None:
    random = Random(seed)
    kinds: list[lease_laws.Loss] = ["none", "before", "after"]
    lease_laws.check_writes_happen_once(url, (*random.choices(kinds, k=17), "none"))


def test_writes_happen_once_on_a_server_that_breaks_connections(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.001)
    name = f"victim-{uuid4().hex}"
    with opened(f"{postgres_url}&application_name={name}") as store:
        lease = create(store, make_trial(0))
        with breaking(postgres_url, name) as broken:
            epoch = 0
            while epoch < 100 or len(broken) < 10:
                epoch += 1
                store.record(lease, make_barrier(0, epoch))
                store.renew(lease, LONG_S)
                assert store.reserve(lease, 1, 10**6) == [epoch]
                assert store.take_over(lease, nobody) == []
        assert store.seconds(lease.study) == 0.5 * epoch
        assert list(store.means(lease.study)[0]) == list(range(1, epoch + 1))
        assert store.changes(lease.study, -1).tick == 2 + 3 * epoch


@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url"])
def test_a_search_loop_that_is_stopped_inside_a_transaction_keeps_nobody_out(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the study's row and says nothing; when it wakes, its lease is gone."""
    monkeypatch.setattr(engine, "IDLE_S", 1)
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.001)
    url = str(request.getfixturevalue(server))
    with opened(url) as stopped, opened(url) as other:
        lease = create(stopped, make_trial(0))
        taken: list[int] = []

        def write(connection: Connection) -> None:
            leases.check(connection, lease)
            if not taken:
                mine = other.acquire(lease.study, Place("elsewhere", "", "", 1, ""), LONG_S)  # it waits
                taken.extend(other.take_over(mine, lambda place: True))
            connection.execute(text("SELECT 1"))

        with pytest.raises(LeaseLostError, match="must still hold its lease"):
            stopped._transactions.write(write)
        assert taken == [0]


@contextmanager
def breaking(url: str, name: str) -> Iterator[list[int]]:
    """Break the connections of that application at random; the processes that served them."""
    broken: list[int] = []
    over = threading.Event()
    query = text("SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")

    def break_connections() -> None:
        random = Random(0)
        while not over.wait(random.uniform(0.0, 0.1)):
            with killer.connect() as connection:
                broken.extend(connection.scalars(query, {"name": name}))

    killer = create_engine(url)
    thread = threading.Thread(target=break_connections)
    thread.start()
    try:
        yield broken
    finally:
        over.set()
        thread.join()
        killer.dispose()
