"""Opening a study: created, continued, or refused with the difference shown."""

from contextlib import ExitStack, closing
from dataclasses import replace
from tempfile import TemporaryDirectory

import optuna
import pytest
from optuna.storages import RDBStorage

from foldtune.errors import ResumeError
from foldtune.search import optuna_copy
from foldtune.search.loop import Search
from foldtune.search.place import this_place
from foldtune.search.plan import Plan, make_plan
from foldtune.search.study import open_study
from foldtune.spec.load import load_spec
from foldtune.store.store import Store
from foldtune.testing.search_laws import TablePool, make_table, make_table_plan, opened_study, search_table

TABLE = make_table(0, trials=4, epochs=2)


@pytest.fixture
def plan() -> Plan:
    return make_table_plan(TABLE, {"cohort": None})


def test_trial_0_is_the_defaults_and_the_enqueued_come_next(sqlite_url: str) -> None:
    with opened_study(sqlite_url, make_table_plan(TABLE, {"enqueue": [{"model.d_block": 5}]})) as study:
        study.reserve(3)
        trials = [study.ask(number) for number in study.reserved]
    assert [trial.origin for trial in trials] == ["default", "enqueued", "sampled"]
    assert trials[0].params == {"model.d_block": 10, "optimizer.lr": 1e-3}  # the middle; SGD's own
    assert trials[1].params == {"model.d_block": 5, "optimizer.lr": 1e-3}


def test_the_first_five_trials_are_exempt(sqlite_url: str) -> None:
    with opened_study(sqlite_url, make_table_plan(TABLE, {"trials": 7})) as study:
        study.reserve(7)
        assert [study.ask(number).exempt for number in study.reserved] == [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ("engine", "workers", "cohort"),
    [("lockstep", 3, 3), ("lockstep", 0, 1), ("packed", 3, 8), ("auto", 0, 8), ("auto", 11, 11)],
)
def test_a_new_study_trains_a_trial_per_process_at_once_or_enough_for_packs(
    sqlite_url: str, engine: str, workers: int, cohort: int
) -> None:
    plan = make_table_plan(TABLE, {"cohort": None, "engine": engine})
    for count in (workers, 1, 0):
        with closing(Store(sqlite_url)) as store, closing(open_study(plan, store, workers=count)) as study:
            assert study.cohort == cohort


def test_the_engine_is_fixed_when_the_study_is_created(sqlite_url: str, plan: Plan) -> None:
    packed = _changed(plan, ["search.engine=packed"])
    for asked in (packed, plan):  # a file that does not say goes on as it began
        with opened_study(sqlite_url, asked) as study:
            assert study.setup("cpu").engine == "packed"
            assert study.record.spec["search"]["engine"] == "packed"
    message = 'command line: search.engine: the stored study has "packed", however: "lockstep".'
    with (
        pytest.raises(ResumeError, match=message),
        opened_study(sqlite_url, _changed(plan, ["search.engine=lockstep"])),
    ):
        pass


def test_another_search_loop_may_create_the_study_meanwhile(
    sqlite_url: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_free = optuna_copy.check_free

    def meanwhile(store: Store, name: str) -> None:
        monkeypatch.setattr(optuna_copy, "check_free", check_free)
        with opened_study(sqlite_url, plan):
            check_free(store, name)

    monkeypatch.setattr(optuna_copy, "check_free", meanwhile)
    with opened_study(sqlite_url, plan) as study:
        assert len(study.store.studies()) == 1


def test_the_default_engine_may_be_named(sqlite_url: str, plan: Plan) -> None:
    for asked in (plan, _changed(plan, ["search.engine=auto"])):
        with opened_study(sqlite_url, asked) as study:
            assert study.setup("cpu").engine == "auto"


def test_the_file_may_name_the_cohort(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE, {"cohort": 4})
    with closing(Store(sqlite_url)) as store, closing(open_study(plan, store, workers=2)) as study:
        assert study.cohort == 4


def test_a_study_with_another_definition_is_refused_with_every_difference(sqlite_url: str, plan: Plan) -> None:
    search_table(sqlite_url, plan, TablePool(TABLE))
    before = _stored(sqlite_url, plan)
    other = _changed(plan, ["training.batch_size=32", "search.seed=1", "search.trials=9"])
    with pytest.raises(ResumeError) as caught:
        search_table(sqlite_url, other, TablePool(TABLE))
    lines = str(caught.value).splitlines()
    assert lines[0] == "command line: training.batch_size: the stored study has 64, however: 32."
    assert lines[1].startswith("command line: search.seed: the stored study has (absent), however: 1.")
    assert "Nothing was changed." in lines[-1] and "--fork NAME" in lines[-1]
    assert _stored(sqlite_url, plan) == before


def test_other_data_are_refused(sqlite_url: str, plan: Plan) -> None:
    search_table(sqlite_url, plan, TablePool(TABLE))
    with pytest.raises(ResumeError, match=r"data: the stored study was made on other data \(60 rows, sha256 \w{12}\)"):
        search_table(sqlite_url, replace(plan, data_fingerprint="0" * 64), TablePool(TABLE))


def test_other_folds_are_refused(sqlite_url: str, plan: Plan) -> None:
    search_table(sqlite_url, plan, TablePool(TABLE))
    with pytest.raises(ResumeError, match="validation: the stored study has other folds"):
        search_table(sqlite_url, replace(plan, folds=plan.folds[::-1]), TablePool(TABLE))


def test_the_budget_may_change_and_is_stored(sqlite_url: str, plan: Plan) -> None:
    search_table(sqlite_url, plan, TablePool(TABLE))
    search_table(
        sqlite_url, _changed(plan, ["search.trials=2", "search.timeout=5m", "search.patience=3"]), TablePool(TABLE)
    )
    with closing(Store(sqlite_url)) as store:
        stored = store.study(plan.spec.name).spec["search"]
    assert (stored["trials"], stored["timeout"], stored["patience"], stored["cohort"]) == (2, "5m", 3, 8)


def _changed(plan: Plan, overrides: list[str]) -> Plan:
    return make_plan(load_spec(plan.file.tree, overrides=overrides))


def _stored(url: str, plan: Plan) -> tuple[object, ...]:
    with closing(Store(url)) as store:
        record = store.study(plan.spec.name)
        return record.spec, record.data_fingerprint, [trial.number for trial in store.trials(record.uuid)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_search_loop_to_leave_completes_optunas_copy(url: str, order: tuple[int, int]) -> None:
    """The oldest copies; here it never looks again while the other one searches."""
    plan = make_table_plan(TABLE)
    with ExitStack() as stack, TemporaryDirectory() as folder:
        stores = [stack.enter_context(closing(Store(url))) for _ in order]
        studies = [open_study(plan, store, workers=1, artifacts=folder) for store in stores]
        assert Search(studies[1], TablePool(TABLE)).run() == "budget"
        for index in order:
            studies[index].leave()
            studies[index].close()
    storage = RDBStorage(url)
    trials = optuna.load_study(study_name=plan.spec.name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * len(TABLE)


def test_a_lease_is_kept_only_where_nobody_else_can_copy(url: str) -> None:
    plan = make_table_plan(TABLE)
    with opened_study(url, plan) as study:
        seen = study.tick
        other = study.store.acquire(study.record.uuid, this_place(), 60.0)
        study.reserve(1)
        assert study.store.release(other, seen)  # another lease is left
        assert not study.store.release(study.lease, seen) and study.store.leads(study.lease)
        assert study.store.release(study.lease, study.tick)
