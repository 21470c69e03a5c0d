"""Stacks that do not fit into memory: jobs leave them, and none is lost."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from foldtune.testing.engine_laws import EPOCHS, assert_same_reports, make_config, make_job, make_setup
from foldtune.train.engine import Run
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed.engine import PackedEngine, PackedRun
from foldtune.train.packed.memory import NO_MEMORY
from foldtune.train.packed.stack import Stack
from foldtune.values import EpochReport, Job

JOBS = [
    make_job(
        make_config(
            model={"use": "MLP", "n_blocks": 1, "d_block": 4 + trial, "dropout": 0.2},
            optimizer={"use": "AdamW", "lr": 0.01},
            scheduler={"use": "ReduceLROnPlateau", "patience": 0},
        ),
        trial,
    )
    for trial in range(5)
]


def tighten(monkeypatch: pytest.MonkeyPatch, method: str, jobs: int, epoch: int = 1) -> None:
    """Make a method of stacks run out of memory with more jobs, from an epoch on, after it has done its work."""
    whole = getattr(Stack, method)

    def limited(self: Stack, *args: Any) -> Any:
        found = whole(self, *args)
        if len({*self.members}) > jobs and max(member.curves.epoch for member in self.members) + 1 >= epoch:
            raise torch.OutOfMemoryError("no room")
        return found

    monkeypatch.setattr(Stack, method, limited)


def reports_of(run: Run, joining: Sequence[tuple[int, Job]] = ()) -> dict[int, list[EpochReport]]:
    found: dict[int, list[EpochReport]] = {}
    for step in range(EPOCHS):
        for when, job in joining:
            if when == step:
                run.add(job)
        for report in run.step():
            assert report.failure is None, report.failure
            found.setdefault(report.trial, []).append(report)
    return found


def packed(jobs: Sequence[Job]) -> PackedRun:
    return PackedEngine(replace(make_setup(), engine="packed")).start(jobs)


@pytest.mark.parametrize("method", ["__init__", "train_epoch", "answers"])
@pytest.mark.parametrize("jobs", [0, 1, 2])
def test_those_that_stay_and_those_that_leave_train_as_ever(
    method: str, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked, plain = reports_of(packed(JOBS)), reports_of(LockstepEngine(make_setup()).start(JOBS))
    tighten(monkeypatch, method, jobs)
    run = packed(JOBS)
    found = reports_of(run)
    for trial in range(5):
        assert_same_reports(found[trial], (stacked if trial < jobs else plain)[trial])
    assert run.reasons == dict.fromkeys(range(jobs, 5), NO_MEMORY)


def test_the_last_to_come_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = [(0, JOBS[4]), (2, JOBS[0])]
    stacked = reports_of(packed(JOBS[1:3]), joining)
    tighten(monkeypatch, "train_epoch", 3)
    run = packed(JOBS[1:3])
    found = reports_of(run, joining)
    assert run.reasons == {0: NO_MEMORY, 4: NO_MEMORY}, "one when it came, one of four later"
    for trial in (1, 2):
        assert_same_reports(found[trial], stacked[trial])


def test_a_stack_that_fitted_before_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stacked, plain = reports_of(packed(JOBS)), reports_of(LockstepEngine(make_setup()).start(JOBS))
    tighten(monkeypatch, "train_epoch", 2, epoch=3)
    found = reports_of(packed(JOBS))
    for trial in range(5):
        assert_same_reports(found[trial][:2], stacked[trial][:2])
        assert_same_reports(found[trial][2:], (stacked if trial < 2 else plain)[trial][2:])
    assert [bool(report.notes) for report in found[4]] == [False, False, True, False]
    assert [bool(report.notes) for report in found[0]] == [False] * 4


def test_a_stack_that_fails_otherwise_fails_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Stack) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(Stack, "train_epoch", broken)
    assert [report.failure and report.failure.kind for report in packed(JOBS[:2]).step()] == ["user code"] * 2
