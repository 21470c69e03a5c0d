"""Nets of images and sequences, and nets that `vmap` runs as a whole: against lockstep, and in other company."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foldtune.testing.engine_laws import (
    EPOCHS,
    ROWS,
    Trained,
    assert_same,
    check_restored_equals_uninterrupted,
    make_config,
    make_job,
    make_setup,
    train,
)
from foldtune.train.engine import TrainingSetup
from foldtune.train.packed import PackedEngine
from foldtune.values import Config, EpochReport
from tests.train.packed.test_engine import OPTIMIZERS, assert_equal_engines, exact, packed

IMAGE, SEQUENCE, ROW = (1, 7, 7), (6, 3), (5,)
"""Odd sizes, whose kernels have remainders: last bits then depend on where numbers lie."""


def layers(*nodes: Any) -> dict[str, Any]:
    return {"use": "Sequential", "layers": list(nodes)}


def own(net: type[nn.Module]) -> dict[str, Any]:
    return {"use": f"{__name__}:{net.__name__}"}


class Attention(nn.Module):
    """As a user writes it: products, a softmax, a mean over time."""

    def __init__(self, input_shape: tuple[int, int], out_features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(input_shape[1], 5)
        self.query, self.key, self.value = (nn.Linear(5, 5, bias=False) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(5), nn.Linear(5, out_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / math.sqrt(5), dim=-1)
        return self.head(self.norm(x + weights @ self.value(x)).mean(1))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A loop over time."""

    def __init__(self, input_shape: tuple[int, int], out_features: int) -> None:
        super().__init__()
        self.given, self.kept = nn.Linear(input_shape[1], 7), nn.Linear(7, 7, bias=False)
        self.head = nn.Linear(7, out_features)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 7)
        for moment in x.unbind(1):
            hidden = torch.tanh(self.given(moment) + self.kept(hidden))
        return self.head(hidden)  # type: ignore[no-any-return]


