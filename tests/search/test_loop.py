"""The loop's decisions, what it stores, and that interruptions change nothing."""

import math
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, text

from foldtune.search import publisher
from foldtune.search.loop import AHEAD, Search
from foldtune.search.plan import Plan
from foldtune.search.pool import Saved
from foldtune.search.process import LostWorkerError
from foldtune.search.result import read_result
from foldtune.search.status import Status
from foldtune.store.engine import WRITING
from foldtune.store.store import Store
from foldtune.testing.search_laws import (
    TablePool,
    check_deaths,
    check_decisions,
    check_fold_order,
    check_full,
    check_interruptions,
    check_same_trials,
    decisions,
    halving,
    make_table,
    make_table_plan,
    median,
    opened_study,
    renamed,
    search_table,
)
from foldtune.values import EpochReport, Failure, Job, TrialResult

MEDIAN = {"pruner": {"use": "MedianPruner"}}


class SlowPool(TablePool):
    """Every epoch takes 15 seconds of its own clock."""

    now = 0.0

    def step(self) -> list[EpochReport]:
        SlowPool.now += 15.0
        return super().step()


@pytest.fixture
def slow_pool(monkeypatch: pytest.MonkeyPatch) -> type[SlowPool]:
    monkeypatch.setattr(SlowPool, "now", 0.0)
    monkeypatch.setattr("time.monotonic", lambda: SlowPool.now)
    return SlowPool


@pytest.mark.parametrize(("seed", "cohort"), [(0, 1), (1, 2), (2, 5)])
def test_halving_prunes_as_the_reference(sqlite_url: str, seed: int, cohort: int) -> None:
    table = make_table(seed, trials=15)
    check_decisions(sqlite_url, make_table_plan(table, {"cohort": cohort}), table, halving(table, cohort))


def test_the_reference_prunes_and_completes() -> None:
    states = [state for state, _ in halving(make_table(0), 2).values()]
    assert 3 < states.count("pruned") < 17


def test_halving_prunes_a_score_from_below(sqlite_url: str) -> None:
    table = -make_table(3)
    plan = make_table_plan(table, objective="accuracy")
    check_decisions(sqlite_url, plan, table, halving(table, 2, "maximize"), "maximize")


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12), st.integers(1, 10))
def test_halving_prunes_as_the_reference_on_any_table(
    sqlite_url: str, seed: int, cohort: int, trials: int, epochs: int
) -> None:
    table = make_table(seed, trials, 2, epochs)
    check_decisions(sqlite_url, make_table_plan(table, {"cohort": cohort}), table, halving(table, cohort))


@pytest.mark.parametrize("cohort", [1, 3])
def test_median_prunes_as_the_reference(sqlite_url: str, cohort: int) -> None:
    table = make_table(4, epochs=9)
    plan = make_table_plan(table, {"cohort": cohort, **MEDIAN})
    reference = median(table, cohort)
    assert "pruned" in [state for state, _ in reference.values()]
    check_decisions(sqlite_url, plan, table, reference)


def test_the_order_of_the_folds_changes_nothing(sqlite_url: str) -> None:
    table = make_table(5, trials=12, folds=5, epochs=9)
    table += np.random.default_rng(0).uniform(0, 1e-9, table.shape)  # sums that round
    check_fold_order(sqlite_url, make_table_plan(table), table, [3, 1, 4, 0, 2])


@pytest.mark.parametrize("search", [{}, MEDIAN, {"cohort": 8}], ids=["default", "median", "asked ahead"])
def test_interruptions_between_barriers_change_nothing(sqlite_url: str, search: dict[str, object]) -> None:
    table = make_table(6, trials=28, epochs=9)  # TPE suggests from the eleventh on
    check_interruptions(sqlite_url, make_table_plan(table, search), table, [0, 1, 7, 3, 5, 2, 4])


@pytest.mark.parametrize("cohort", [2, 8])
def test_deaths_at_any_write_change_nothing(url: str, cohort: int) -> None:
    table, rng = make_table(7, trials=9 + cohort, epochs=4), random.Random(0)
    check_deaths(url, make_table_plan(table, {"cohort": cohort}), table, [rng.randrange(1, 40) for _ in range(8)])


