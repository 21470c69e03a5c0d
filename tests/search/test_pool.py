"""Training processes: the same reports as from this process, and what happens when one dies."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from foldtune import space
from foldtune.search.plan import Plan
from foldtune.search.pool import LocalPool, Pool, ProcessPool
from foldtune.search.process import KEEP_MEMORY, LostWorkerError, _keeping_memory, training_processes
from foldtune.spec.schema import EngineChoice
from foldtune.testing.search_laws import make_table, make_table_plan
from foldtune.testing.store_laws import same
from foldtune.train.lockstep import LockstepRun
from foldtune.train.packed.engine import PackedRun
from foldtune.values import Job

START_S = 120.0
"""How long a test waits for other processes, which import torch."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_table_plan(make_table(0, trials=4, epochs=3))


@pytest.fixture(scope="module")
def pool(plan: Plan) -> Iterator[ProcessPool]:
    """Two processes for all tests here: they take seconds to start."""
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
    assert type(LocalPool(replace(plan.setup("cpu"), engine=engine)).run) is run


@pytest.mark.slow
def test_processes_report_what_this_process_reports(plan: Plan, pool: ProcessPool) -> None:
    assert same(_trained(plan, pool), _trained(plan, LocalPool(plan.setup("cpu"))))
    assert pool.places == {}


@pytest.mark.slow
def test_jobs_are_dealt_evenly(plan: Plan, pool: ProcessPool) -> None:
    for trial in range(4):
        pool.add(_job(plan, trial))
    assert sorted(pool.processes.index(place) for place in pool.places.values()) == [0, 0, 1, 1]
    pool.step()
    for trial in range(4):
        pool.drop(trial)


@pytest.mark.slow
def test_a_process_that_dies_fails_its_jobs_and_is_replaced(plan: Plan, pool: ProcessPool) -> None:
    for trial in range(3):
        pool.add(_job(plan, trial))
    pool.step()
    dead = pool.places[0]
    dead.process.kill()
    reports = pool.step()
    assert [report.failure is not None for report in reports] == [True, False, True]
    assert reports[0].failure is not None
    assert (reports[0].failure.kind, reports[0].failure.message) == (
        "lost worker",
        "the training process died with exit code -9",
    )
    assert list(pool.places) == [1]
    assert dead not in pool.processes and all(process.is_alive() for process in pool.processes)
    pool.drop(1)


@pytest.mark.slow
def test_a_process_that_dies_before_a_result_loses_its_other_jobs_and_no_new_ones(
    plan: Plan, pool: ProcessPool
) -> None:
    for trial in range(4):
        pool.add(_job(plan, trial))
    pool.step()
    dead = pool.places[0]
    (other,) = (trial for trial, place in pool.places.items() if place is dead and trial != 0)
    dead.process.kill()
    with pytest.raises(LostWorkerError, match="died with exit code -9"):
        pool.finish(0)
    pool.add(_job(plan, 4))
    reports = pool.step()
    assert [report.trial for report in reports] == [1, 2, 3, 4]
    assert [report.trial for report in reports if report.failure is not None] == [other]
    for trial in list(pool.places):
        pool.drop(trial)


@pytest.mark.slow
def test_a_process_that_dies_while_it_waits_is_replaced_before_it_gets_a_job(plan: Plan, pool: ProcessPool) -> None:
    for process in pool.processes:
        process.process.kill()
        process.process.join()
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
    with training_processes(1, device=device) as (process,):
        found = process.context.get_start_method()
    assert found == (method if sys.platform == "linux" else "spawn")


@pytest.mark.slow
def test_processes_end_at_once(plan: Plan) -> None:
    with training_processes(2) as processes:
        ProcessPool(plan.setup("cpu"), processes)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
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


def _trained(plan: Plan, pool: Pool) -> list[object]:
    """All that three jobs of two epochs report, apart from what clocks show."""
    for trial in range(3):
        pool.add(_job(plan, trial))
    reports = [report for _ in range(2) for report in pool.step()]
    numbers = [(report.trial, report.epoch, report.losses, report.scores) for report in reports]
    results = [pool.finish(0), pool.drop(1), pool.finish(2)]
    return [numbers, results]
