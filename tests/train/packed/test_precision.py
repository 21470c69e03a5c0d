"""Mixed precision in the packed engine, against lockstep's, which is torch's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foldtune.testing.engine_laws import EPOCHS, make_config, make_job
from foldtune.train import precision
from foldtune.train.engine import Engine, TrainingSetup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine
from foldtune.values import Config, Floats

from .recorded import Captures
from .test_device import captures
from .test_nets import NETS, ROW, SEQUENCE, STACKED, make_setup_of

__all__ = ["captures"]  # a fixture
pytestmark = pytest.mark.usefixtures("bfloat16")

PRODUCTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": (ROW, {"use": "MLP", "n_blocks": 2, "d_block": 16}),
    "batch norm": (ROW, {"use": "MLP", "n_blocks": 2, "d_block": 16, "norm": "BatchNorm1d"}),
    "over time": (SEQUENCE, STACKED["linear over time"][1]),
    "conv net": STACKED["conv net"],
    "whole": NETS["attention"],
}
"""Every way in which a net multiplies."""


def mixed(net: dict[str, Any], precision: str = "bf16-mixed") -> Config:
    """SGD: Adam turns the smallest difference of gradients into whole steps."""
    training = {"epochs": EPOCHS, "batch_size": 8, "precision": precision}
    return make_config(model=net, training=training, optimizer={"use": "SGD", "lr": 0.05, "momentum": 0.9})


def setup_of(features: tuple[int, ...]) -> TrainingSetup:
    return replace(make_setup_of(features), metrics=({"use": "log_loss"},))


def curves(engine: Engine, *configs: Config) -> Floats:
    """Losses and scores, (J, 2, EPOCHS, K)."""
    run = engine.start([make_job(each, trial) for trial, each in enumerate(configs)])
    reports = [run.step() for _ in range(EPOCHS)]
    assert all(report.failure is None for epoch in reports for report in epoch), reports
    return np.array([[[r.losses for r in job], [r.scores[:, 0] for r in job]] for job in zip(*reports, strict=True)])


@pytest.mark.parametrize("name", PRODUCTS)
def test_equals_autocast_in_lockstep_to_rounding(name: str) -> None:
    features, net = PRODUCTS[name]
    setup = setup_of(features)
    ours, theirs = curves(PackedEngine(setup), mixed(net)), curves(LockstepEngine(setup), mixed(net))
    exact = curves(PackedEngine(setup), mixed(net, "32-true"))
    assert 1e-5 < abs(ours - exact).max(), "products are not rounded"
    np.testing.assert_allclose(ours, theirs, atol=0.03, rtol=0.03)  # a number of bfloat16 has 8 bits


@pytest.mark.parametrize("name", ["plain", "conv net"])
def test_replayed_steps_are_those_that_the_host_drives(name: str, captures: Captures) -> None:
    features, net = PRODUCTS[name]
    setup = setup_of(features)
    ours, theirs = curves(PackedEngine(setup), mixed(net)), curves(LockstepEngine(setup), mixed(net))
    np.testing.assert_allclose(ours, theirs, atol=0.03, rtol=0.03)


def test_jobs_of_another_precision_get_a_stack_of_their_own() -> None:
    features, net = PRODUCTS["plain"]
    configs = [mixed(net), mixed(net, "32-true"), mixed(net)]
    together = curves(PackedEngine(setup_of(features)), *configs)
    for trial, config in enumerate(configs):
        run = PackedEngine(setup_of(features)).start([make_job(config, trial)])
        alone = [run.step()[0].losses for _ in range(EPOCHS)]
        np.testing.assert_array_equal(together[trial, 0], alone)


def test_a_device_without_it_fails_the_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    features, net = PRODUCTS["plain"]
    jobs = [make_job(mixed(net), 0), make_job(mixed(net, "32-true"), 1)]
    first, second = PackedEngine(setup_of(features)).start(jobs).step()
    assert first.failure is not None and "must have bfloat16 in hardware" in first.failure.message
    assert second.failure is None and second.engine == "packed"