def test_the_budget_is_a_total(sqlite_url: str) -> None:
    table = make_table(8, trials=6, epochs=3)
    plan = make_table_plan(table)
    ending, whole = search_table(sqlite_url, plan, TablePool(table))
    assert (ending, len(whole.trials)) == ("budget", 6)
    pool = TablePool(table)
    ending, again = search_table(sqlite_url, plan, pool)
    assert (ending, len(again.trials), pool.read) == ("budget", 6, [])


def test_a_raised_budget_goes_on_as_if_it_had_been_so_from_the_start(sqlite_url: str) -> None:
    table = make_table(8, trials=8, epochs=3)
    plan = make_table_plan(table, {"cohort": 1})
    _, whole = search_table(sqlite_url, plan, TablePool(table))
    plan = renamed(plan)
    search_table(sqlite_url, _with_search(plan, trials=3), TablePool(table))
    before = _rows(sqlite_url, plan)
    _, parts = search_table(sqlite_url, plan, TablePool(table))
    check_same_trials(whole.trials, parts.trials)
    assert _rows(sqlite_url, plan)[:3] == before


def test_finished_trials_are_not_touched_by_an_interrupted_search_that_goes_on(sqlite_url: str) -> None:
    table = make_table(9, trials=9, epochs=4)
    plan = make_table_plan(table)
    left = iter([False] * 12)
    search_table(sqlite_url, plan, TablePool(table), lambda: next(left, True))
    before = _rows(sqlite_url, plan)
    finished = [number for number, row in enumerate(before) if row["finished_at"] is not None]
    assert 0 < len(finished) < len(before)
    search_table(sqlite_url, plan, TablePool(table))
    after = _rows(sqlite_url, plan)
    assert [after[number] for number in finished] == [before[number] for number in finished]


def test_patience_counts_finished_trials_after_the_best(sqlite_url: str) -> None:
    table = np.tile(np.array([3.0, 1, 2, 2, 2, 2, 2, 2])[:, None, None], (1, 3, 2))
    plan = make_table_plan(table, {"cohort": 1, "patience": 3, "pruner": {"use": "NopPruner"}})
    ending, result = search_table(sqlite_url, plan, TablePool(table))
    assert (ending, len(result.trials)) == ("patience", 5)
    assert search_table(sqlite_url, plan, TablePool(table))[0] == "patience"
    assert len(search_table(sqlite_url, _with_search(plan, patience=4), TablePool(table))[1].trials) == 6


def test_timeout_counts_over_sessions(sqlite_url: str, slow_pool: type[SlowPool]) -> None:
    table = make_table(10, trials=9, epochs=2)
    plan = make_table_plan(table, {"cohort": 1, "timeout": 100.0, "pruner": {"use": "NopPruner"}})
    left = iter([False] * 4)
    ending, result = search_table(sqlite_url, plan, slow_pool(table), lambda: next(left, True))
    assert (ending, result.finished) == ("interrupted", 2)  # 60 s
    SlowPool.now += 1e6  # nobody searched meanwhile
    ending, result = search_table(sqlite_url, plan, slow_pool(table))
    assert ending == "timeout"
    assert (result.finished, len(result.trials)) == (4, 4)  # the last one began at 90 s, and is trained to its end
    assert search_table(sqlite_url, plan, slow_pool(table))[1].finished == 4


@pytest.mark.parametrize("cohort", [1, 4])
def test_a_barrier_is_one_transaction_and_what_optuna_sees_of_it_another(sqlite_url: str, cohort: int) -> None:
    table = make_table(11, trials=8, epochs=9)
    commits: list[object] = []
    barriers = 0
    with opened_study(sqlite_url, make_table_plan(table, {"cohort": cohort})) as study:
        search = Search(study, TablePool(table))
        _refill(search)
        _when_written(study.store, lambda: commits.append(None))
        while study.running:
            _step(search)
            barriers += 1
            assert len(commits) == 2 * barriers
        assert barriers >= 9


