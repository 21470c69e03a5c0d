"""A study moves from any database to any other and stays what it was; deleted, it is gone and nothing else is."""

import math
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest
from sqlalchemy import select

from foldtune.errors import StoreError
from foldtune.store.copy import copy_study, delete_study
from foldtune.store.records import Barrier, FindingKind, Place
from foldtune.store.store import Store
from foldtune.store.tables import Base
from foldtune.testing import repeat_laws, store_laws
from foldtune.testing.store_laws import make_finished, make_report, make_trial, opened, same

ODD = (0.1, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e308, -1e-310)


def create(store: Store) -> str:
    """A study with every odd float in every place that holds one; its name."""
    finished = [make_finished(number, value) for number, value in enumerate(ODD)]
    lease = store_laws.create(store, *finished, *(make_trial(len(ODD) + number) for number in range(len(ODD))))
    reports = tuple(make_report(len(ODD) + number, 1, value) for number, value in enumerate(ODD))
    store.record(lease, Barrier(reports, seconds=0.1))
    store.add_partition(lease, 1, repeat_laws.make_partition(1))
    repeats = tuple(repeat_laws.make_repeat(number, 1, value) for number, value in enumerate(ODD))
    halves = (value if abs(value) < 1 or not math.isfinite(value) else 65504.0 for value in ODD)
    kept = tuple(repeat_laws.make_answers(number, 1, value) for number, value in enumerate(halves))
    store.record(lease, Barrier(repeats=repeats, kept=kept))
    for kind in get_args(FindingKind):
        store.keep(lease.study, repeat_laws.make_finding(kind))
    store.release(lease)
    return next(study.name for study in store.studies() if store.study(study.name).uuid == lease.study)


def everything(store: Store, name: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of a study as Python sees them, ids and leases apart."""
    with store.engine.connect() as connection:
        studies = Base.metadata.tables["foldtune_studies"]
        study = connection.execute(select(studies).where(studies.c.name == name)).mappings().one()
        found = {"foldtune_studies": [dict(study)]}
        for table in Base.metadata.sorted_tables:
            if "study_id" in table.c and table.name != "foldtune_leases":
                query = select(table).where(table.c.study_id == study["id"]).order_by(*table.primary_key)
                found[table.name] = [dict(row) for row in connection.execute(query).mappings()]
    dropped = {"id", "study_id", "lease"}
    return {
        table: [{key: value for key, value in row.items() if key not in dropped} for row in found[table]]
        for table in found
    }


def without_signs_of_zero(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """MySQL's doubles have no -0.0; what counts is in JSON and arrays, where it stays."""
    return {
        table: [{key: value + 0.0 if isinstance(value, float) else value for key, value in row.items()} for row in rows]
        for table, rows in found.items()
    }


def test_a_study_is_the_same_after_every_database(sqlite_url: str, postgres_url: str, mariadb_url: str) -> None:
    with ExitStack() as stack:
        urls = (sqlite_url, postgres_url, mariadb_url, sqlite_url.replace("study.db", "home.db"))
        stores = [stack.enter_context(opened(url)) for url in urls]
        name = create(stores[0])
        other = store_laws.create(stores[1])  # ids differ
        stores[1].keep(other.study, repeat_laws.make_finding("score"))
        before = everything(stores[0], name)
        assert len(before["foldtune_curves"]) == len(before["foldtune_repeats"]) == len(before["foldtune_answers"])
        assert len(before["foldtune_findings"]) == len(get_args(FindingKind))
        for source, target in pairwise(stores):
            copy_study(name, source, target)
            assert same(without_signs_of_zero(everything(target, name)), without_signs_of_zero(before))
        assert same(everything(stores[1], name), before)
        uuid = stores[0].study(name).uuid
        trials = [[replace(trial, lease=None) for trial in store.trials(uuid)] for store in stores]
        curves = [[store.curves(uuid, number) for number in range(2 * len(ODD))] for store in stores]
        assert all(same(trials[0], others) for others in trials)
        assert all(same(curves[0], others) for others in curves)
        assert {trial.lease for trial in stores[-1].trials(uuid)} == {None}


def test_many_rows_are_copied_in_parts(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldtune.store.copy._AT_ONCE", 3)
    monkeypatch.setattr("foldtune.store.copy._ANSWERS_AT_ONCE", 3)
    with opened(sqlite_url) as source, opened(sqlite_url.replace("study.db", "other.db")) as target:
        name = create(source)
        copy_study(name, source, target)
        assert same(everything(target, name), everything(source, name))


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(url: str, sqlite_url: str) -> None:
    with opened(sqlite_url.replace("study.db", "from.db")) as source, opened(url) as target:
        name = create(source)
        copy_study(name, source, target)
        with pytest.raises(StoreError, match=f"name must be new in the database .*, however: {name}. Delete that one"):
            copy_study(name, source, target)
        assert len(target.studies()) == 1
        with pytest.raises(StoreError, match="there is no study 'nobody'"):
            copy_study("nobody", source, target)


def test_a_study_at_work_is_neither_copied_nor_deleted(url: str, sqlite_url: str) -> None:
    with opened(url) as store, opened(sqlite_url.replace("study.db", "to.db")) as target:
        name = create(store)
        uuid = store.study(name).uuid
        lease = store.acquire(uuid, Place("here", "", "", 7, ""), 60)
        message = f"no search may be at work on the study '{name}', however: process 7 on here is. Stop it first"
        with pytest.raises(StoreError, match=message):
            copy_study(name, store, target)
        with pytest.raises(StoreError, match=message):
            delete_study(name, store)
        assert target.studies() == [] and len(store.trials(uuid)) == 2 * len(ODD)
        store.renew(lease, -1.0)  # it ran out
        copy_study(name, store, target)
        delete_study(name, store)
        assert [study.name for study in target.studies()] == [name]
        assert store.studies() == []


def test_deleting_a_study_leaves_the_others(url: str) -> None:
    with opened(url) as store:
        first, second = create(store), create(store)
        kept = everything(store, second)
        delete_study(first, store)
        assert [study.name for study in store.studies()] == [second]
        assert same(everything(store, second), kept)
        with store.engine.connect() as connection:
            for table in Base.metadata.sorted_tables:
                column = table.c["study_id" if "study_id" in table.c else "id"]
                assert len(set(connection.execute(select(column)).scalars())) <= 1
        with pytest.raises(StoreError, match=f"there is no study '{first}'"):
            delete_study(first, store)
