"""Jobs trained by an engine under test, and what they gave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.train.checkpoint import dump, load
from foldtune.train.engine import Engine, Run, TrainingSetup
from foldtune.values import EpochReport, Job, TrialResult

MakeEngine = Callable[[TrainingSetup], Engine]


@dataclass(frozen=True, eq=False)
class Trained:
    """All that one job gave, from its first report to its result."""

    reports: tuple[EpochReport, ...]
    result: TrialResult


def train(run: Run, trial: int, epochs: int | None = None) -> Trained:
    """Step a run until a job is done, or for so many epochs, and finish it.

    Args:
        run: has the job, and maybe others.
        trial: the job's.
        epochs: at most; None for all that are planned.
    """
    reports: list[EpochReport] = []
    while not reports or (not reports[-1].done and len(reports) != epochs):
        report = next(report for report in run.step() if report.trial == trial)
        assert report.failure is None, report.failure
        reports.append(report)
    return Trained(tuple(reports), run.finish(trial))


def saved(run: Run) -> dict[int, dict[str, Any]]:
    """The states of a run's jobs after a way through bytes."""
    return {trial: load(dump(state)) for trial, state in run.state_dict().items()}


def going(make: MakeEngine, setup: TrainingSetup, job: Job, state: Mapping[str, Any]) -> Run:
    """A new engine's run in which a job goes on."""
    run = make(setup).start([])
    run.add(job, state)
    return run


def assert_same_reports(left: Sequence[EpochReport], right: Sequence[EpochReport]) -> None:
    """Equal bit for bit, the time spent aside."""
    assert [(report.epoch, report.done) for report in left] == [(report.epoch, report.done) for report in right]
    for one, other in zip(left, right, strict=True):
        assert np.array_equal(one.losses, other.losses), f"epoch {one.epoch}: {one.losses} and {other.losses}"
        assert np.array_equal(one.scores, other.scores), f"epoch {one.epoch}: {one.scores} and {other.scores}"


def assert_same(left: Trained, right: Trained) -> None:
    """Reports and results equal bit for bit, the time spent aside."""
    assert_same_reports(left.reports, right.reports)
    assert_same_results(left.result, right.result)


def assert_same_results(left: TrialResult, right: TrialResult) -> None:
    """Equal bit for bit, answers too."""
    assert (left.trial, left.epochs, left.n_parameters) == (right.trial, right.epochs, right.n_parameters)
    assert np.array_equal(left.chosen, right.chosen)
    assert np.array_equal(left.scores, right.scores)
    ours, theirs = left.out_of_fold, right.out_of_fold
    if ours is None or theirs is None:
        assert ours is theirs, "one of them keeps no answers"
        return
    assert (ours.kind, ours.answers.dtype) == (theirs.kind, theirs.answers.dtype)
    assert np.array_equal(ours.epochs, theirs.epochs)
    assert np.array_equal(ours.answers, theirs.answers), "answers differ"


def assert_close_answers(left: TrialResult, right: TrialResult, *, atol: float) -> None:
    """The same answers but for rounding: of those who computed them, up to `atol`, and a last bit of their dtype."""
    ours, theirs = left.out_of_fold, right.out_of_fold
    assert ours is not None and theirs is not None, "no answers are kept"
    assert (ours.kind, ours.answers.dtype) == (theirs.kind, theirs.answers.dtype)
    assert np.array_equal(ours.epochs, theirs.epochs)
    one, other = (found.answers.astype(np.float64) for found in (ours, theirs))
    last_bit = float(np.finfo(ours.answers.dtype).eps)
    np.testing.assert_allclose(one, other, atol=atol, rtol=max(atol, last_bit))
