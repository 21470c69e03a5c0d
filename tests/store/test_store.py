"""The store obeys its laws in every database, and fails in words."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from foldtune.errors import StoreError
from foldtune.store import views
from foldtune.store.records import Barrier, RepeatRecord, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.testing import store_laws
from foldtune.testing.repeat_laws import make_answers, make_finding
from foldtune.testing.store_laws import make_finished, make_report, make_study, make_trial, opened

SHARED_DATABASE = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("law", store_laws.LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[str], None], url: str) -> None:
    law(url)


@SHARED_DATABASE
@given(value=st.floats(allow_subnormal=True))
def test_every_float_survives(value: float, url: str) -> None:
    store_laws.check_trials_survive(url, value)
    store_laws.check_curves_survive(url, value)


@pytest.mark.parametrize(
    "value", [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7976931348623157e308]
)
def test_edges_of_floats_survive(value: float, url: str) -> None:
    store_laws.check_trials_survive(url, value)
    store_laws.check_curves_survive(url, value)


def test_laws_tell_stores_apart_that_lose_something() -> None:
    assert not store_laws.same(0.0, -0.0)
    assert not store_laws.same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not store_laws.same(make_finished(0, 0.1), make_finished(0, 0.2))
    assert not store_laws.same((1,), [1])
    assert store_laws.same(make_finished(0, float("nan")), make_finished(0, float("nan")))


def test_a_deleted_study_takes_its_rows_along_and_leaves_its_id(url: str) -> None:
    with opened(url) as store:
        lease = store_laws.create(store, make_trial(0))
        repeat = RepeatRecord(0, 1)
        store.record(lease, Barrier((make_report(0, 1),), repeats=(repeat,), kept=(make_answers(0, 0),)))
        store.keep(lease.study, make_finding("score"))
        with store.engine.begin() as connection:
            old = connection.execute(text("SELECT max(id) FROM foldtune_studies")).scalar_one()
            connection.execute(text("DELETE FROM foldtune_studies WHERE id = :id"), {"id": old})
            for table in ("folds", "leases", "trials", "curves", "repeats", "answers", "findings"):
                count = text(f"SELECT count(*) FROM foldtune_{table} WHERE study_id = :id")
                assert connection.execute(count, {"id": old}).scalar_one() == 0
        store_laws.create(store)
        with store.engine.connect() as connection:
            assert connection.execute(text("SELECT max(id) FROM foldtune_studies")).scalar_one() > old


def test_several_objectives_have_no_single_best(sqlite_url: str) -> None:
    study: StudyRecord = replace(make_study(), directions=("minimize", "maximize"), spec={})
    with opened(sqlite_url) as store:
        store_laws.create(store, replace(make_finished(0, 0.1), values=(0.1, 0.2)), study=study)
        (line,) = store.studies()
        assert (line.best, line.budget) == (None, None)
        assert store.trial(study.uuid, 0).values == (0.1, 0.2)


def test_a_list_of_no_trials_adds_none(url: str) -> None:
    with opened(url) as store:
        assert store.trials(store_laws.create(store).study) == []


def test_unknown_names_list_the_known(sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        with pytest.raises(StoreError, match=r"there is no study 'adlt' in sqlite:.*study\.db\. It holds none yet\."):
            store.study("adlt")
        store.create_study(make_study("adult"))
        store.create_study(make_study("moons"))
        with pytest.raises(StoreError, match=r"Did you mean adult\? It holds adult, moons\."):
            store.study("adlt")


def test_looking_changes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no database at .*study\.db\. Check `--storage`"):
        Store(sqlite_url, create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "study.db").touch()
    with pytest.raises(StoreError, match="the database must hold a study of foldtune's"):
        Store(sqlite_url, create=False)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("study.db", 0)]


def test_looking_at_postgres_creates_no_tables(postgres_url: str) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match=r"the database must hold .*, however: postgresql\+psycopg://postgres@"):
            Store(postgres_url, create=False)


def test_looking_reads_what_is_there(url: str) -> None:
    with opened(url) as store:
        store.create_study(make_study("adult"))
    with closing(Store(url, create=False)) as store:
        assert [line.name for line in store.studies()] == ["adult"]


def read_only(url: str) -> str:
    if url.startswith("sqlite"):
        return url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    if url.startswith("mysql"):
        return f"{url}&init_command=SET SESSION TRANSACTION READ ONLY"
    return f"{url}%20-cdefault_transaction_read_only%3Don"


def test_a_read_only_database_is_read_and_not_written(url: str) -> None:
    with opened(url) as store:
        lease = store_laws.create(store, make_trial(0))
    with closing(Store(read_only(url))) as store:
        assert [trial.number for trial in store.trials(lease.study)] == [0]
        with pytest.raises(
            StoreError, match=r"the database must be writable, however: (?i:.*read[- ]?only.*)\. Check the rights"
        ):
            store.record(lease, Barrier((make_report(0, 1),), (make_trial(0, epochs=1),)))
        assert store_laws.snapshot(store, lease.study) == [(0, 0, 0)]


def test_a_read_only_database_gets_no_tables(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    with pytest.raises(StoreError, match="the database must be writable"):
        Store(read_only(sqlite_url))
    assert (tmp_path / "study.db").stat().st_size == 0


def test_missing_tables_are_named(url: str) -> None:
    with opened(url) as store:
        with store.engine.begin() as connection:
            views.drop(connection)
            connection.execute(text("DROP TABLE foldtune_curves"))
        uuid = store_laws.create(store, make_trial(0)).study
        with pytest.raises(StoreError, match="foldtune's tables must be those of this version"):
            store.curves(uuid, 0)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM foldtune_curves WHERE epoch = 1",
        "UPDATE foldtune_curves SET losses = '[1, 2]'",
        "UPDATE foldtune_curves SET losses = '[{}, 1, 2]'",
        'UPDATE foldtune_curves SET losses = \'["1", "2", "3"]\'',
        "UPDATE foldtune_curves SET scores = '[[1, 2], [1, 2], [1]]'",
        "UPDATE foldtune_curves SET scores = '[[[1], 2], [1, 2], [1, 2]]' WHERE epoch = 2",
    ],
)
def test_a_curve_with_a_hole_is_refused(damage: str, url: str) -> None:
    with opened(url) as store:
        lease = store_laws.create(store, make_trial(0))
        store.record(lease, Barrier((make_report(0, 1), make_report(0, 2))))
        with store.engine.begin() as connection:
            connection.execute(text(damage))
        with pytest.raises(
            StoreError, match=r"must have every epoch, and 3 folds and 2 metrics in each, however: [12] rows"
        ):
            store.curves(lease.study, 0)


@pytest.mark.parametrize("damage", ["params = '{\"a\":'", 'params = \'{"a": {"$float": []}}\''])
def test_damaged_json_is_refused(damage: str, url: str) -> None:
    with opened(url) as store:
        uuid = store_laws.create(store, make_trial(0)).study
        with store.engine.begin() as connection:
            connection.execute(text("UPDATE foldtune_trials SET params = :damage"), {"damage": damage})
        with pytest.raises(StoreError, match="stored JSON must be whole"):
            store.trials(uuid)


def test_a_damaged_array_is_refused(sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        uuid = store_laws.create(store, make_finished(0, 0.5)).study
        with store.engine.begin() as connection:
            connection.execute(text("UPDATE foldtune_trials SET scores = substr(scores, 1, 40)"))
        with pytest.raises(StoreError, match=r"a stored array must be whole, however: 40 bytes"):
            store.trials(uuid)


def test_what_cannot_be_stored_is_refused_with_its_place(url: str) -> None:
    bad: TrialRecord = make_trial(0, config={"model": {"layers": [1, {2}]}})
    with opened(url) as store:
        lease = store_laws.create(store, make_trial(0), make_trial(1))
        stood = store_laws.contents(store, lease.study)
        with pytest.raises(StoreError, match=r"^model\.layers\.1: only text, .* can be stored, however: \{2\} \(set\)"):
            store.record(lease, Barrier(asked=(make_trial(1, epochs=1), bad)))
        naive = make_trial(0, started_at=make_study().created_at.replace(tzinfo=None))
        with pytest.raises(StoreError, match=r"^a stored time must have a time zone, however: 2026-01-02"):
            store.record(lease, Barrier(asked=(naive,)))
        assert store_laws.contents(store, lease.study) == stood
