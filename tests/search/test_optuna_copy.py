"""What Optuna's own tools read in the database is what foldtune's rows say."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import Mock

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage, _CachedStorage
from optuna.trial import TrialState
from sqlalchemy import event, select, text

from foldtune import space
from foldtune.errors import LeaseLostError, StoreError
from foldtune.search.loop import Search
from foldtune.search.mirror import STATES
from foldtune.search.plan import Plan
from foldtune.search.process import LostWorkerError
from foldtune.search.result import StudyResult, read_result, value
from foldtune.search.run import run_study
from foldtune.store.optuna_tables import OPTUNA
from foldtune.store.store import Store
from foldtune.testing.search_laws import TablePool, make_table, make_table_plan, opened_study, search_table
from foldtune.values import TrialResult

TABLE = make_table(0, trials=9, epochs=10)


def test_optuna_reads_the_same_trials(url: str) -> None:
    plan = make_table_plan(TABLE)
    _, result = search_table(url, plan, TablePool(TABLE))
    assert {trial.state for trial in result.trials} == {"complete", "pruned"}
    _check_faithful(url, plan, result)


def test_the_dashboard_calls_objectives_by_their_names(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE)
    search_table(sqlite_url, plan, TablePool(TABLE))
    study = optuna.load_study(study_name=plan.spec.name, storage=sqlite_url)
    assert study.metric_names == [plan.metrics[0].label]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM trial_intermediate_values; UPDATE trials SET state = 'RUNNING', datetime_complete = NULL",
        "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number > 3",
        "DELETE FROM trial_values; UPDATE trials SET state = 'RUNNING', datetime_complete = NULL",
        "DELETE FROM trials WHERE number > 6",
        "",
    ],
)
def test_whatever_is_missing_is_copied_when_the_study_is_opened_again(sqlite_url: str, damage: str) -> None:
    plan = make_table_plan(TABLE)
    left = iter([False] * 20)
    search_table(sqlite_url, plan, TablePool(TABLE), lambda: next(left, True))
    with closing(Store(sqlite_url)) as store, store.engine.begin() as connection:
        for statement in filter(None, damage.split("; ")):
            connection.execute(text(statement))
    if not damage:
        with _theirs(sqlite_url) as storage:
            optuna.delete_study(study_name=plan.spec.name, storage=storage)
    _, result = search_table(sqlite_url, plan, TablePool(TABLE))
    _check_faithful(sqlite_url, plan, result)


def test_two_search_loops_that_both_copy_add_nothing_twice(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE)
    with opened_study(sqlite_url, plan) as one, opened_study(sqlite_url, plan) as other:
        Search(one, TablePool(TABLE)).run()
        for check in (False, True):
            other.store.publish(other.lease, other.copy, check=check)
            one.store.publish(one.lease, one.copy, check=check)
        result = read_result(one.store, plan.spec.name)
    _check_faithful(sqlite_url, plan, result)


def test_a_search_loop_whose_lease_was_taken_cannot_copy(url: str) -> None:
    plan = make_table_plan(TABLE)
    with opened_study(url, plan) as late, opened_study(url, plan) as other:
        Search(late, TablePool(TABLE), _interrupted_after(20)).run()
        other.store.take_over(other.lease, lambda place: True)
        before = _rows(other.store)
        with pytest.raises(LeaseLostError, match="must still hold its lease"):
            late.publisher.store.publish(late.lease, late.copy, check=False)
        assert _rows(other.store) == before
        late.leave()  # it has nothing to give back, and does not wait for ever


def test_a_copy_that_dies_anywhere_is_as_it_was_and_made_whole_by_the_next(url: str) -> None:
    """One search loop dies at every statement in turn, and another one goes on where it was."""
    plan = make_table_plan(TABLE)
    with opened_study(url, plan) as study, opened_study(url, plan) as other:
        Search(study, TablePool(TABLE), _interrupted_after(8)).run()
        study.publisher.publish(now=True)
        search = Search(study, TablePool(TABLE))
        search.study.publisher = Mock()
        search.run()
        before, deaths = _rows(other.store), 0
        while True:
            try:
                with _dying(study.store, deaths):
                    study.store.publish(study.lease, study.copy, check=True)
            except _Died:
                deaths += 1
                assert _rows(other.store) == before
            else:
                break
        assert deaths > 15 and _rows(other.store) != before
        other.store.publish(other.lease, other.copy, check=True)
        result = read_result(study.store, plan.spec.name)
    _check_faithful(url, plan, result)


def test_what_is_copied_already_is_not_written_again(sqlite_url: str) -> None:
    with opened_study(sqlite_url, make_table_plan(TABLE)) as study:
        Search(study, TablePool(TABLE)).run()
        before = _rows(study.store)
        statements: list[str] = []
        event.listen(study.store.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        study.publisher.publish(now=True)
        assert _rows(study.store) == before
        assert statements and not [text for text in statements if text.startswith(("INSERT", "UPDATE", "DELETE"))]


def test_whoever_has_seen_a_trial_fail_sees_that_it_is_tried_again(url: str) -> None:
    """Optuna's readers, its dashboard too, ask only once for a trial that has ended."""
    plan = make_table_plan(TABLE, {"trials": 6})
    with opened_study(url, plan) as study, _theirs(url) as storage:
        Search(study, TablePool(TABLE)).run()
        with study.store.engine.begin() as connection:
            connection.execute(text("UPDATE foldtune_trials SET state = 'failed' WHERE number = 2"))
            connection.execute(text("UPDATE trials SET state = 'FAIL' WHERE number = 2"))
        reader = optuna.load_study(study_name=plan.spec.name, storage=_CachedStorage(storage))
        assert reader.trials[2].state.name == "FAIL"
        study.store.retry(study.lease)
        study.publisher.publish(now=True)
        assert [trial.number for trial in reader.trials] == list(range(6))
        assert [trial.state.name == "RUNNING" for trial in reader.trials] == [number == 2 for number in range(6)]


