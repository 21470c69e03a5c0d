"""Laws of an engine: what every implementation of `foldtune.train.engine` must keep.

Each law takes the engine under test as a function from a setup, and a configuration; it raises `AssertionError` when it
is broken. The rows are few and made here; every fold trains in well under a second.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune.data.dataset import Dataset
from foldtune.errors import CheckpointError
from foldtune.testing.leak_laws import scrambled
from foldtune.train.checkpoint import dump, load
from foldtune.train.engine import Engine, Run, TrainingSetup
from foldtune.train.stopping import eligible_epochs, fold_mean
from foldtune.values import Config, Direction, EpochReport, FailureKind, Fold, Job, Task, TrialResult

MakeEngine = Callable[[TrainingSetup], Engine]

EPOCHS = 4
ROWS, FEATURES, K = 31, 4, 3
METRICS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("log_loss", "accuracy"),
    "regression": ("mean_squared_error", "r2"),
}


@dataclass(frozen=True, eq=False)
class Trained:
    """All that one job gave, from its first report to its result."""

    reports: tuple[EpochReport, ...]
    result: TrialResult


def make_setup(task: Task = "classification", *, outputs: int = 3, seed: int = 0) -> TrainingSetup:
    """A study of 31 rows with 4 numeric columns; the target is the classes 0 .. outputs - 1, or `outputs` numbers."""
    random = np.random.RandomState(7)
    codes = np.arange(ROWS, dtype=np.int64) % outputs
    numeric = random.standard_normal((ROWS, FEATURES)) + codes[:, None]
    targets = 10 * numeric[:, :outputs] + random.standard_normal((ROWS, min(outputs, FEATURES))) + 100
    dataset = Dataset(
        numeric=numeric,
        categorical=np.empty((ROWS, 0), dtype=object),
        target=codes if task == "classification" else targets,
        task=task,
        classes=tuple(range(outputs)) if task == "classification" else (),
        numeric_names=tuple(f"x{column}" for column in range(FEATURES)),
    )
    directions: tuple[Direction, ...] = ("minimize",)
    return TrainingSetup(dataset, tuple({"use": name} for name in METRICS[task]), directions, seed)


def make_config(task: Task = "classification", **changes: Any) -> Config:
    """A small net trained for 4 epochs on batches of 8, with sections replaced."""
    return {
        "model": {"use": "MLP", "n_blocks": 1, "d_block": 8},
        "loss": {"use": "CrossEntropyLoss" if task == "classification" else "MSELoss"},
        "optimizer": {"use": "SGD", "lr": 0.05, "momentum": 0.9},
        "training": {"epochs": EPOCHS, "batch_size": 8},
        **changes,
    }


def make_job(config: Config, trial: int = 0, *, repeat: int = 0, folds: Sequence[Fold] | None = None) -> Job:
    """A job on three folds that cover all rows; two of them train on one row more than the third."""
    rows = np.arange(ROWS, dtype=np.int64)
    covering = (Fold(rows[rows % K != fold], rows[rows % K == fold]) for fold in range(K))
    return Job(trial, config, tuple(folds or covering), repeat)


def folds_apart() -> tuple[Fold, ...]:
    """Three folds that train on the same rows; no row that validates one is seen by another."""
    rows = np.arange(ROWS, dtype=np.int64)
    return tuple(Fold(rows[:16], rows[16 + 5 * fold : 21 + 5 * fold]) for fold in range(K))


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


def assert_same_reports(left: Sequence[EpochReport], right: Sequence[EpochReport]) -> None:
    """Equal bit for bit, the time spent aside."""
    assert [(report.epoch, report.done) for report in left] == [(report.epoch, report.done) for report in right]
    for one, other in zip(left, right, strict=True):
        assert np.array_equal(one.losses, other.losses), f"epoch {one.epoch}: {one.losses} and {other.losses}"
        assert np.array_equal(one.scores, other.scores), f"epoch {one.epoch}: {one.scores} and {other.scores}"


def assert_same(left: Trained, right: Trained) -> None:
    """Reports and results equal bit for bit, the time spent aside."""
    assert_same_reports(left.reports, right.reports)
    assert left.result.epochs == right.result.epochs
    assert np.array_equal(left.result.chosen, right.result.chosen)
    assert np.array_equal(left.result.scores, right.result.scores)


def check_same_seed_same_numbers(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A job gives the same numbers in any engine of the same study, whatever torch's global generator does."""
    engine = make(setup)
    first = train(engine.start([make_job(config)]), 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        assert_same(train(engine.start([make_job(config)]), 0), first)
        assert torch.equal(torch.get_rng_state(), before), "training leaves torch's global generator changed"
    assert_same(train(make(setup).start([make_job(config)]), 0), first)


def check_other_key_other_start(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Another trial number, repeat or seed is another initialisation: scores differ at a learning rate of zero.

    The net must have no batch norm, whose statistics follow the order of the rows.
    """
    frozen = {**config, "optimizer": {"use": "SGD", "lr": 0.0}, "scheduler": None}
    other_seed = replace(setup, seed=setup.seed + 1)
    starts = [
        train(make(setup).start([make_job(frozen)]), 0, 1),
        train(make(setup).start([make_job(frozen, 1)]), 1, 1),
        train(make(setup).start([make_job(frozen, repeat=1)]), 0, 1),
        train(make(other_seed).start([make_job(frozen)]), 0, 1),
    ]
    first_scores = {start.reports[0].scores[:, 0].tobytes() for start in starts}
    assert len(first_scores) == len(starts), "two of them start from the same weights"


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


def going(make: MakeEngine, setup: TrainingSetup, job: Job, state: Mapping[str, Any]) -> Run:
    """A new engine's run in which a job goes on."""
    run = make(setup).start([])
    run.add(job, state)
    return run


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
    assert _refused(going_on, fewer, state), "a state of more folds is taken"
    other = {**state, "engine": "another"}
    for damaged in ({}, other, {**state, "epoch": 0}, {**state, "epoch": 2}, *_without_one(state), *_reshaped(state)):
        assert _refused(going_on, job, damaged), f"a state is taken that does not fit: {damaged}"
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


def check_reports(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Epochs count from 1 and end where planned; scores of the result are those of its chosen epochs."""
    job = make_job(config, 5)
    trained = train(make(setup).start([job]), 5)
    epochs = int(config["training"]["epochs"])
    assert [(report.trial, report.epoch) for report in trained.reports] == [(5, e) for e in range(1, epochs + 1)]
    assert [report.done for report in trained.reports] == [False] * (epochs - 1) + [True]
    for report in trained.reports:
        assert report.losses.shape == (K,) and report.scores.shape == (K, len(setup.metrics))
        assert np.isfinite(report.losses).all() and report.seconds > 0
    result = trained.result
    assert (result.trial, result.epochs, result.chosen.shape) == (5, epochs, (K,))
    assert set(result.chosen.tolist()) <= set(eligible_epochs(epochs, epochs))
    curves = np.stack([report.scores for report in trained.reports])
    assert np.array_equal(result.scores, curves[result.chosen - 1, np.arange(K)])


def check_stops_early(make: MakeEngine, setup: TrainingSetup, config: Config, *, patience: int) -> None:
    """A job is done as soon as its fold mean has not improved for `patience` epochs, and not before."""
    stopping = {**config, "regularization": {"early_stopping": {"patience": patience}}}
    whole = train(make(setup).start([make_job(config)]), 0)
    signs = [1 if setup.directions[0] == "minimize" else -1] * len(whole.reports)
    means = [sign * fold_mean(report.scores[:, 0]) for sign, report in zip(signs, whole.reports, strict=True)]
    stops = [epoch for epoch in range(1, len(means) + 1) if epoch - (int(np.argmin(means[:epoch])) + 1) >= patience]
    assert stops, "the law needs a configuration whose fold mean gets worse"
    short = train(make(setup).start([make_job(stopping)]), 0)
    assert [report.done for report in short.reports] == [False] * (stops[0] - 1) + [True]
    for one, other in zip(short.reports, whole.reports, strict=False):
        assert np.array_equal(one.scores, other.scores), "early stopping changes an epoch that was trained"
    assert short.result.epochs == stops[0] and short.result.chosen.max() <= stops[0]


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
    run = make(setup).start([make_job(failing, 0), make_job(config, 1)])
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
    assert failed.failure.kind == kind, failed.failure
    assert re.search(match, failed.failure.message), failed.failure.message
    assert "Traceback" in failed.failure.traceback
    assert failed.losses.shape == (K,) and np.isnan(failed.losses).all()
    assert failed.scores.shape == (K, len(setup.metrics)) and np.isnan(failed.scores).all()
    assert _raises_key_error(run.drop, 0), "a job that failed is still there"


def check_nothing_crosses(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Features and labels of the rows that validate a fold change none of its training losses.

    The configuration must not be adaptive: ReduceLROnPlateau and early stopping read the other folds' scores, and these
    folds train on the rows in question.
    """
    job = make_job(config)
    plain = train(make(setup).start([job]), 0)
    for index, fold in enumerate(job.folds):
        altered = replace(setup, dataset=_altered(setup.dataset, fold))
        other = train(make(altered).start([job]), 0)
        for one, two in zip(plain.reports, other.reports, strict=True):
            assert one.losses[index] == two.losses[index], f"fold {index} has seen its validation rows"
            assert not np.array_equal(one.scores[index], two.scores[index]), "the law has altered nothing"


def check_schedule_reads_other_folds(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """When one fold's validation rows change, the learning rates that change first are those of other folds.

    Later that fold may follow, for it reads the scores of folds that trained differently.

    Args:
        make: the engine under test.
        setup: the study.
        config: with ReduceLROnPlateau, eager enough to react within the planned epochs.
    """
    for index, (plain, other) in enumerate(_apart(make, setup, config)):
        pairs = zip(plain.reports, other.reports, strict=True)
        changed = [one.losses != two.losses for one, two in pairs if (one.losses != two.losses).any()]
        assert changed, "the law needs a schedule that reacts to scores"
        assert not changed[0][index], f"fold {index} reacts to its own scores"


def check_chosen_epoch_reads_other_folds(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A fold's chosen epoch does not follow its own curve; those of other folds may.

    Args:
        make: the engine under test.
        setup: the study.
        config: without ReduceLROnPlateau, and long enough for epochs to matter.
    """
    moved = False
    for index, (plain, other) in enumerate(_apart(make, setup, config)):
        assert plain.result.chosen[index] == other.result.chosen[index], f"e_{index} follows fold {index}'s own curve"
        moved = moved or not np.array_equal(plain.result.chosen, other.result.chosen)
    assert moved, "the law needs curves whose best epoch can move"


def _apart(make: MakeEngine, setup: TrainingSetup, config: Config) -> Iterator[tuple[Trained, Trained]]:
    """For each fold: a job as it is, and with other rows validating that fold, which no fold trains on."""
    job = make_job(config, folds=folds_apart())
    plain = train(make(setup).start([job]), 0)
    for fold in job.folds:
        altered = replace(setup, dataset=_altered(setup.dataset, fold))
        yield plain, train(make(altered).start([job]), 0)


def _altered(dataset: Dataset, fold: Fold) -> Dataset:
    """Other features and labels in a fold's validation rows, near enough for every loss and metric to stay finite."""
    other = scrambled(dataset, fold.valid, seed=3)
    numeric = dataset.numeric.copy()
    numeric[fold.valid] = -2 * numeric[fold.valid] + 1
    target = dataset.target.copy()
    target[fold.valid] = (
        (target[fold.valid] + 1) % dataset.n_outputs if dataset.task == "classification" else other.target[fold.valid]
    )
    return replace(other, numeric=numeric, target=target)


def _refused(run: Run, job: Job, state: Mapping[str, Any]) -> bool:
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


def _raises_key_error(stop: Callable[[int], object], trial: int) -> bool:
    try:
        stop(trial)
    except KeyError:
        return True
    return False