class Counting(nn.Module):
    """A buffer of its own, changed in place."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(in_features, 7), nn.BatchNorm1d(7), nn.Linear(7, out_features)
        self.register_buffer("largest", torch.zeros(7))
        self.largest: Tensor

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(torch.tanh(self.layer(x)))
        if self.training:
            self.largest.copy_(torch.maximum(self.largest, hidden.detach().amax(0)))
        return self.head(hidden / (1 + self.largest))  # type: ignore[no-any-return]


CONV: dict[str, Any] = {"use": "Conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1}
MAX = {"use": "MaxPool2d", "kernel_size": 2}
STACKED: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "batch norm": (IMAGE, layers(CONV, "BatchNorm2d", "Tanh", MAX, {**CONV, "bias": False}, "Flatten", "Linear")),
    "bare batch norm": (IMAGE, layers(CONV, {"use": "BatchNorm2d", "affine": False}, "Flatten", "Linear")),
    "group norm": (
        IMAGE,
        layers({**CONV, "out_channels": 6}, {"use": "GroupNorm", "num_groups": 2}, "SiLU", MAX, "Flatten", "Linear"),
    ),
    "instance norm": (IMAGE, layers(CONV, {"use": "InstanceNorm2d", "affine": True}, "GELU", "Flatten", "Linear")),
    "layer norm": (IMAGE, layers(CONV, {"use": "LayerNorm", "normalized_shape": [3, 7, 7]}, "Flatten", "Linear")),
    "pools": (
        IMAGE,
        layers(
            {**CONV, "out_channels": 5, "stride": 2, "padding": "valid"},
            "PReLU",
            {"use": "AvgPool2d", "kernel_size": 2, "padding": 1},
            {"use": "Conv2d", "out_channels": 10, "kernel_size": 3, "padding": "same", "groups": 5},
            "Sigmoid",
            {"use": "AdaptiveAvgPool2d", "output_size": 1},
            "Flatten",
            "Linear",
        ),
    ),
    "upsampled": (
        IMAGE,
        layers(
            {"use": "ConvTranspose2d", "out_channels": 3, "kernel_size": 2, "stride": 2},
            {"use": "LocalResponseNorm", "size": 2},
            {"use": "Upsample", "scale_factor": 0.5, "mode": "bilinear"},
            {"use": "AdaptiveMaxPool2d", "output_size": 3},
            "Flatten",
            "Linear",
        ),
    ),
    "conv net": (IMAGE, {"use": "ConvNet", "n_blocks": 2, "d_block": 5, "norm": "BatchNorm2d", "activation": "GELU"}),
    "conv net of sequences": (SEQUENCE, {"use": "ConvNet", "n_blocks": 1, "d_block": 3, "pool": 4}),
    "convolution over time": (
        SEQUENCE,
        layers({"use": "Conv1d", "out_channels": 5, "kernel_size": 2}, "BatchNorm1d", "ELU", "Flatten", "Linear"),
    ),
    "linear over time": (
        SEQUENCE,
        layers({"use": "Linear", "out_features": 5}, "SiLU", {"use": "LayerNorm"}, "PReLU", "Flatten", "Linear"),
    ),
    "elementwise first": (ROW, layers("Sigmoid", "BatchNorm1d", "Linear")),
}
"""Nets whose every layer has a stacked kernel."""
WHOLE: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "attention": (SEQUENCE, own(Attention)),
    "recurrent": (SEQUENCE, own(Recurrent)),
    "counting": (ROW, own(Counting)),
    "transformer": (
        (6, 4),
        layers(
            {"use": "TransformerEncoderLayer", "nhead": 2, "d_model": 4, "dropout": 0.0, "batch_first": True},
            "Flatten",
            "Linear",
        ),
    ),
    "circular": (IMAGE, layers({**CONV, "padding_mode": "circular"}, "BatchNorm2d", "Softplus", "Flatten", "Linear")),
}
"""Nets that have none."""
NETS = {**STACKED, **WHOLE}
over_nets = pytest.mark.parametrize("name", NETS)


def make_setup_of(features: tuple[int, ...]) -> TrainingSetup:
    setup = make_setup()
    codes = setup.dataset.target.reshape(-1, *[1] * len(features))
    numeric = np.random.RandomState(3).standard_normal((ROWS, *features)) + codes
    return replace(setup, dataset=replace(setup.dataset, numeric=numeric, numeric_names=()))


def make_configs(net: dict[str, Any]) -> list[Config]:
    """Jobs that differ in what may differ beside the net."""
    training = {"epochs": EPOCHS, "batch_size": 11}
    names = ("sgd", "nesterov", "adam", "adamw")
    return [make_config(model=net, optimizer=OPTIMIZERS[name], training=training) for name in names]


@over_nets
def test_equals_lockstep(name: str) -> None:
    features, net = NETS[name]
    jobs = [make_job(config, trial) for trial, config in enumerate(make_configs(net))]
    assert_equal_engines(jobs, exact(make_setup_of(features)), atol=1e-8)


@over_nets
def test_company_changes_nothing(name: str) -> None:
    features, net = NETS[name]
    assert_company_changes_nothing(make_configs(net), make_setup_of(features))


@pytest.mark.parametrize("name", ["conv net", "attention"])
def test_a_pack_restored_goes_on_bitwise(name: str) -> None:
    features, net = NETS[name]
    check_restored_equals_uninterrupted(PackedEngine, make_setup_of(features), make_config(model=net))


def test_dropout_of_images_does_not_depend_on_company() -> None:
    nets = [
        {"use": "ConvNet", "n_blocks": depth, "d_block": 3, "dropout": p}
        for depth, p in ((1, 0.2), (2, 0.5), (2, 0.1), (1, 0.4))
    ]
    assert_company_changes_nothing([make_config(model=net) for net in nets], make_setup_of(IMAGE))


def test_unlike_nets_do_not_touch() -> None:
    """Stacked and whole nets, in one stack."""
    nets = [net for features, net in NETS.values() if features == IMAGE]
    jobs = [make_job(make_config(model=net), trial) for trial, net in enumerate(nets)]
    assert_equal_engines(jobs, exact(make_setup_of(IMAGE)), atol=1e-8)
    assert_company_changes_nothing([job.config for job in jobs], make_setup_of(IMAGE))


def assert_company_changes_nothing(configs: Sequence[Config], setup: TrainingSetup) -> None:
    """Bitwise: every job beside others that come and go, and by itself."""
    jobs = [make_job(config, trial) for trial, config in enumerate(configs)]
    run = packed(jobs[::-1][:-1], setup)
    reports: dict[int, list[EpochReport]] = defaultdict(list)
    results = {}
    for epoch in range(1, EPOCHS + 2):
        for report in run.step():
            assert report.failure is None, report.failure
            reports[report.trial].append(report)
            if report.done:
                results[report.trial] = run.finish(report.trial)
        if epoch == 1:
            run.drop(1)
            run.add(jobs[0])
    assert not run.reasons, run.reasons
    assert sorted(results) == [trial for trial in range(len(jobs)) if trial != 1]
    for trial, result in results.items():
        assert_same(Trained(tuple(reports[trial]), result), train(packed([jobs[trial]], setup), trial))