def test_the_last_search_loop_to_leave_copies_what_others_did(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE)
    with opened_study(sqlite_url, plan) as older, opened_study(sqlite_url, plan) as younger:
        Search(younger, TablePool(TABLE)).run()
        younger.leave()
        assert older.store.is_abandoned(older.record.uuid, lambda place: False) is False
        older.leave()
        result = read_result(older.store, plan.spec.name)
    _check_faithful(sqlite_url, plan, result)


def test_a_study_that_optuna_made_is_refused_and_nothing_of_ours_is_created(url: str) -> None:
    plan = make_table_plan(TABLE)
    with _theirs(url) as storage:
        study = optuna.create_study(study_name=plan.spec.name, storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(StoreError, match="an Optuna study of that name that foldtune did not make") as caught:
        run_study(plan.file, storage=url, workers=0)
    assert caught.value.problems[0].hint == "Choose another name."
    with closing(Store(url)) as store:
        assert store.studies() == []
    with _theirs(url) as storage:
        trials = optuna.load_study(study_name=plan.spec.name, storage=storage).trials
    assert [list(trial.params) for trial in trials] == [["x"]]


def test_trials_of_another_program_are_seen(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE)
    search_table(sqlite_url, plan, TablePool(TABLE))
    with _theirs(sqlite_url) as storage:
        optuna.load_study(study_name=plan.spec.name, storage=storage).ask()
    with pytest.raises(StoreError, match="must hold foldtune's trials alone, however: another program added trial 9"):
        search_table(sqlite_url, plan, TablePool(TABLE))


def test_failures_are_visible(sqlite_url: str) -> None:
    class FailingPool(TablePool):
        def finish(self, trial: int) -> TrialResult:
            raise LostWorkerError(-9)

    plan = make_table_plan(TABLE, {"trials": 1})
    search_table(sqlite_url, plan, FailingPool(TABLE))
    with _theirs(sqlite_url) as storage:
        trial = optuna.load_study(study_name=plan.spec.name, storage=storage).trials[0]
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert trial.user_attrs["failure"] == "lost worker: the training process died with exit code -9"


def test_a_database_that_fails_in_optunas_tables_is_told_as_our_error(sqlite_url: str) -> None:
    with opened_study(sqlite_url, make_table_plan(TABLE)) as study:
        with study.store.engine.begin() as connection:
            connection.execute(text("DROP TABLE trial_intermediate_values"))
        with pytest.raises(StoreError, match="no such table: trial_intermediate_values"):
            Search(study, TablePool(TABLE)).run()


class _Died(BaseException):
    """The process dies here."""


@contextmanager
def _dying(store: Store, left: int) -> Iterator[None]:
    """Die before the next statement but so many."""
    counter = itertools.count()

    def die(*_: object) -> None:
        if next(counter) >= left:
            raise _Died

    event.listen(store.engine, "before_cursor_execute", die)
    try:
        yield
    finally:
        event.remove(store.engine, "before_cursor_execute", die)


def _interrupted_after(barriers: int) -> Callable[[], bool]:
    left = iter([False] * barriers)
    return lambda: next(left, True)


def _rows(store: Store) -> dict[str, list[Any]]:
    """Everything in Optuna's tables."""
    with store.engine.connect() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in OPTUNA.sorted_tables
        }


@contextmanager
def _theirs(url: str) -> Iterator[RDBStorage]:
    storage = RDBStorage(url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def _check_faithful(url: str, plan: Plan, result: StudyResult) -> None:
    """Parameters, distributions, values, states, and the reports at rungs and at the end."""
    with _theirs(url) as storage:
        study = optuna.load_study(study_name=plan.spec.name, storage=storage)
        directions, trials = study.directions, study.trials
    distributions = {name: space.distribution(domain) for name, domain in space.domains(plan.space).items()}
    assert [direction.name.lower() for direction in directions] == list(plan.directions)
    assert [trial.number for trial in trials] == [trial.number for trial in result.trials]
    for theirs, ours in zip(trials, result.trials, strict=True):
        assert theirs.state == STATES[ours.state]
        assert theirs.params == ours.params
        assert theirs.distributions == {name: distributions[name] for name in ours.params}
        assert theirs.value == value(ours)
        epochs = {*(epoch for epoch in (1, 3, 9) if epoch <= ours.epochs), ours.epochs}
        means = {epoch: math.fsum(TABLE[ours.number, :, epoch - 1]) / TABLE.shape[1] for epoch in epochs}
        assert theirs.intermediate_values == means
        assert ours.scores is not None
        assert np.allclose(theirs.user_attrs["folds"], ours.scores[:, 0], atol=1e-6)
