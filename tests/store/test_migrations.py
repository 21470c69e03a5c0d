"""A database of an older release becomes this version's, whole or not at all, and says the same."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, event, insert, inspect, select, text

from foldtune.errors import StoreError
from foldtune.store import rows, views
from foldtune.store.engine import connect
from foldtune.store.migrations import upgrade as module
from foldtune.store.migrations.upgrade import migrate, upgrade
from foldtune.store.schema import REVISIONS, VERSION_TABLE, creating, revision
from foldtune.store.store import Store
from foldtune.store.tables import Base
from foldtune.testing.store_laws import opened

DATA = Path(__file__).parent / "data"
RELEASE = DATA / "release_0_1_0.db"
"""Made by release 0.1.0: the study `finished`, and `interrupted`, killed in epoch 5 of its first two trials."""

SAID = json.loads((DATA / "release_0_1_0.json").read_text(encoding="utf-8"))
"""What release 0.1.0 read in it."""

BROUGHT = [
    "Leases and ticks, with which several search loops share a study; curves with one row for each epoch",
    "Trials trained once more, out-of-fold answers, what was found out about a study, and sizes of models",
]


@pytest.fixture
def old_url(url: str) -> str:
    """Every kind of database in turn, as release 0.1.0 left it."""
    if url.startswith("sqlite:///"):
        shutil.copy(RELEASE, url.removeprefix("sqlite:///"))
        return url
    source, target = connect(f"sqlite:///{RELEASE}", create=False), connect(url, create=True)
    with creating(target) as connection:
        migrate(connection, "0001")
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    with source.connect() as reader, target.begin() as writer:
        for table in old_tables(reader):
            found = [dict(row) for row in reader.execute(select(table)).mappings()]
            writer.execute(insert(Table(table.name, MetaData(), autoload_with=writer)), found)
    source.dispose()
    target.dispose()
    return url


def old_tables(connection: Connection) -> list[Table]:
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name.startswith("foldtune_"))
    return found.sorted_tables


def said(store: Store) -> dict[str, Any]:
    """What this version reads, in the words of `SAID`."""
    return {line.name: said_of(store, line.name) for line in store.studies()}


def said_of(store: Store, name: str) -> dict[str, Any]:
    uuid = store.study(name).uuid
    keys = ("number", "state", "epochs", "seconds", "values", "params", "scores")
    trials = [{key: plain(getattr(trial, key)) for key in keys} for trial in store.trials(uuid)]
    for trial in trials:
        curves = store.curves(uuid, trial["number"])
        trial["curves"] = {"losses": curves.losses.tolist(), "scores": curves.scores.tolist()}
    return {"uuid": uuid, "seconds": store.seconds(uuid), "trials": trials}


def plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, tuple) else value


def test_the_previous_release_reads_the_same(old_url: str) -> None:
    with pytest.raises(StoreError, match=r"was made by an older foldtune\. Run `foldtune db upgrade --storage "):
        Store(old_url)
    with pytest.raises(StoreError, match="was made by an older foldtune"):
        Store(old_url, create=False)
    assert upgrade(old_url) == BROUGHT
    assert upgrade(old_url) == []
    with opened(old_url) as store:
        assert json.loads(json.dumps(said(store))) == SAID
        uuid = SAID["interrupted"]["uuid"]
        for number in (0, 1):
            scores = store.curves(uuid, number).scores[:, :, 0].tolist()
            assert store.means(uuid)[number] == {epoch: rows.mean(folds) for epoch, folds in enumerate(scores, 1)}


def test_numbers_that_are_none_stay(old_url: str) -> None:
    engine = connect(old_url, create=False)
    with engine.begin() as connection:
        first = "trial = 0 AND epoch = 1 AND fold = 1"
        metrics = '[{"$float":"-inf"},{"$float":"nan"},0.5,0.5]'
        change = text(f"UPDATE foldtune_curves SET loss = NULL, metrics = :metrics WHERE {first}")
        connection.execute(change, {"metrics": metrics})
    engine.dispose()
    upgrade(old_url)
    with opened(old_url) as store:
        uuid = SAID["finished"]["uuid"]
        curves = store.curves(uuid, 0)
        assert math.isnan(curves.losses[0, 1]) and np.isfinite(curves.losses[0, [0, 2]]).all()
        assert curves.scores[0, 1, 0] == store.means(uuid)[0][1] == -math.inf
        assert math.isnan(curves.scores[0, 1, 1])


def test_upgraded_tables_are_those_of_a_new_database(old_url: str, request: pytest.FixtureRequest) -> None:
    upgrade(old_url)
    with opened(old_url) as store:
        upgraded = described(store.engine)
        assert differences(store.engine) == []
        with creating(store.engine) as connection:
            views.drop(connection)
            for table in (*reversed(Base.metadata.sorted_tables), VERSION_TABLE):
                connection.execute(text(f"DROP TABLE {table}"))
    with opened(old_url) as store:
        assert differences(store.engine) == []
        assert described(store.engine) == upgraded


def test_the_tables_before_are_upgraded_alone(url: str) -> None:
    engine = connect(url, create=True)
    with creating(engine) as connection:
        migrate(connection, REVISIONS[-2])
    engine.dispose()
    with pytest.raises(StoreError, match="was made by an older foldtune"):
        Store(url)
    assert upgrade(url) == BROUGHT[-1:]
    with opened(url) as store:
        assert differences(store.engine) == []
        assert store.studies() == []


def differences(engine: Engine) -> list[Any]:
    """Between the tables in a database and those of this version."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or str(name).startswith("foldtune_")

    options = {"version_table": VERSION_TABLE, "include_name": ours, "compare_type": True}
    with engine.connect() as connection:
        assert set(inspect(connection).get_view_names()) >= set(views.NAMES)
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def described(engine: Engine) -> dict[str, Any]:
    """All that a database knows of our tables, the order of columns apart."""
    found = inspect(engine)
    return {
        name: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in found.get_columns(name)
            },
            "primary key": found.get_pk_constraint(name),
            "foreign keys": found.get_foreign_keys(name),
            "indexes": sorted(map(str, found.get_indexes(name))),
            "unique": sorted(str(key["column_names"]) for key in found.get_unique_constraints(name)),
        }
        for name in found.get_table_names()
        if name.startswith("foldtune_")
    }


