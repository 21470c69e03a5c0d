"""Training processes: the same reports as from this process, and what happens when one dies."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import pytest

from foldtune import space
from foldtune.search.plan import Plan
from foldtune.search.pool import DEATHS, LocalPool, Pool, ProcessPool
from foldtune.search.process import KEEP_MEMORY, LostWorkerError, TrainingProcess, _keeping_memory, training_processes
from foldtune.spec.schema import EngineChoice
from foldtune.store.artifacts import Artifacts
from foldtune.testing.search_laws import make_table, make_table_plan
from foldtune.testing.store_laws import same
from foldtune.train.lockstep import LockstepRun
from foldtune.train.packed.engine import PackedRun
from foldtune.values import EpochReport, Job, TrialResult

START_S = 300.0
"""How long a test waits for other processes, which import torch."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_table_plan(make_table(0, trials=4, epochs=3))


@pytest.fixture(scope="module")
def pool(plan: Plan) -> Iterator[ProcessPool]:
    """Two processes for all tests here: they take seconds to start."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # one that other tests began has their environment
    with training_processes(2) as processes:
        yield ProcessPool(plan.setup("cpu"), processes)


def test_a_job_that_failed_is_gone_from_this_process(plan: Plan) -> None:
    pool = LocalPool(plan.setup("cpu"))
    job = _job(plan, 0)
    pool.add(Job(0, {**job.config, "model": {"use": "MLP", "d_block": -1}}, plan.folds))
    (report,) = pool.step()
    assert report.failure is not None and report.failure.kind == "user code"
    assert pool.step() == []


@pytest.mark.parametrize(("engine", "run"), [("lockstep", LockstepRun), ("packed", PackedRun), ("auto", PackedRun)])
def test_the_engine_is_the_one_that_the_setup_names(plan: Plan, engine: EngineChoice, run: type[object]) -> None:
    assert type(LocalPool(replace(plan.setup("cpu"), engine=engine)).trainer.run) is run


@pytest.mark.slow
def test_processes_report_what_this_process_reports(plan: Plan, pool: ProcessPool) -> None:
    assert same(_trained(plan, pool), _trained(plan, LocalPool(plan.setup("cpu"))))
    assert pool.placed == {}


@pytest.mark.slow
def test_jobs_are_dealt_evenly(plan: Plan, pool: ProcessPool) -> None:
    for trial in range(4):
        pool.add(_job(plan, trial))
    assert sorted(pool.processes.index(placed.process) for placed in pool.placed.values()) == [0, 0, 1, 1]
    pool.step()
    for trial in range(4):
        pool.drop(trial)


@pytest.mark.slow
def test_a_job_goes_where_less_is_to_be_done(plan: Plan, pool: ProcessPool) -> None:
    """Two long jobs against two short ones; a new one counts as 4.5 s, what they take on average, and its beginning."""
    for trial in range(4):
        pool.add(_job(plan, trial))
    pool.step()
    long, short = pool.processes
    for placed in pool.placed.values():
        placed.seconds = 8.0 if placed.process is long else 1.0
    pool.beginnings.clear()
    pool.beginnings.append(2.0)
    for trial in range(4, 8):
        pool.add(_job(plan, trial))
    assert [pool.placed[trial].process for trial in range(4, 8)] == [short, short, short, long]
    pool.step()
    assert len(pool.beginnings) == 5 and min(pool.beginnings) > 0
    for trial in range(8):
        pool.drop(trial)


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True])
def test_jobs_of_a_process_that_dies_go_on_in_another(
    plan: Plan, pool: ProcessPool, tmp_path: Path, saved: bool
) -> None:
    """Nobody sees it but who looks at the processes: it dies between epochs, in one, and before a result."""
    whole = _trained(plan, LocalPool(plan.setup("cpu")), epochs=4)
    pool.artifacts = Artifacts(str(tmp_path), "0" * 32) if saved else None
    for process in list(pool.processes):  # they know where checkpoints go from their beginning
        _kill(process)
    steps: Counter[int] = Counter()

    def step() -> list[EpochReport]:
        assert pool.save() == []
        steps[sum(steps.values())] += 1
        if len(steps) == 3:
            _kill(pool.placed[0].process)
        pool.start()
        if len(steps) == 4:
            pool.placed[1].process.process.kill()
        return pool.step()

    def finish(trial: int) -> TrialResult:
        if trial == 2:
            _kill(pool.placed[2].process)
        return pool.finish(trial)

    assert same(_trained(plan, pool, epochs=4, step=step, finish=finish), whole)
    assert pool.placed == {} and all(process.is_alive() for process in pool.processes)
    assert (pool.artifacts is not None and pool.artifacts.load(0, 3) is not None) is saved
    pool.deaths.clear()


@pytest.mark.slow
def test_a_job_whose_processes_always_die_fails_in_the_end(plan: Plan, pool: ProcessPool) -> None:
    for trial in range(2):
        pool.add(_job(plan, trial))
    for _ in range(DEATHS):
        _kill(pool.placed[0].process)
        assert [report.failure for report in pool.step()] == [None, None]
    _kill(pool.placed[0].process)
    (dead, alive) = pool.step()
    assert alive.failure is None and dead.failure is not None
    assert (dead.failure.kind, dead.failure.message) == ("lost worker", "the training process died with exit code -9")
    assert list(pool.placed) == [1]
    pool.drop(1)


@pytest.mark.slow
def test_a_job_whose_processes_always_die_has_no_result(plan: Plan, pool: ProcessPool) -> None:
    pool.add(_job(plan, 0))
    pool.add(_job(plan, 1))
    pool.step()
    pool.deaths[0, 0] = DEATHS
    _kill(pool.placed[0].process)
    with pytest.raises(LostWorkerError, match="died with exit code -9"):
        pool.finish(0)
    assert [report.trial for report in pool.step()] == [1]
    pool.drop(1)


@pytest.mark.slow
def test_a_process_that_dies_while_it_waits_is_replaced_before_it_gets_a_job(plan: Plan, pool: ProcessPool) -> None:
    for process in list(pool.processes):
        _kill(process)
    pool.add(_job(plan, 0))
    assert [report.failure for report in pool.step()] == [None]
    pool.drop(0)


@pytest.mark.slow
def test_processes_keep_memory(pool: ProcessPool) -> None:
    for process in pool.processes:
        variables = Path(f"/proc/{process.process.pid}/environ").read_bytes().decode().split("\0")
        assert {f"{name}={value}" for name, value in KEEP_MEMORY.items()} <= set(variables)


def test_memory_is_given_back_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    before = dict(os.environ)
    with _keeping_memory():
        assert dict(os.environ) == {**before, **KEEP_MEMORY, "MALLOC_TOP_PAD_": "1"}
    assert dict(os.environ) == before


@pytest.mark.parametrize(("device", "method"), [("cpu", "forkserver"), ("cuda", "spawn")])
def test_no_process_is_forked_that_uses_cuda(device: str, method: str) -> None:
    with training_processes(1, devices=[device]) as (process,):
        found = process.context.get_start_method()
    assert found == (method if sys.platform == "linux" else "spawn")


@pytest.mark.slow
def test_processes_end_at_once(plan: Plan) -> None:
    with training_processes(2) as processes:
        ProcessPool(plan.setup("cpu"), processes)
        began = time.monotonic()
    assert time.monotonic() - began < 5.0
    assert [process.process.exitcode for process in processes] == [-9, -9]


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from foldtune.search.run import run_study\n"
        'tree = {"name": "a", "data": {"use": "iris"}, "model": "MLP", "search": {"trials": 1}}\n'
        f"run_study(tree, storage='sqlite:///{tmp_path}/a.db', workers=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "foldtune.errors.FoldtuneError: the training process died with exit code 1 before it could train. "
        'A script that trains in processes must start under `if __name__ == "__main__":`; or use `workers=0`.'
    )


def _job(plan: Plan, trial: int) -> Job:
    params = {"model.d_block": 4 + trial, "optimizer.lr": 0.1}
    return Job(trial, space.configure(plan.space, params), plan.folds)


def _kill(process: TrainingProcess) -> None:
    process.process.kill()
    process.process.join()


def _trained(
    plan: Plan,
    pool: Pool,
    epochs: int = 2,
    step: Callable[[], list[EpochReport]] | None = None,
    finish: Callable[[int], TrialResult] | None = None,
) -> list[object]:
    """All that three jobs report, apart from what clocks show."""
    for trial in range(3):
        pool.add(_job(plan, trial))
    reports = [report for _ in range(epochs) for report in (step or pool.step)()]
    numbers = [(report.trial, report.epoch, report.losses, report.scores) for report in reports]
    results = [pool.finish(0), pool.drop(1), (finish or pool.finish)(2)]
    return [numbers, results]
