"""Laws of states that jobs go on from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from foldtune.errors import CheckpointError
from foldtune.testing.engine_laws.runs import MakeEngine, Trained, assert_same, going, saved, train
from foldtune.testing.engine_laws.studies import make_job
from foldtune.train.checkpoint import dump
from foldtune.train.engine import Run, TrainingSetup
from foldtune.values import Config, EpochReport, Job, TrialResult


def check_restored_equals_uninterrupted(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A job goes on bitwise in another engine's run, generation after generation, and more than once from one state."""
    job = make_job(config)
    whole = train(make(setup).start([job]), 0)
    assert len(whole.reports) > 2, "the law needs three epochs"
    run = make(setup).start([job])
    assert run.state_dict() == {}, "a job without a trained epoch has no state"
    before = [run.step()[0]]
    while len(before) < len(whole.reports) - 1:
        state, taken = run.state_dict()[0], saved(run)[0]
        assert state["epoch"] == len(before) and state["engine"] == before[0].engine
        for going_on in (run, going(make, setup, job, state), going(make, setup, job, taken)):
            rest = train(going_on, 0)
            assert_same(Trained((*before, *rest.reports), rest.result), whole)
        assert dump(state) == dump(taken), "training on changes a state"
        run = going(make, setup, job, taken)
        assert dump(run.state_dict()[0]) == dump(taken), "a job that goes on has another state before it trains"
        before.append(run.step()[0])
    rest = train(run, 0)
    assert_same(Trained((*before, *rest.reports), rest.result), whole)


def check_restored_in_other_company(make: MakeEngine, setup: TrainingSetup, configs: Sequence[Config]) -> None:
    """Jobs go on bitwise beside others: some dropped or added meanwhile, and of other ages.

    Args:
        make: the engine under test.
        setup: the study.
        configs: at least three, each trained for at least three epochs.
    """
    jobs = {trial: make_job(config, trial) for trial, config in enumerate(configs)}
    alone = {trial: train(make(setup).start([job]), trial) for trial, job in jobs.items()}
    run = make(setup).start(list(jobs.values()))
    run.step()
    first = saved(run)
    assert sorted(first) == sorted(jobs)
    run.step()
    second = saved(run)
    last = len(jobs) - 1
    run = make(setup).start([replace(jobs[last], trial=last + 1)])  # a stranger; `last` was dropped
    for trial in list(jobs)[1:last]:
        run.add(jobs[trial], second[trial])
    own: dict[int, list[EpochReport]] = {trial: [*alone[trial].reports[: 2 if trial else 1]] for trial in jobs}
    results: dict[int, TrialResult] = {}
    reports = run.step()
    run.drop(last + 1)
    run.add(jobs[0], first[0])
    while reports:
        for report in (report for report in reports if report.trial in jobs):
            assert report.failure is None, report.failure
            own[report.trial].append(report)
            if report.done:
                results[report.trial] = run.finish(report.trial)
        reports = run.step()
    assert sorted(results) == list(range(last))
    for trial, result in results.items():
        assert_same(Trained(tuple(own[trial]), result), alone[trial])


def check_state_of_a_done_job(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A job that is done has a state, from which it can be finished."""
    job = make_job(config)
    whole, run = train(make(setup).start([job]), 0), make(setup).start([job])
    for _ in whole.reports:
        run.step()
    assert_same(Trained(whole.reports, going(make, setup, job, saved(run)[0]).finish(0)), whole)


def check_state_that_does_not_fit(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A state of another engine, or with other names, shapes or folds is refused at once, and changes nothing.

    Every tensor counts, so the optimizer's update rule must be one that keeps tensors of its parameters' shapes.
    """
    job = make_job(config)
    whole, run = train(make(setup).start([job]), 0), make(setup).start([job])
    run.step()
    state, going_on = saved(run)[0], make(setup).start([])
    fewer = make_job(config, folds=job.folds[:-1])
    assert refused(going_on, fewer, state), "a state of more folds is taken"
    other = {**state, "engine": "another"}
    for damaged in ({}, other, {**state, "epoch": 0}, {**state, "epoch": 2}, *_without_one(state), *_reshaped(state)):
        assert refused(going_on, job, damaged), f"a state is taken that does not fit: {damaged}"
    assert going_on.step() == [] and going_on.state_dict() == {}, "a job that was refused is there"
    going_on.add(job)
    assert_same(train(going_on, 0), whole)


def check_failure_while_going_on(make: MakeEngine, setup: TrainingSetup, config: Config, failing: Config) -> None:
    """A job that cannot be built any more fails in the next step, in the epoch that it would have trained.

    Args:
        make: the engine under test.
        setup: the study.
        config: of the job before.
        failing: what its code has become; it cannot be built.
    """
    run = make(setup).start([make_job(config)])
    run.step()
    run = going(make, setup, make_job(failing), saved(run)[0])
    assert run.state_dict() == {}
    (report,) = run.step()
    assert report.failure is not None and (report.trial, report.epoch) == (0, 2)
    assert "Traceback" in report.failure.traceback and run.step() == []


def refused(run: Run, job: Job, state: Mapping[str, Any]) -> bool:
    try:
        run.add(job, state)
    except CheckpointError:
        return True
    return False


def _without_one(tree: Mapping[Any, Any]) -> Iterator[dict[Any, Any]]:
    """A tree without one of its own names, in every way."""
    for name in tree:
        yield {key: child for key, child in tree.items() if key != name}


def _reshaped(tree: Any) -> Iterator[Any]:
    """A tree with one more number in one of its tensors, in every way."""
    if isinstance(tree, Tensor):
        yield torch.cat([tree.flatten(), tree.flatten()[:1]]) if tree.dim() else tree.expand(1).clone()
    elif isinstance(tree, Mapping):
        yield from ({**tree, name: other} for name, child in tree.items() for other in _reshaped(child))
    elif isinstance(tree, list):
        for index, child in enumerate(tree):
            yield from ([*tree[:index], other, *tree[index + 1 :]] for other in _reshaped(child))
