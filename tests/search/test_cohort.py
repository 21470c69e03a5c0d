"""How many trials train at once where the file does not say."""

from dataclasses import replace
from typing import Any

import pytest

from foldtune.search import cohort
from foldtune.search.plan import Plan, make_plan
from foldtune.spec.load import load_spec

GIB = 2**30


def plan_of(most: int, **search: Any) -> Plan:
    tree = {"name": "s", "data": {"use": "iris"}, "model": {"use": "MLP", "d_block": 8}, "search": search}
    plan = make_plan(load_spec(tree))
    return replace(plan, checked=replace(plan.checked, most=most))


def test_small_nets_fill_packs_and_every_process() -> None:
    plan = plan_of(10_000)
    assert [cohort.default_cohort(plan, workers) for workers in (0, 2, 8, 20)] == [8, 8, 8, 20]


def test_lockstep_trains_one_trial_in_each_process() -> None:
    plan = plan_of(10_000, engine="lockstep")
    assert [cohort.default_cohort(plan, workers) for workers in (0, 2, 20)] == [1, 2, 20]


def test_no_more_trials_than_half_of_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five folds of 20 million parameters at 32 bytes are 3.2 GB."""
    monkeypatch.setattr(cohort, "_memory", lambda: 20 * GIB)
    assert cohort.default_cohort(plan_of(20_000_000), 2) == 3
    assert cohort.default_cohort(plan_of(20_000_000), 4) == 4, "no process goes idle"
    assert cohort.default_cohort(plan_of(2_000_000_000), 0) == 1
