"""Steps that a device takes by itself: on the processor, where CUDA graphs are recorded operations."""

import gc
import logging
import weakref
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foldtune.testing.engine_laws import EPOCHS, ROWS, make_config, make_job, make_setup
from foldtune.train.packed import graph
from foldtune.train.packed.device import DeviceTrainer
from foldtune.train.packed.graph import Call, Replayed
from foldtune.train.packed.stack import Stack
from foldtune.values import Fold

from . import test_engine
from .recorded import Captures
from .test_engine import COMPANY, NETS, OPTIMIZERS, PLAIN, SCHEDULES, assert_equal_engines, exact, packed

WHOLE = {"use": f"{__name__}:Whole"}
LOSSES = ("cross-entropy", "weighted", "nll", "binary", "huber")


class Whole(nn.Module):
    """A net that `vmap` runs as a whole: how often its loop runs cannot be traced."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(x.shape[1]):
            x = x + 1
        return self.layer(x)  # type: ignore[no-any-return]


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Captures]:
    """Stacks take the steps of a device; they are captured after the first, and replayed from the third on."""
    made = Captures(monkeypatch)
    trainer = cached_property(lambda stack: DeviceTrainer(stack, made))
    trainer.__set_name__(Stack, "device_trainer")
    monkeypatch.setattr(Stack, "device_trainer", trainer)
    monkeypatch.setattr(graph, "WARM_UP", 1)
    yield made
    assert made.replays > made.made > 0, "the law has replayed nothing"


@pytest.mark.parametrize("net", NETS)
def test_replayed_steps_of_every_optimizer_equal_lockstep(net: str, captures: Captures) -> None:
    test_engine.test_every_optimizer_equals_lockstep_in_one_pack(net)


@pytest.mark.parametrize("name", LOSSES)
def test_replayed_losses_equal_lockstep(name: str, captures: Captures) -> None:
    test_engine.test_every_loss_equals_lockstep(name)


def test_replayed_schedules_and_penalties_equal_lockstep(captures: Captures) -> None:
    """Nothing that changes from step to step is a number of the host."""
    test_engine.test_every_schedule_and_penalty_equals_lockstep_in_one_pack()


@pytest.mark.parametrize("scheduler", SCHEDULES[::3], ids=str)
def test_replayed_folds_of_unequal_size_equal_lockstep(scheduler: dict[str, Any], captures: Captures) -> None:
    test_engine.test_folds_of_unequal_size_equal_lockstep(scheduler)


def test_replayed_embeddings_equal_lockstep(captures: Captures) -> None:
    test_engine.test_embeddings_of_categories_equal_lockstep()


def test_a_pack_restored_goes_on_bitwise(captures: Captures) -> None:
    test_engine.test_a_pack_restored_goes_on_bitwise()


@pytest.mark.parametrize("net", [NETS["batch norm"], NETS["residual"], NETS["own"]], ids=["norm", "residual", "own"])
def test_company_changes_nothing_with_dropout(net: dict[str, Any], captures: Captures) -> None:
    net = net if net["use"].endswith("Own") else {**net, "dropout": 0.3}
    test_engine.test_company_changes_nothing([{**config, "model": net} for config in COMPANY])


def test_dropout_changes_from_step_to_step(captures: Captures) -> None:
    """Frozen weights: mean losses of epochs differ by their bits alone, and these follow from the epoch."""
    net = {**PLAIN, "dropout": 0.5}
    still = make_config(model=net, optimizer={"use": "SGD", "lr": 0.0}, training={"epochs": EPOCHS, "batch_size": ROWS})
    run, again = packed([make_job(still)]), packed([make_job(still)])
    losses = np.stack([run.step()[0].losses for _ in range(EPOCHS)])
    assert len({row.tobytes() for row in losses}) == EPOCHS
    assert np.array_equal(losses, [again.step()[0].losses for _ in range(EPOCHS)])


def test_models_of_other_optimizers_may_stand_between(captures: Captures) -> None:
    names = ("adam", "nesterov", "adam", "rmsprop", "nesterov", "adam")
    jobs = [make_job(make_config(model=PLAIN, optimizer=OPTIMIZERS[name]), i) for i, name in enumerate(names)]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)


def trainer_of(model: dict[str, Any], capture: Any) -> DeviceTrainer:
    run = packed([make_job(make_config(model=model), folds=[Fold(np.arange(16), np.arange(16, 20))])])
    run.step()
    (stack,) = run.stacks
    return DeviceTrainer(stack, capture)


def test_nets_of_the_users_own_code_are_not_captured() -> None:
    """A replay would leave out whatever Python does in it."""
    assert not any(isinstance(step, Replayed) for step in trainer_of(WHOLE, lambda step: step).steps.values())
    assert all(isinstance(step, Replayed) for step in trainer_of(PLAIN, lambda step: step).steps.values())


def test_graphs_are_for_cuda_alone() -> None:
    assert not any(isinstance(step, Replayed) for step in trainer_of(PLAIN, None).steps.values())


def test_a_step_that_cannot_be_captured_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    count = torch.zeros(1)

    def capture(step: Call) -> Call:
        raise RuntimeError("operation not permitted when stream is capturing")

    step = Replayed(lambda: count.add_(1), capture)
    with caplog.at_level(logging.WARNING, logger="foldtune"):
        for _ in range(graph.WARM_UP + 3):
            step()
    assert count.item() == graph.WARM_UP + 3
    assert [record.message for record in caplog.records] == [
        "Steps run kernel by kernel, for they cannot be captured: operation not permitted when stream is capturing"
    ]


def test_a_step_is_captured_once_and_then_replayed() -> None:
    said: list[str] = []

    def capture(step: Call) -> Call:
        said.append("capture")
        return lambda: said.append("replay")

    step = Replayed(lambda: said.append("run"), capture)
    for _ in range(graph.WARM_UP + 2):
        step()
    assert said == ["run"] * graph.WARM_UP + ["capture", "replay", "replay"]


def test_a_stack_that_is_left_is_freed_at_once() -> None:
    """Its memory is wanted for the next one: nothing refers to it in a circle."""
    trainer = trainer_of(PLAIN, lambda step: step)
    seen = weakref.ref(trainer.flats[0])
    gc.disable()
    try:
        del trainer
        assert seen() is None
    finally:
        gc.enable()
