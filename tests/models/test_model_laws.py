"""The laws of models, over every family and a table of shapes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from foldtune.testing import model_laws as laws
from foldtune.values import DataShape

SHAPES = {
    "table": DataShape((5,), (), 3),
    "one of everything": DataShape((1,), (2,), 1),
    "categories": DataShape((2,), (3, 40), 2),
    "categories alone": DataShape((0,), (3, 4), 2),
    "images": DataShape((1, 8, 8), (), 10),
}
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"use": "MLP", "n_blocks": 2, "d_block": 6},
    "linear": {"use": "MLP", "n_blocks": 0},
    "mlp, all parts": {
        "use": "MLP",
        "n_blocks": 2,
        "d_block": 8,
        "norm": {"use": "GroupNorm", "num_groups": 2},
        "activation": {"use": "PReLU", "init": 0.1},
        "dropout": 0.2,
        "d_embedding": 3,
    },
    "normed": {"use": "MLP", "n_blocks": 1, "d_block": 4, "norm": "BatchNorm1d", "activation": "GELU"},
    "residual": {"use": "TabularResNet", "n_blocks": 2, "d_block": 6},
    "residual, all parts": {
        "use": "TabularResNet",
        "n_blocks": 1,
        "d_block": 4,
        "d_hidden_multiplier": 1.5,
        "norm": "LayerNorm",
        "activation": "SiLU",
        "dropout": 0.1,
        "residual_dropout": 0.1,
    },
    "layers": {"use": "Sequential", "layers": ["Flatten", {"use": "Linear", "out_features": 5}, "Tanh", "Linear"]},
}
IMAGES: dict[str, dict[str, Any]] = {
    "convolution": {
        "use": "Sequential",
        "layers": [
            {"use": "Conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1},
            "BatchNorm2d",
            "SiLU",
            {"use": "AvgPool2d", "kernel_size": 2},
            {"use": "Conv2d", "out_channels": 3, "kernel_size": 3},
            "Flatten",
            {"use": "Linear", "out_features": 6},
            "BatchNorm1d",
            "Linear",
        ],
    },
    "conv net": {"use": "ConvNet", "d_block": 6},
    "conv net, all parts": {
        "use": "ConvNet",
        "n_blocks": 5,
        "d_block": 4,
        "kernel_size": 5,
        "pool": 3,
        "activation": "GELU",
        "norm": {"use": "GroupNorm", "num_groups": 2},
        "dropout": 0.2,
        "d_embedding": 3,
    },
    "conv net without blocks": {"use": "ConvNet", "n_blocks": 0},
}
PLACES = {
    "sequences": DataShape((2, 9), (), 3),
    "images": SHAPES["images"],
    "volumes and categories": DataShape((1, 4, 5, 6), (3, 4), 2),
}
CASES = {f"{model}, {shape}": (MODELS[model], SHAPES[shape]) for model in MODELS for shape in SHAPES}
CASES |= {name: (node, SHAPES["images"]) for name, node in IMAGES.items()}
CASES |= {
    f"{name}, {shape}": (node, PLACES[shape]) for name, node in IMAGES.items() if "conv net" in name for shape in PLACES
}

over_cases: Callable[..., Any] = pytest.mark.parametrize(("node", "shape"), CASES.values(), ids=CASES)


@over_cases
def test_shapes(node: Mapping[str, Any], shape: DataShape) -> None:
    laws.check_shapes(node, shape)


@over_cases
def test_meta_equals_real(node: Mapping[str, Any], shape: DataShape) -> None:
    laws.check_meta_equals_real(node, shape)


@over_cases
def test_every_parameter_learns(node: Mapping[str, Any], shape: DataShape) -> None:
    laws.check_every_parameter_learns(node, shape)


@over_cases
def test_rows_are_independent(node: Mapping[str, Any], shape: DataShape) -> None:
    laws.check_rows_are_independent(node, shape)


@over_cases
def test_same_seed_same_weights(node: Mapping[str, Any], shape: DataShape) -> None:
    laws.check_same_seed_same_weights(node, shape)
