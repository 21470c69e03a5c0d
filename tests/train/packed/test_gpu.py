"""The packed engine on a CUDA device: the same laws, where there is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foldtune.testing.engine_laws import EPOCHS, make_job, make_setup, saved
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine
from foldtune.train.packed.bits import Bits
from foldtune.train.packed.graph import Replayed
from foldtune.train.packed.masks import Masks

from .test_engine import COMPANY, assert_equal_engines, exact
from .test_nets import NETS, make_configs, make_setup_of
from .test_precision import PRODUCTS, curves, mixed, setup_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_stack_on_a_device_equals_lockstep_there() -> None:
    configs = [{**config, "model": {**config["model"], "dropout": 0.0}} for config in COMPANY[:5]]  # without RMSprop
    jobs = [make_job(config, trial) for trial, config in enumerate(configs)]
    assert_equal_engines(jobs, replace(exact(make_setup()), device="cuda"), atol=1e-8)


@pytest.mark.parametrize("name", ["conv net", "pools", "linear over time", "attention"])
def test_nets_of_every_kind_equal_lockstep_there(name: str) -> None:
    features, net = NETS[name]
    jobs = [make_job(config, trial) for trial, config in enumerate(make_configs(net))]
    assert_equal_engines(jobs, replace(exact(make_setup_of(features)), device="cuda"), atol=1e-8)


@pytest.mark.parametrize("name", PRODUCTS)
def test_mixed_precision_equals_lockstep_there(name: str) -> None:
    features, net = PRODUCTS[name]
    setup = replace(setup_of(features), device="cuda")
    ours, theirs = curves(PackedEngine(setup), mixed(net)), curves(LockstepEngine(setup), mixed(net))
    np.testing.assert_allclose(ours, theirs, atol=0.03, rtol=0.03)


def test_steps_are_replayed_as_graphs_and_never_wait() -> None:
    """A step that waits cannot be captured. A restored run, whose steps are captured anew, draws the same bits."""
    jobs = [make_job(config, trial) for trial, config in enumerate(COMPANY[:5])]  # without RMSprop
    setup = replace(exact(make_setup()), device="cuda")
    run = PackedEngine(setup).start(jobs)
    run.step()
    restored, states = PackedEngine(setup).start([]), saved(run)
    for job in jobs:
        restored.add(job, states[job.trial])
    for _ in range(EPOCHS - 1):
        for one, other in zip(run.step(), restored.step(), strict=True):
            assert one.failure is None and other.failure is None
            assert abs(one.losses - other.losses).max() < 1e-6
    (stack,) = run.stacks
    assert stack.device_trainer is not None
    steps = [step for step in stack.device_trainer.steps.values() if isinstance(step, Replayed)]
    assert [getattr(step.step, "__name__", "") for step in steps] == ["replay"] * len(stack.trainers)


def test_a_device_draws_the_bits_that_the_processor_would() -> None:
    here, there = (Masks(torch.tensor([0.3, 0.5], device=device), 1001) for device in ("cpu", "cuda"))
    for masks in (here, there):
        bits = Bits([("d", 0, 2, masks)], 8)
        bits.start_epoch([(0, 0, 0, 0), (0, 0, 0, 1)], [1, 1])
        bits.draw(torch.tensor([5], device=masks.device))
    assert torch.equal(here.draw(), there.draw().cpu())
