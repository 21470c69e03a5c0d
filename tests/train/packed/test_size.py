"""Memory that is foretold against memory that is there."""

import gc
from dataclasses import replace
from typing import Any

import pytest
import torch

from foldtune.testing.engine_laws import make_config, make_job, make_setup
from foldtune.train.engine import TrainingSetup
from foldtune.train.packed import PackedEngine, memory_of
from foldtune.values import Job
from tests.train.packed.test_nets import make_setup_of


def held() -> dict[int, int]:
    """Bytes of every storage that a tensor refers to, by address; a sparse one, left by another test, has none."""
    gc.collect()
    tensors = [part for part in gc.get_objects() if issubclass(type(part), torch.Tensor) and not part.is_sparse]
    return {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in tensors}


def jobs(net: dict[str, Any], count: int, batch_size: int) -> list[Job]:
    config = make_config(model=net, training={"epochs": 4, "batch_size": batch_size})
    return [make_job(config, trial) for trial in range(count)]


@pytest.mark.parametrize("batch_size", [4, 20])
@pytest.mark.parametrize(
    "net",
    [
        {"use": "MLP", "n_blocks": 3, "d_block": 512},
        {"use": "MLP", "n_blocks": 2, "d_block": 2048, "norm": "BatchNorm1d", "dropout": 0.2},
        {"use": "TabularResNet", "n_blocks": 2, "d_block": 400, "norm": "LayerNorm", "dropout": 0.1},
    ],
    ids=["plain", "normed", "residual"],
)
def test_tensors_of_a_run_are_foretold_within_a_fifth(net: dict[str, Any], batch_size: int) -> None:
    check_foretold(replace(make_setup(), dtype="float32"), jobs(net, 3, batch_size))


@pytest.mark.parametrize("layer", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("some", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one layer", "two, both ways"])
def test_loops_over_time_are_foretold_within_a_fifth(layer: str, some: dict[str, Any]) -> None:
    net = {"use": "tests.train.packed.test_recurrent:Net", "layer": layer, "hidden": 128, **some}
    check_foretold(replace(make_setup_of((16, 8)), dtype="float32", engine="packed"), jobs(net, 3, 20))


def check_foretold(setup: TrainingSetup, wanted: list[Job]) -> None:
    foretold = memory_of(setup, wanted)
    before = held()
    run = PackedEngine(setup).start(wanted)
    run.step()
    assert not run.reasons
    found = sum(size for place, size in held().items() if place not in before)
    assert foretold == pytest.approx(found, rel=0.2)