@pytest.mark.parametrize("cohort", [2, 5])
def test_slots_that_pruning_frees_are_filled_at_the_barrier(sqlite_url: str, cohort: int) -> None:
    table = make_table(21, trials=24, epochs=9)
    pool = TablePool(table)
    _, result = search_table(sqlite_url, make_table_plan(table, {"cohort": cohort}), pool)
    assert "pruned" in [trial.state for trial in result.trials]
    asked = next(index for index, trials in enumerate(pool.steps) if len(table) - 1 in trials)
    assert {len(trials) for trials in pool.steps[: asked + 1]} == {cohort}


def test_the_next_trials_are_asked_for_while_others_train(sqlite_url: str) -> None:
    """So slots that become free need not wait for the sampler, and they begin in the order in which they were asked."""
    table = make_table(21, trials=40, epochs=27)
    ready: list[list[int]] = []

    class WatchingPool(TablePool):
        def start(self) -> None:
            ready.append(study.ready)

        def step(self) -> list[EpochReport]:
            assert len(study.ready) == 8 // AHEAD or len(study.trials) == len(table)
            return super().step()

    with opened_study(sqlite_url, make_table_plan(table, {"cohort": 8})) as study:
        pool = WatchingPool(table)
        assert Search(study, pool).run() == "budget"
    assert {len(numbers) for numbers in ready} == {0, 1, 2}, "slots took what was there"
    begun = list(dict.fromkeys(trial for trials in pool.steps for trial in trials))
    assert begun == sorted(begun)


def test_what_was_asked_ahead_waits_for_another_session_when_the_time_is_over(
    sqlite_url: str, slow_pool: type[SlowPool]
) -> None:
    table = make_table(10, trials=9, epochs=2)
    plan = make_table_plan(table, {"cohort": 4, "timeout": 20.0, "pruner": {"use": "NopPruner"}})
    ending, result = search_table(sqlite_url, plan, slow_pool(table))
    assert (ending, [trial.state for trial in result.trials]) == ("timeout", ["complete"] * 4 + ["waiting"])
    ending, result = search_table(sqlite_url, _with_search(plan, timeout=400.0), slow_pool(table))
    assert (ending, [trial.state for trial in result.trials]) == ("budget", ["complete"] * 9)


def test_a_barrier_is_stored_while_the_next_epoch_trains(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "EVERY_S", math.inf)
    done: list[str] = []

    class NotingPool(TablePool):
        def add(self, job: Job, saved: Saved | None = None) -> None:
            super().add(job, saved)
            done.append("add")

        def start(self) -> None:
            done.append("start")

        def step(self) -> list[EpochReport]:
            done.append("step")
            return super().step()

    table = make_table(11, trials=2, epochs=2)
    with opened_study(sqlite_url, make_table_plan(table, {"cohort": 1})) as study:
        search = Search(study, NotingPool(table))
        _when_written(study.store, lambda: done.append("commit"))
        search.run()
    reserved, stored = ["commit", "add"], ["start", "commit", "step"]
    assert done == [
        *reserved,
        *stored,
        *stored,
        *reserved,
        *stored,
        *stored,
        "commit",
        "commit",
        "commit",
    ]  # the last ones copy to Optuna's tables, and give the lease back


