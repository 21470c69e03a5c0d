"""What we write into Optuna's tables is, row by row, what Optuna itself would."""

import math
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import Connection, inspect, select

from foldtune.search.optuna_copy import create_tables
from foldtune.store import optuna_rows
from foldtune.store.optuna_rows import CopiedTrial
from foldtune.store.optuna_tables import OF_TRIAL, OPTUNA, REVISION, STUDIES, TRIALS
from foldtune.store.schema import revision
from foldtune.store.store import Store

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # one hour before clocks change in Europe
PARAMS = {
    "lr": (0.5, distribution_to_json(FloatDistribution(0.0, 1.0))),
    "kind": (1.0, distribution_to_json(CategoricalDistribution(["a", None, 3]))),
}
TRIALS_OF_ALL_KINDS = [
    CopiedTrial(0, "COMPLETE", NOW, NOW, PARAMS, (math.inf,), {1: 0.25, 3: math.nan}, {"origin": "ü", "folds": [1.0]}),
    CopiedTrial(1, "PRUNED", NOW, NOW, PARAMS, (-math.inf,), {1: math.inf, 2: -math.inf}, {}),
    CopiedTrial(2, "FAIL", NOW, NOW, {}, (), {}, {"failure": "'\"\\"}),
    CopiedTrial(3, "RUNNING", NOW, None, {"lr": PARAMS["lr"]}, (), {1: 1e-300}, {"origin": "sampled"}),
]
TWO_VALUES = [CopiedTrial(0, "COMPLETE", NOW, NOW, PARAMS, (0.5, -2.0), {}, {})]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(Store(url)) as store:
        create_tables(store)
        yield store


@pytest.mark.parametrize("trials", [TRIALS_OF_ALL_KINDS, TWO_VALUES], ids=["one objective", "two objectives"])
def test_new_trials_are_the_rows_that_optuna_writes(store: Store, trials: list[CopiedTrial]) -> None:
    goals = {f"objective {at}": "MINIMIZE" for at in range(max(len(trial.values) for trial in trials))}
    with store.engine.begin() as connection:
        ours = optuna_rows.create(connection, "ours", goals)
        optuna_rows.insert_trials(connection, ours, trials)
    storage = RDBStorage(store.engine.url.render_as_string(hide_password=False))
    theirs = storage.create_new_study([StudyDirection.MINIMIZE] * len(goals), "theirs")
    storage.set_study_system_attr(theirs, optuna_rows.METRIC_NAMES, list(goals))
    read = storage.get_all_trials(ours)
    for trial in read:
        storage.create_new_trial(theirs, trial)
    storage.remove_session()
    storage.engine.dispose()
    assert [trial.number for trial in read] == [trial.number for trial in trials]
    assert [trial.datetime_start for trial in read] == [NOW.astimezone().replace(tzinfo=None)] * len(trials)
    assert [trial.values or () for trial in read] == [list(trial.values) or () for trial in trials]
    with store.engine.connect() as connection:
        assert _rows(connection, ours) == _rows(connection, theirs)


def test_a_trial_that_is_updated_is_as_one_that_is_new(store: Store) -> None:
    before = [
        CopiedTrial(trial.number, "RUNNING", NOW, None, trial.params, (), {1: 7.0, 9: 9.0}, {"origin": "old"})
        for trial in TRIALS_OF_ALL_KINDS
    ]
    after = [_with_origin(trial) for trial in TRIALS_OF_ALL_KINDS]
    with store.engine.begin() as connection:
        one, other = (optuna_rows.create(connection, name, {"a": "MAXIMIZE"}) for name in ("one", "other"))
        optuna_rows.insert_trials(connection, one, after)
        optuna_rows.insert_trials(connection, other, before)
        ids = {number: found[0] for number, found in optuna_rows.states(connection, other, range(9)).items()}
        for _ in range(2):
            optuna_rows.update_trials(connection, ids, after)
            assert _rows(connection, other) == _rows(connection, one)
        optuna_rows.delete_trials(connection, other, 2)
        assert [trial.number for trial in optuna_rows.known_trials(connection, other)] == [0, 1]
        optuna_rows.delete_study(connection, other)
        optuna_rows.delete_study(connection, one)
        assert all(connection.execute(select(table)).first() is None for table in (*OF_TRIAL, TRIALS, STUDIES))


def test_the_tables_are_of_the_revision_that_optuna_makes(store: Store) -> None:
    """A column that a later Optuna adds would be left empty: then look what it means."""
    assert revision(store.engine, "alembic_version") == REVISION
    for table in OPTUNA.sorted_tables:
        there = {column["name"] for column in inspect(store.engine).get_columns(table.name)}
        own = {name for name in there if name.endswith("_id") and name not in table.c}
        assert there - own == set(table.c.keys())
        assert len(own) <= 1


def _with_origin(trial: CopiedTrial) -> CopiedTrial:
    notes = {"origin": "new", **trial.notes}
    return CopiedTrial(**{**vars(trial), "notes": notes})


def _rows(connection: Connection, study_id: int) -> dict[str, list[str]]:
    """The rows of a study, without ids."""
    found = {"trials": connection.execute(select(TRIALS).where(TRIALS.c.study_id == study_id)).mappings().all()}
    for table in OF_TRIAL:
        of = select(TRIALS.c.number, table).join(TRIALS, TRIALS.c.trial_id == table.c.trial_id)
        found[table.name] = connection.execute(of.where(TRIALS.c.study_id == study_id)).mappings().all()
    return {name: sorted(repr(_without_ids(row)) for row in rows) for name, rows in found.items()}


def _without_ids(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.endswith("_id")}
