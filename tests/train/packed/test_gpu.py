"""The packed engine on a CUDA device: the same laws, where there is one."""

from dataclasses import replace

import pytest
import torch

from foldtune.testing.engine_laws import EPOCHS, make_job, make_setup
from foldtune.train.packed import PackedEngine

from .test_engine import COMPANY, assert_equal_engines, exact

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_stack_on_a_device_equals_lockstep_there() -> None:
    configs = [{**config, "model": {**config["model"], "dropout": 0.0}} for config in COMPANY[:5]]  # without RMSprop
    jobs = [make_job(config, trial) for trial, config in enumerate(configs)]
    assert_equal_engines(jobs, replace(exact(make_setup()), device="cuda"), atol=1e-8)


def test_dropout_of_a_device_is_that_of_the_processor() -> None:
    """Bits are drawn in one place, so that a trial's numbers differ between devices by rounding alone."""
    jobs = [make_job(config, trial) for trial, config in enumerate(COMPANY[:2])]
    setup = exact(make_setup())
    here, there = (PackedEngine(replace(setup, device=device)).start(jobs) for device in ("cpu", "cuda"))
    for _ in range(EPOCHS):
        for one, other in zip(here.step(), there.step(), strict=True):
            assert one.failure is None and other.failure is None
            assert abs(one.losses - other.losses).max() < 1e-6