def test_optunas_tables_lag_by_a_second_at_most(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table(12, trials=2, epochs=3)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with opened_study(sqlite_url, make_table_plan(table, {"pruner": {"use": "NopPruner"}})) as study:
        search = Search(study, TablePool(table))

        def states() -> list[str]:
            with study.store.engine.connect() as connection:
                return list(connection.scalars(text("SELECT state FROM trials ORDER BY number")))

        search._refill()
        search._save(whole=False)
        assert states() == []
        now[0] = 1.0
        search._save(whole=False)
        assert states() == ["RUNNING", "RUNNING"]
        for _ in range(3):
            search._barrier(search.pool.step())
            search._save(whole=False)
        assert states() == ["RUNNING", "RUNNING"]
        now[0] = 2.0
        search._save(whole=False)
        assert states() == ["COMPLETE", "COMPLETE"]


def test_a_process_that_dies_between_an_epoch_and_its_result_fails_its_trial(sqlite_url: str) -> None:
    class LosingPool(TablePool):
        def finish(self, trial: int) -> TrialResult:
            result = super().finish(trial)
            if trial == 2:
                raise LostWorkerError(-9)
            return result

    table = make_table(13, trials=5, epochs=3)
    _, result = search_table(sqlite_url, make_table_plan(table, {"pruner": {"use": "NopPruner"}}), LosingPool(table))
    assert [trial.state for trial in result.trials] == ["complete", "complete", "failed", "complete", "complete"]
    assert result.trials[2].failure == Failure("lost worker", "the training process died with exit code -9", "")


def test_trials_that_stood_at_different_epochs_are_caught_up_together(sqlite_url: str) -> None:
    table = make_table(14, trials=30, epochs=27)
    plan = make_table_plan(table, {"cohort": 4})
    _, whole = search_table(sqlite_url, plan, TablePool(table))
    parts = renamed(plan)
    left = iter([False] * 33)
    search_table(sqlite_url, parts, TablePool(table), lambda: next(left, True))
    with opened_study(sqlite_url, parts) as study:
        stood = study.store.last_epochs(study.record.uuid)
    assert sorted(stood.values()) == [0, 1, 5, 6]
    pool = TablePool(table)
    _, result = search_table(sqlite_url, parts, pool)
    most = max(stood.values())
    joined = [[number for number, epoch in stood.items() if epoch >= most - step] for step in range(most)]
    assert pool.steps[:most] == joined
    assert len(pool.read) == len(set(pool.read))
    check_same_trials(whole.trials, result.trials)


@pytest.mark.parametrize("saved", [False, True])
def test_a_search_waits_for_others_and_takes_over_what_they_leave(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """Another loop trains two trials for a while, has reserved a third number, and dies when this one is done."""
    table = make_table(15, trials=7, epochs=9)
    plan = make_table_plan(table, {"pruner": {"use": "NopPruner"}})
    monkeypatch.setattr("foldtune.search.loop.TAKEN_OVER_EVERY_S", 0.0)
    with opened_study(url, plan, str(tmp_path)) as dying, opened_study(url, plan, str(tmp_path)) as study:
        lives = [True]
        monkeypatch.setattr("foldtune.search.study.is_dead", lambda place: not lives)
        theirs = Search(dying, TablePool(table, artifacts=dying.artifacts if saved else None), saved_every_s=0)
        theirs._refill()
        for _ in range(3):
            theirs._train()
        dying.reserve(1)
        pool, waits = TablePool(table), []

        def wait(search: Search, real: Callable[[Search], None] = Search._wait) -> None:
            waits.append(sorted(study.others))
            lives.clear()
            real(search)

        monkeypatch.setattr(Search, "_wait", wait)
        assert Search(study, pool).run() == "budget"
        result = read_result(study.store, plan.spec.name)
    assert waits == [[0, 1, 2]]
    assert decisions(result.trials) == {number: ("complete", 9) for number in range(7)}
    assert [trial.origin for trial in result.trials][:3] == ["default", "sampled", "sampled"]
    again = {(trial, epoch) for trial, _, epoch in pool.read if trial in (0, 1)}
    assert again == {(trial, epoch) for trial in (0, 1) for epoch in range(3 if saved else 1, 10)}
    _, whole = search_table(url, renamed(plan), TablePool(table))
    for one, other in zip(whole.trials[:2], result.trials, strict=False):
        check_same_trials([one], [other])


def test_a_search_that_is_interrupted_while_it_catches_up_asks_for_nothing(sqlite_url: str) -> None:
    table = make_table(14, trials=6, epochs=9)
    plan = make_table_plan(table, {"cohort": 3})
    left = iter([False] * 4)
    search_table(sqlite_url, plan, TablePool(table), lambda: next(left, True))
    before, pool = _rows(sqlite_url, plan), TablePool(table)
    left = iter([False, False, True])  # an answer that does not last
    assert search_table(sqlite_url, plan, pool, lambda: next(left, False))[0] == "interrupted"
    assert len(pool.steps) == 2 and _rows(sqlite_url, plan) == before


def test_the_longest_trial_may_fail_while_the_others_have_not_joined_yet(sqlite_url: str) -> None:
    class LosingPool(TablePool):
        def step(self) -> list[EpochReport]:
            reports = super().step()
            return [self._lost(report) if report.trial == 0 else report for report in reports]

        def _lost(self, report: EpochReport) -> EpochReport:
            del self.epochs[report.trial]
            return replace(report, failure=Failure("lost worker", "gone", ""))

    table = make_table(18, trials=6, epochs=9)
    plan = make_table_plan(table, {"cohort": 4, "pruner": {"use": "NopPruner"}})
    with opened_study(sqlite_url, plan) as study:  # 0 stands at 5 epochs, the others at 2
        search = Search(study, TablePool(table))
        study.record.spec["search"]["cohort"] = 1
        _refill(search)
        for _ in range(3):
            _step(search)
        study.record.spec["search"]["cohort"] = 4
        _refill(search)
        for _ in range(2):
            _step(search)
        assert study.store.last_epochs(study.record.uuid) == {0: 5, 1: 2, 2: 2, 3: 2}
    pool = LosingPool(table)
    _, result = search_table(sqlite_url, plan, pool)
    assert pool.steps[:6] == [[0], [], [], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]
    assert decisions(result.trials) == {0: ("failed", 5), **{number: ("complete", 9) for number in range(1, 6)}}
    assert len(pool.read) == len(set(pool.read))


def test_a_trial_that_is_lost_while_catching_up_fails_and_the_search_goes_on(sqlite_url: str) -> None:
    class LosingPool(TablePool):
        def step(self) -> list[EpochReport]:
            good = [report for report in super().step() if report.trial != 1]
            nothing = np.empty((0, 1))
            failure = Failure("lost worker", "gone", "")
            lost = [EpochReport(1, 1, nothing[:, 0], nothing, 0.0, failure=failure)] if 1 in self.epochs else []
            self.epochs.pop(1, None)
            return sorted([*good, *lost], key=lambda report: report.trial)

    table = make_table(14, trials=4, epochs=6)
    plan = make_table_plan(table)
    left = iter([False] * 3)
    search_table(sqlite_url, plan, TablePool(table), lambda: next(left, True))
    told: list[Status] = []
    with opened_study(sqlite_url, plan) as study:
        Search(study, LosingPool(table), watch=told.append).run()
        states = [trial.state for trial in study.trials.values()]
    assert states == ["complete", "failed", "complete", "complete"]
    news = [line for status in told for line in status.news]
    assert news.count("trial 1 failed after 3 epochs: lost worker: gone") == 1


def test_packs_stay_full_while_bad_trials_are_pruned(sqlite_url: str) -> None:
    table = make_table(17, trials=60, epochs=27)
    check_full(sqlite_url, make_table_plan(table, {"cohort": 8}), table)


def test_a_cohort_of_1_trains_one_trial_after_the_other(sqlite_url: str) -> None:
    table, pool = make_table(17, trials=8, epochs=9), TablePool(make_table(17, trials=8, epochs=9))
    search_table(sqlite_url, make_table_plan(table, {"cohort": 1}), pool)
    assert {len(trials) for trials in pool.steps} == {1}
    assert [trials[0] for trials in pool.steps] == sorted(trials[0] for trials in pool.steps)


class PackedPool(TablePool):
    """Trial 0 trains in lockstep for a reason of its own, odd trials for another one, the others as a pack."""

    def step(self) -> list[EpochReport]:
        return [self._with_engine(report) for report in super().step()]

    def _with_engine(self, report: EpochReport) -> EpochReport:
        if report.trial > 0 and report.trial % 2 == 0:
            return replace(report, engine="packed")
        reason = "no kernel" if report.trial % 2 else "one fold"
        return replace(report, reason=reason if report.epoch == 1 else None)


def test_the_engine_of_each_trial_is_stored_and_each_reason_said_once_a_session(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="foldtune")
    table = make_table(19, trials=6, epochs=4)
    plan = make_table_plan(table, {"cohort": 4})
    left = iter([False, False])
    search_table(sqlite_url, plan, PackedPool(table), lambda: next(left, True))
    reasons = [
        "trial 0 trains with the lockstep engine: one fold",
        "trial 1 trains with the lockstep engine: no kernel",
    ]
    assert _said(caplog) == reasons
    caplog.clear()
    _, result = search_table(sqlite_url, plan, PackedPool(table))
    assert _said(caplog) == reasons
    assert [trial.engine for trial in result.trials] == [
        "lockstep", "lockstep", "packed", "lockstep", "packed", "lockstep"
    ]  # fmt: skip


def test_a_lost_trial_keeps_its_engine(sqlite_url: str) -> None:
    class LosingPool(PackedPool):
        def step(self) -> list[EpochReport]:
            return [self._lost(report) if report.epoch == 2 else report for report in super().step()]

        def _lost(self, report: EpochReport) -> EpochReport:
            del self.epochs[report.trial]
            return EpochReport(
                report.trial, 1, report.losses, report.scores, 0.0, failure=Failure("lost worker", "gone", "")
            )

    table = make_table(20, trials=3, epochs=3)
    _, result = search_table(sqlite_url, make_table_plan(table), LosingPool(table))
    assert [trial.engine for trial in result.trials] == ["lockstep", "lockstep", "packed"]
    assert [trial.state for trial in result.trials] == ["failed"] * 3


def test_an_epoch_that_comes_out_otherwise_when_trained_again_is_said(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_table(15, trials=2, epochs=6)
    plan = make_table_plan(table)
    left = iter([False] * 3)
    search_table(sqlite_url, plan, TablePool(table), lambda: next(left, True))
    search_table(sqlite_url, plan, TablePool(table))
    assert _said(caplog) == []
    other = renamed(plan)
    left = iter([False] * 3)
    search_table(sqlite_url, other, TablePool(table), lambda: next(left, True))
    table[1, 0, 1] += 1e-9
    search_table(sqlite_url, other, TablePool(table))
    said = "trial 1: epoch 2, trained again, differs from what is stored (another kind of machine?)"
    assert _said(caplog) == [said]


def test_watch_is_told_of_every_barrier_and_of_every_end_once(sqlite_url: str) -> None:
    table = make_table(16, trials=7, epochs=3)
    told: list[Status] = []
    with opened_study(sqlite_url, make_table_plan(table)) as study:
        Search(study, TablePool(table), watch=told.append).run()
    assert [status.finished for status in told] == sorted(status.finished for status in told)
    news = [line for status in told for line in status.news]
    assert sorted(line.split()[1] for line in news) == [str(number) for number in range(7)]
    assert told[-1].running == () and told[-1].remaining_s == 0
    assert max(len(status.running) for status in told) == 2


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "foldtune"]


def _with_search(plan: Plan, **changes: Any) -> Plan:
    spec = plan.spec.model_copy(update={"search": plan.spec.search.model_copy(update=changes)})
    return replace(plan, spec=spec, tree={**plan.tree, "search": {**plan.tree["search"], **changes}})


def _refill(search: Search) -> None:
    search._refill()
    search._save()


def _step(search: Search) -> None:
    search._barrier(search.pool.step())
    search._save()


def _rows(url: str, plan: Plan) -> list[dict[str, Any]]:
    """A study's rows in the table of trials, as the database has them."""
    query = "SELECT t.* FROM foldtune_trials t JOIN foldtune_studies s ON s.id = t.study_id WHERE s.name = :name"
    with closing(Store(url)) as store, store.engine.connect() as connection:
        rows = connection.execute(text(query), {"name": plan.spec.name}).mappings()
        return [{key: value for key, value in row.items() if key not in ("lease", "tick")} for row in rows]


def _when_written(store: Store, told: Callable[[], None]) -> None:
    """Be told of every transaction that may write."""

    @event.listens_for(store.engine, "commit")
    def tell(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITING):
            told()
