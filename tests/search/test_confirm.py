"""The best trials are trained again: which, on what, once each, and whatever happens meanwhile."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldtune.errors import DataError, LeaseLostError, StoreError
from foldtune.search.confirm import Confirmation
from foldtune.search.finalists import Reserve, wanted
from foldtune.search.loop import Search
from foldtune.search.plan import Plan, make_plan
from foldtune.search.status import Status
from foldtune.spec.load import load_spec
from foldtune.store.records import TrialRecord
from foldtune.testing.confirm_laws import (
    check_confirmation_deaths,
    check_confirmed,
    check_same_repeats,
    confirm_table,
)
from foldtune.testing.search_laws import (
    TablePool,
    check_same_trials,
    make_table,
    make_table_plan,
    opened_study,
    renamed,
    search_table,
)
from foldtune.testing.store_laws import make_study
from foldtune.values import EpochReport, Failure

TABLE = make_table(0, trials=10, epochs=4)
FRESH = [make_table(seed, trials=10, epochs=4) for seed in (1, 2)]
QUICK = {"sampler": {"use": "RandomSampler"}}


@pytest.mark.parametrize("cohort", [1, 3])
def test_the_best_trials_are_trained_on_fresh_partitions(sqlite_url: str, cohort: int) -> None:
    check_confirmed(sqlite_url, make_table_plan(TABLE, {"cohort": cohort, **QUICK}), TABLE, FRESH, finalists=2)


def test_at_most_ten_trials_are_confirmed_partition_by_partition() -> None:
    record = replace(make_study(), directions=("maximize",), spec={"search": {"confirm": 3}})
    trials = [_ended(number) for number in range(60)]
    asked = wanted(record, trials)
    assert asked == [(trial, repeat) for repeat in (1, 2, 3) for trial in range(39, 29, -1)]
    assert wanted(record, trials[:14]) == [(trial, repeat) for repeat in (1, 2, 3) for trial in (13, 12)]


def test_deaths_at_any_write_change_nothing(url: str) -> None:
    rng = random.Random(0)
    steps = [rng.randrange(1, 30) for _ in range(8)]
    check_confirmation_deaths(url, make_table_plan(TABLE, {"cohort": 3, **QUICK}), TABLE, FRESH, steps)


def test_interruptions_change_nothing_and_are_told(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE, QUICK)
    _, whole, repeats = confirm_table(sqlite_url, plan, _pool())
    parts = renamed(plan)
    search_table(sqlite_url, parts, TablePool(TABLE))
    outcomes = []
    for count in (0, 1, 3, 4):
        left = iter([False] * (count + 1))  # the search asks once
        done, *_ = confirm_table(sqlite_url, parts, _pool(), lambda left=left: next(left, True))  # type: ignore[misc]
        outcomes.append(done)
    done, result, again = confirm_table(sqlite_url, parts, _pool())
    assert (outcomes, done) == ([False] * 4, True)
    check_same_repeats(repeats, again)
    check_same_trials(whole.trials, result.trials)


def test_a_grown_budget_trains_only_what_is_missing(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE, QUICK)
    _, _, repeats = confirm_table(sqlite_url, _with_search(plan, trials=6), _pool())
    assert len({one.trial for one in repeats}) == 1
    pool = _pool()
    _, result, grown = confirm_table(sqlite_url, plan, pool)
    best = sorted((trial.values[0], trial.number) for trial in result.trials if trial.values)[:2]
    known = {(one.trial, one.repeat) for one in repeats}
    wanted = {(trial, repeat) for _, trial in best for repeat in (1, 2)}
    assert {again[:2] for again in pool.again} == wanted - known
    assert {(one.trial, one.repeat) for one in grown} == wanted | known
    pool = _pool()
    assert confirm_table(sqlite_url, plan, pool)[0] and (pool.read, pool.again) == ([], [])


def test_more_partitions_may_be_asked_for_later(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE, {"confirm": 0, **QUICK})
    done, _, repeats = confirm_table(sqlite_url, plan, _pool())
    assert done and repeats == []
    more = make_plan(load_spec(plan.file.tree, overrides=["search.confirm=2"]))
    assert [one.repeat for one in confirm_table(sqlite_url, more, _pool())[2]] == [1, 2, 1, 2]


@pytest.mark.parametrize("changes", [{"search": {"confirm": 0}}, {"objective": ["log_loss", "accuracy"]}], ids=str)
def test_nothing_is_confirmed_where_it_is_not_asked_for(sqlite_url: str, changes: dict[str, Any]) -> None:
    plan, pool = make_table_plan(TABLE, **changes), _pool()
    with opened_study(sqlite_url, plan) as study:
        if len(study.record.directions) == 1:
            Search(study, pool).run()
        assert Confirmation(study, pool).run() and pool.again == []


def test_fewer_than_five_trials_are_not_confirmed(sqlite_url: str) -> None:
    pool = _pool()
    assert confirm_table(sqlite_url, _with_search(make_table_plan(TABLE, QUICK), trials=4), pool)[2] == []
    assert pool.again == []


def test_a_study_from_before_there_was_confirmation_is_left_as_it_is(sqlite_url: str) -> None:
    plan = make_table_plan(TABLE, QUICK)
    with opened_study(sqlite_url, plan) as study:
        old = {
            key: value for key, value in study.record.spec["search"].items() if key not in ("confirm", "out_of_fold")
        }
        study.store.update_spec(study.record.uuid, {**study.record.spec, "search": old})
    assert confirm_table(sqlite_url, plan, _pool())[2] == []
    with opened_study(sqlite_url, plan) as study:
        assert study.keeps == "none" and not study.setup("cpu").keeps_answers


class FailingPool(TablePool):
    """A trial that fails in its second epoch on the first fresh partition."""

    trial = -1

    def step(self) -> list[EpochReport]:
        return [self._broken(report) if self._fails(report) else report for report in super().step()]

    def _fails(self, report: EpochReport) -> bool:
        return (report.trial, report.repeat, report.epoch) == (self.trial, 1, 2)

    def _broken(self, report: EpochReport) -> EpochReport:
        del self.epochs[report.trial]
        nothing = np.full_like(report.scores, np.nan)
        failure = Failure("diverged", "a loss is nan", "")
        return EpochReport(report.trial, 2, nothing[:, 0], nothing, 0.0, failure=failure, repeat=1)


def test_a_failure_is_stored_and_takes_the_trial_out_until_it_is_tried_again(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = make_table_plan(TABLE, QUICK)
    _, _, whole = confirm_table(sqlite_url, plan, _pool())
    first, last = whole[0].trial, whole[2].trial
    pool = FailingPool(TABLE, fresh=FRESH)
    pool.trial, failing = first, renamed(plan)
    caplog.clear()
    done, _, repeats = confirm_table(sqlite_url, failing, pool)
    assert done
    assert [(one.trial, one.repeat, one.state, one.epochs) for one in repeats] == [
        (first, 1, "failed", 1),
        (last, 1, "complete", 4),
        (last, 2, "complete", 4),
    ]
    assert repeats[0].failure == Failure("diverged", "a loss is nan", "")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    with opened_study(sqlite_url, failing, retry_failed=True) as study:
        assert Confirmation(study, _pool()).run()
        check_same_repeats(whole, study.store.repeats(study.record.uuid))
    rule = "cannot be confirmed and is left out of the ranking: on partition 1 it failed (diverged): a loss is nan"
    assert said == [f"trial {first} {rule}"]


def test_a_partition_that_does_not_suit_the_data_is_done_without(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Plan.partition

    def partition(plan: Plan, repeat: int) -> Any:
        if repeat == 1:
            raise DataError.of(
                ("validation",), "`StratifiedGroupKFold` must leave training rows of every class", "fold 2"
            )
        return real(plan, repeat)

    monkeypatch.setattr(Plan, "partition", partition)
    plan = make_table_plan(TABLE, QUICK)
    done, _, repeats = confirm_table(sqlite_url, plan, _pool())
    assert done and [(one.repeat, one.state) for one in repeats] == [(1, "pruned"), (2, "complete")] * 2
    monkeypatch.setattr(Plan, "partition", None)
    assert confirm_table(sqlite_url, plan, _pool())[0], "nothing is left to be tried"
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert said[0].startswith("nothing is confirmed on partition 1, which does not suit the data: validation: ")


@pytest.mark.parametrize("confirm", [10**9, "x", None, -1, {"a": 1}], ids=str)
def test_a_stored_study_that_asks_for_what_no_file_can_is_refused(sqlite_url: str, confirm: object) -> None:
    plan = make_table_plan(TABLE, QUICK)
    with opened_study(sqlite_url, plan) as study:
        spec = {**study.record.spec, "search": {**study.record.spec["search"], "confirm": confirm}}
        study.store.update_spec(study.record.uuid, spec)
    with pytest.raises(StoreError, match=r"search\.confirm: this must be "), opened_study(sqlite_url, plan):
        pass
    with pytest.raises(StoreError, match=r"search\.confirm: this must be "):
        wanted(replace(make_study(), spec=spec), [])


def test_fresh_partitions_have_seeds_of_their_own_and_those_without_seeds_stay() -> None:
    plan = make_table_plan(TABLE, QUICK)
    one, other = plan.partition(1), plan.partition(2)
    assert not _same_rows(one, other) and not _same_rows(one, plan.folds)
    assert _same_rows(one, plan.partition(1))
    for node in (
        {"use": "KFold", "n_splits": 3, "shuffle": True, "random_state": 7},
        {"use": "KFold", "shuffle": False},
    ):
        fixed = make_table_plan(TABLE, validation=node)
        assert _same_rows(fixed.partition(1), fixed.folds)


def test_progress_counts_confirmations(sqlite_url: str) -> None:
    told: list[Status] = []
    with opened_study(sqlite_url, make_table_plan(TABLE, QUICK)) as study:
        pool = _pool()
        Search(study, pool, watch=told.append).run()
        assert {status.confirming for status in told} == {None}
        told.clear()
        Confirmation(study, pool, watch=told.append).run()
    assert sorted({status.confirming for status in told if status.confirming}) == [(0, 4), (2, 4), (4, 4)]
    assert {trial.repeat for status in told for trial in status.running} == {1, 2}
    assert told[-1].running == () and told[-1].finished == 10
    lines = [line for status in told for line in status.news]
    assert len(lines) == 4 and all(" on partition " in line and " complete after 4 epochs: " in line for line in lines)


class SlowPool(TablePool):
    """Each epoch takes 2 seconds of the clock for each trial in it."""

    def __init__(self, *arguments: Any, now: list[float], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.now = now

    def step(self) -> list[EpochReport]:
        reports = super().step()
        self.now[0] += 2.0 * len(reports)
        return [replace(report, seconds=2.0) for report in reports]


@pytest.mark.parametrize(("confirm", "ended", "spent"), [(0, 25, 100.0), (2, 19, 100.0)])
def test_the_time_that_confirmation_needs_is_kept_back(
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    confirm: int,
    ended: int,
    spent: float,
) -> None:
    """Trials of 4 s one after the other: 19 of them, then 3 twice."""
    caplog.set_level("INFO", logger="foldtune")
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    table, *fresh = (make_table(seed, trials=30, folds=2, epochs=2) for seed in range(3))
    search = {"cohort": 1, "confirm": confirm, "timeout": 100.0, "pruner": {"use": "NopPruner"}, **QUICK}
    pool = SlowPool(table, fresh=fresh, now=now)
    done, result, repeats = confirm_table(sqlite_url, make_table_plan(table, search), pool)
    assert (done, result.ending, result.finished, len(repeats)) == (True, "timeout", ended, confirm * 3)
    assert now[0] == spent
    text = "no new trials in the last 24 s of `search.timeout`: to confirm the best takes about 24 s"
    assert [record.getMessage() for record in caplog.records if "timeout" in record.getMessage()] == [text][
        : confirm // 2
    ]


def test_fewer_finalists_than_slots_take_longer() -> None:
    record = replace(make_study(), spec={"search": {"confirm": 2}})
    trials = dict(enumerate(_ended(number, seconds=5.0) for number in range(10)))
    assert Reserve(record, trials, cohort=2).needed_s(10, pace=0.5) == 2 * 2 * 5.0 * 0.5
    assert Reserve(record, trials, cohort=8).needed_s(10, pace=0.125) == 2 * 2 * 5.0 * 0.125 * 4
    assert Reserve(record, dict(enumerate(map(_ended, range(4)))), cohort=8).needed_s(4, pace=1.0) == 0.0


def test_the_younger_search_loop_waits_and_goes_on_when_the_older_one_dies(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foldtune.search.confirm.TAKEN_OVER_EVERY_S", 0.0)
    plan = make_table_plan(TABLE, QUICK)
    _, _, whole = confirm_table(sqlite_url, renamed(plan), _pool())
    search_table(sqlite_url, plan, TablePool(TABLE))
    with opened_study(sqlite_url, plan, str(tmp_path)) as dying, opened_study(sqlite_url, plan, str(tmp_path)) as study:
        lives, seen = [True, True], list[Any]()
        monkeypatch.setattr("foldtune.search.study.is_dead", lambda place: not lives)
        pools = [TablePool(TABLE, artifacts=each.artifacts, fresh=FRESH) for each in (dying, study)]
        theirs = Confirmation(dying, pools[0], saved_every_s=0)
        assert theirs._look() and theirs._leads()
        theirs._begin()
        for _ in range(3):
            theirs._refill()
            theirs._train()

        def watch(status: Status) -> None:
            seen.append((status.confirming, status.running == ()))
            lives.clear()

        assert Confirmation(study, pools[1], watch=watch).run()
        with pytest.raises(LeaseLostError):
            theirs._save()
        repeats = study.store.repeats(study.record.uuid)
    check_same_repeats(whole, repeats)
    assert seen[0] == ((0, 4), True), "it waited"
    begun = {again[:2] for again in pools[0].again}
    assert len(begun) == 2 and {again for again in pools[1].again if again[:2] in begun} == {
        (trial, repeat, epoch) for trial, repeat in begun for epoch in (3, 4)
    }


def test_a_younger_search_loop_leaves_when_the_older_one_is_done(sqlite_url: str, tmp_path: Path) -> None:
    plan = make_table_plan(TABLE, QUICK)
    with (
        opened_study(sqlite_url, plan, str(tmp_path)) as older,
        opened_study(sqlite_url, plan, str(tmp_path)) as younger,
    ):
        Search(older, _pool()).run()
        younger.refresh()
        late = Confirmation(younger, idle := _pool())
        assert Confirmation(older, _pool()).run() and late.run()
        assert idle.again == [] and len(late.repeats) == 4


def _ended(number: int, seconds: float = 1.0) -> TrialRecord:
    return TrialRecord(
        number,
        "complete",
        "sampled",
        False,
        {},
        {},
        {},
        seconds=seconds,
        values=(float(number % 40),),
        finished_at=datetime.now(UTC),
    )


def _pool() -> TablePool:
    return TablePool(TABLE, fresh=FRESH)


def _same_rows(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return all(np.array_equal(one.valid, other.valid) for one, other in zip(left, right, strict=True))


def _with_search(plan: Plan, **changes: Any) -> Plan:
    return make_plan(load_spec({**plan.file.tree, "search": {**plan.file.tree["search"], **changes}}))
