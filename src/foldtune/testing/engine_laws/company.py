"""Laws of jobs that train beside others."""

import re
from collections.abc import Callable

import numpy as np

from foldtune.testing.engine_laws.runs import MakeEngine, Trained, assert_same, train
from foldtune.testing.engine_laws.studies import K, make_job
from foldtune.train.engine import TrainingSetup
from foldtune.values import Config, EpochReport, FailureKind


def check_jobs_do_not_touch(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """What happens to one job, whether it is dropped, finished or added, changes nothing for the others."""
    alone = {trial: train(make(setup).start([make_job(config, trial)]), trial) for trial in (1, 3)}
    run = make(setup).start([make_job(config, trial) for trial in (0, 1, 2)])
    first = run.step()
    assert [report.trial for report in first] == [0, 1, 2]
    dropped = run.drop(2)
    assert dropped.epochs == 1 and (dropped.chosen == 1).all()
    assert np.array_equal(dropped.scores, first[2].scores), "a dropped job's scores are those of its last epoch"
    run.add(make_job(config, 3))
    second = run.step()
    run.finish(0)
    rest = train(run, 1)
    assert_same(Trained((first[1], second[1], *rest.reports), rest.result), alone[1])
    ahead = len(rest.reports) + 1
    assert_same(Trained((*alone[3].reports[:ahead], *(last := train(run, 3)).reports), last.result), alone[3])
    assert run.step() == [], "no job is live"
    for stop in (run.drop, run.finish):
        assert _raises_key_error(stop, 3), "a job that is gone cannot be stopped"


def check_failure_is_one_jobs_own(
    make: MakeEngine, setup: TrainingSetup, config: Config, *, failing: Config, kind: FailureKind, match: str
) -> None:
    """A job that fails says how, and is gone; the others train as if it had not been there.

    Args:
        make: the engine under test.
        setup: the study.
        config: the other jobs' configuration.
        failing: fails before its last epoch.
        kind: of what kind the failure must be.
        match: a pattern in its message.
    """
    alone = train(make(setup).start([make_job(config, 1)]), 1)
    run = make(setup).start([make_job(failing, 0, repeat=3), make_job(config, 1)])
    reports: list[EpochReport] = []
    failures: list[EpochReport] = []
    while not reports or not reports[-1].done:
        for report in run.step():
            (reports if report.trial == 1 else failures).append(report)
    assert_same(Trained(tuple(reports), run.finish(1)), alone)
    assert all(report.failure is None for report in failures[:-1])
    assert [report.epoch for report in failures] == list(range(1, len(failures) + 1))
    failed = failures[-1]
    assert failed.failure is not None, "the job did not fail"
    assert failed.repeat == 3
    assert failed.failure.kind == kind, failed.failure
    assert re.search(match, failed.failure.message), failed.failure.message
    assert "Traceback" in failed.failure.traceback
    assert failed.losses.shape == (K,) and np.isnan(failed.losses).all()
    assert failed.scores.shape == (K, len(setup.metrics)) and np.isnan(failed.scores).all()
    assert _raises_key_error(run.drop, 0), "a job that failed is still there"


def _raises_key_error(stop: Callable[[int], object], trial: int) -> bool:
    try:
        stop(trial)
    except KeyError:
        return True
    return False