def test_revisions_are_those_of_the_scripts() -> None:
    scripts: ScriptDirectory = module._scripts()
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    with opened(url) as store, store.engine.begin() as connection:
        assert revision(connection, VERSION_TABLE) == REVISIONS[-1]
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    for create in (True, False):
        with pytest.raises(StoreError, match=r"was made by a newer foldtune\. Install that version"):
            Store(url, create=create)
    with pytest.raises(StoreError, match="must not be newer than this version"):
        upgrade(url)


def test_there_must_be_something_to_upgrade(url: str, sqlite_url: str) -> None:
    with pytest.raises(
        StoreError, match="there is no database at" if url == sqlite_url else "must hold foldtune's tables"
    ):
        upgrade(url)


class BreakError(Exception):
    """The process ends here."""


def test_an_upgrade_that_breaks_off_anywhere_leaves_the_old_or_goes_on(old_url: str) -> None:
    failures, step = 0, 1 if old_url.startswith("mysql") else 5  # elsewhere one transaction: a few places will do
    while not survives(lambda: upgrade(old_url), failures):
        failures += step
        with pytest.raises(StoreError, match="was made by an older foldtune"):
            Store(old_url)
    assert failures > 12
    with opened(old_url) as store:
        assert json.loads(json.dumps(said(store))) == SAID
        assert differences(store.engine) == []


def test_a_creation_that_breaks_off_anywhere_is_finished(url: str) -> None:
    failures = 0
    while not survives(lambda: Store(url).close(), failures):
        failures += 1
    assert failures > 8
    with opened(url) as store:
        assert differences(store.engine) == []


def survives(work: Callable[[], object], failing: int) -> bool:
    """Work while the statement number `failing` breaks off; whether there were fewer."""
    count = iter(range(10_000))

    def break_off(connection: Connection, _: object, statement: str, *__: object) -> None:
        if "RELEASE_LOCK" not in statement and next(count) == failing:
            raise BreakError

    event.listen(Engine, "before_cursor_execute", break_off)
    try:
        work()
    except BreakError:
        return False
    finally:
        event.remove(Engine, "before_cursor_execute", break_off)
    return True


@pytest.mark.parametrize("url", ["mariadb_url"], indirect=True)
def test_an_upgrade_killed_before_it_drops_what_it_copied_goes_on(old_url: str) -> None:
    def break_off(connection: Connection, _: object, statement: str, *__: object) -> None:
        if "DROP TABLE foldtune_curves_0001" in statement:
            connection.connection.commit()  # as the statement does before it begins
            raise BreakError

    event.listen(Engine, "before_cursor_execute", break_off)
    with pytest.raises(BreakError):
        upgrade(old_url)
    event.remove(Engine, "before_cursor_execute", break_off)
    assert upgrade(old_url) == BROUGHT
    with opened(old_url) as store:
        assert json.loads(json.dumps(said(store))) == SAID


def upgrade_until(url: str, last: int) -> None:
    """Upgrade as a process that is killed at a statement."""
    count = iter(range(10_000))

    def kill(*_: object) -> None:
        if next(count) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", kill)
    upgrade(url)


def test_a_killed_upgrade_leaves_the_old_or_goes_on(old_url: str) -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for last in (12, 24, 36):
        process = context.Process(target=upgrade_until, args=(old_url, last))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        with pytest.raises(StoreError, match="was made by an older foldtune"):
            Store(old_url)
    assert upgrade(old_url) == BROUGHT
    with opened(old_url) as store:
        assert json.loads(json.dumps(said(store))) == SAID
        assert differences(store.engine) == []


def upgrade_at_once(url: str, line: Any, brought: Any) -> None:
    line.wait(60)
    brought.put(upgrade(url))


def test_of_two_upgrades_at_once_one_does_it(old_url: str) -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    line, brought = context.Barrier(2), context.Queue()
    processes = [context.Process(target=upgrade_at_once, args=(old_url, line, brought)) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted([brought.get(timeout=300), brought.get(timeout=60)]) == [[], BROUGHT]
    for process in processes:
        process.join(60)
    with closing(Store(old_url)) as store:
        assert json.loads(json.dumps(said(store))) == SAID
