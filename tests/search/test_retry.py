"""Failed trials are tried again: the same number, the same parameters, and why they failed before is kept."""

from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage

from foldtune.search.loop import Search
from foldtune.search.mirror import INFEASIBLE, STATES
from foldtune.search.plan import Plan
from foldtune.search.result import StudyResult, read_result
from foldtune.search.study import open_study
from foldtune.store.retrying import earlier_failures
from foldtune.store.store import Store
from foldtune.testing.search_laws import TablePool, make_table, make_table_plan
from foldtune.values import EpochReport, Failure, FailureKind, Floats

TABLE = make_table(1, trials=9, epochs=9)


class FailingPool(TablePool):
    """Trials fail after two epochs."""

    def __init__(self, table: Floats, failing: dict[int, FailureKind]) -> None:
        super().__init__(table)
        self.failing = failing

    def step(self) -> list[EpochReport]:
        return [self._failed(report) for report in super().step()]

    def _failed(self, report: EpochReport) -> EpochReport:
        if report.trial not in self.failing or report.epoch < 3:
            return report
        del self.epochs[report.trial]
        failure = Failure(self.failing[report.trial], "no luck", "Traceback:\n  here")
        nothing = np.full((len(report.losses), 2), np.nan)
        return EpochReport(report.trial, 3, nothing[:, 0], nothing[:, 1:], 0.0, failure=failure)


def search(
    url: str, plan: Plan, folder: Path, failing: dict[int, FailureKind], *, retry: bool = False, barriers: int = 10**6
) -> StudyResult:
    left = iter(range(barriers))
    with (
        closing(Store(url)) as store,
        closing(open_study(plan, store, workers=1, artifacts=str(folder), retry_failed=retry)) as study,
    ):
        Search(study, FailingPool(TABLE, failing), interrupted=lambda: next(left, None) is None).run()
        return read_result(store, plan.spec.name)


def check_copy(url: str, plan: Plan, result: StudyResult) -> None:
    storage = RDBStorage(url)
    trials = optuna.load_study(study_name=plan.spec.name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    assert [(trial.state, trial.params) for trial in trials] == [
        (STATES[trial.state], trial.params) for trial in result.trials
    ]


@pytest.mark.parametrize("cohort", [1, 3])
def test_failed_trials_are_trained_anew(sqlite_url: str, tmp_path: Path, cohort: int) -> None:
    plan = make_table_plan(TABLE, {"cohort": cohort, "pruner": {"use": "NopPruner"}})
    before = search(sqlite_url, plan, tmp_path, {1: "user code", 4: "out of memory", 8: "diverged"})
    assert [trial.number for trial in before.trials if trial.state == "failed"] == [1, 4, 8]
    assert [trial.number for trial in before.trials if INFEASIBLE in trial.attrs] == [4]
    check_copy(sqlite_url, plan, before)
    after = search(sqlite_url, plan, tmp_path, {4: "user code"}, retry=True)
    check_copy(sqlite_url, plan, after)
    assert [trial.params for trial in after.trials] == [trial.params for trial in before.trials]
    assert [trial.state for trial in after.trials] == ["failed" if n == 4 else "complete" for n in range(9)]
    kinds = [[failure["kind"] for failure in earlier_failures(trial.attrs)] for trial in after.trials]
    assert kinds == [[], ["user code"], [], [], ["out of memory"], [], [], [], ["diverged"]]
    assert INFEASIBLE not in after.trials[4].attrs
    with closing(Store(sqlite_url)) as store:
        for trial in after.trials:
            scores = store.curves(after.record.uuid, trial.number).scores
            assert np.array_equal(scores[:, :, 0], TABLE[trial.number].T[: trial.epochs])


def test_without_the_wish_nothing_is_tried_again(sqlite_url: str, tmp_path: Path) -> None:
    plan = make_table_plan(TABLE)
    search(sqlite_url, plan, tmp_path, {1: "user code"})
    assert search(sqlite_url, plan, tmp_path, {}).trials[1].state == "failed"


def test_a_retry_that_is_interrupted_goes_on(sqlite_url: str, tmp_path: Path) -> None:
    """Pruners compare attempts of their own: those of halving note in a trial how far it came."""
    plan = make_table_plan(TABLE, {"cohort": 2})
    failing: dict[int, FailureKind] = dict.fromkeys((0, 2, 3, 6), "user code")
    search(sqlite_url, plan, tmp_path, failing)
    search(sqlite_url, plan, tmp_path, {}, retry=True, barriers=4)
    result = search(sqlite_url, plan, tmp_path, {})
    assert {trial.state for trial in result.trials} <= {"complete", "pruned"}
    assert [trial.epochs for trial in result.trials if trial.number in (0, 2, 3)] == [9, 9, 9], "these are exempt"
    assert "completed_rung_1" in result.trials[0].attrs
    check_copy(sqlite_url, plan, result)


def test_another_search_loop_sees_a_trial_that_is_tried_again(sqlite_url: str, tmp_path: Path) -> None:
    plan = make_table_plan(TABLE, {"trials": 4})
    search(sqlite_url, plan, tmp_path, {1: "user code"})
    with (
        closing(Store(sqlite_url)) as store,
        closing(open_study(plan, store, workers=1, artifacts=str(tmp_path))) as watching,
    ):
        result = search(sqlite_url, plan, tmp_path, {}, retry=True)
        watching.refresh()
        watching.publisher.publish(now=True)
        assert watching.trials[1].state == result.trials[1].state != "failed"
        seen = watching.mirror.study.trials
    assert [trial.state for trial in seen] == [STATES[trial.state] for trial in result.trials]
    check_copy(sqlite_url, plan, result)
