"""From a reference to a net, and its check on the meta device."""

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune.errors import SpecError
from foldtune.models.builder import build_model, build_on_meta, n_parameters
from foldtune.values import DataShape

TABLE = DataShape((4,), (), 3)
MIXED = DataShape((4,), (3, 5), 3)
IMAGES = DataShape((1, 8, 8), (), 10)


class Own(nn.Module):
    """A net of the user's, which does as it is told."""

    def __init__(self, in_features: int, out_features: int, how: str = "") -> None:
        super().__init__()
        self.how, self.linear = how, nn.Linear(in_features, out_features)
        self.start = torch.ones(2).sum().item() if how == "value in the constructor" else 1.0
        if how == "numpy in the constructor":
            self.register_buffer("scale", torch.from_numpy(torch.rand(in_features).numpy()))

    def forward(self, x: Tensor) -> Any:
        if self.how == "value":
            x = x * x.abs().max().item()
        if self.how == "branch" and x.sum() > 0:
            x = -x
        if self.how == "nonzero":
            x = x + x.nonzero().sum()
        if self.how == "attribute":
            return self.nothing(x)  # type: ignore[operator]
        if self.how == "key":
            return {"something": x}["nothing"]
        if self.how == "tuple":
            return self.linear(x), x
        return self.linear(x)


class Mixed(nn.Module):
    """Reads numbers and codes."""

    def __init__(self, d_in: int, d_out: int, cat_cardinalities: list[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 2) for size in cat_cardinalities)
        self.linear = nn.Linear(d_in + 2 * len(cat_cardinalities), d_out)

    def forward(self, numeric: Tensor, codes: Tensor) -> Tensor:
        parts = [table(codes[:, column]) for column, table in enumerate(self.tables)]
        out: Tensor = self.linear(torch.cat([numeric, *parts], dim=1))
        return out


def make_net(n_features: int, n_classes: int, width: int = 8) -> nn.Module:
    """A function that returns a module."""
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_classes))


def make_convolution(in_channels: int, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    height, width = (side - 2 for side in input_shape[1:])
    return nn.Sequential(nn.Conv2d(in_channels, 2, 3), nn.Flatten(), nn.Linear(2 * height * width, num_classes))


def make_nothing(n_features: int) -> int:
    return n_features


def own(name: str = "Own", **kwargs: Any) -> dict[str, Any]:
    return {"use": f"{__name__}:{name}", **kwargs}


def layers(*nodes: Any) -> dict[str, Any]:
    return {"use": "Sequential", "layers": list(nodes)}


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (own(), TABLE),
        (own("Mixed"), MIXED),
        (own("make_net", width=5), TABLE),
        (own("make_convolution"), IMAGES),
    ],
    ids=["class", "class with codes", "function", "function for images"],
)
def test_nets_of_ones_own_get_what_they_ask_for(node: dict[str, Any], shape: DataShape) -> None:
    ghost = build_on_meta(node, shape)
    assert all(parameter.is_meta for parameter in ghost.parameters())
    assert n_parameters(ghost) == n_parameters(build_model(node, shape))


def test_what_the_file_says_is_not_overwritten() -> None:
    model = build_model(own("make_net", n_classes=7), TABLE)
    assert isinstance(model, nn.Sequential) and model[2].out_features == 7


@pytest.mark.parametrize("how", ["value", "branch", "nonzero", "value in the constructor", "numpy in the constructor"])
def test_nets_that_look_at_values_are_checked_on_the_cpu(how: str) -> None:
    model = build_on_meta(own(how=how), TABLE)
    assert not any(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize(
    "node",
    [
        {"use": "MLP", "n_blocks": 3, "d_block": 30_000},
        layers({"use": "Linear", "out_features": 40_000}, "ReLU", {"use": "Linear", "out_features": 40_000}, "Linear"),
    ],
    ids=["mlp", "layers"],
)
def test_a_billion_parameters_cost_nothing(node: dict[str, Any]) -> None:
    build_on_meta({"use": "MLP"}, TABLE)  # torch imports its meta kernels once
    began = time.process_time()
    model = build_on_meta(node, TABLE)
    assert n_parameters(model) > 1e9
    assert time.process_time() - began < 2.0


def test_a_billion_parameters_that_do_not_fit_cost_nothing_either() -> None:
    node = layers({"use": "Linear", "in_features": 200_000, "out_features": 40_000}, "Linear")
    began = time.process_time()
    with pytest.raises(SpecError, match="layer 0 does not fit rows of shape"):
        build_on_meta(node, TABLE)
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    ("node", "shape", "match"),
    [
        (
            {"use": "MLP", "out_features": 7},
            TABLE,
            r"model: `MLP` must answer with 3 numbers per row, shape \(2, 3\) for two, however: \(2, 7\). "
            "Leave `out_features` out: it follows from the target and the loss",
        ),
        (own(how="tuple"), TABLE, r"`Own` must answer with 3 numbers per row, .* however: tuple\.$"),
        (own(), IMAGES, r"`Own` must accept the data \(numeric \(B, 1, 8, 8\)\), however"),
        (own(), MIXED, r"`Own` must accept the data \(numeric \(B, 4\) and codes \(B, 2\)\), however: .*positional"),
        (own(how="attribute"), TABLE, "`Own` must accept the data .* has no attribute 'nothing'"),
        (own(how="key"), TABLE, "`Own` must accept the data .* however: 'nothing'"),
        (own("make_nothing"), TABLE, "`make_nothing` must return a torch.nn.Module, however: int"),
        (own("make_missing"), TABLE, "has no `make_missing`. Did you mean make_"),
        ({"use": "MLP", "d_block": -1}, TABLE, "`MLP` must accept its arguments, however: .*`d_block` at least 1, not"),
        ({"use": "MLP", "dropout": 1.5}, TABLE, "dropout probability has to be between 0 and 1, but got 1.5"),
        ({"use": "MLP", "norm": "BatchNorm2d"}, TABLE, r"`MLP` must accept the data .* expected 4D input"),
        ({"use": "MLP", "depth": 2}, TABLE, "unexpected keyword argument 'depth'"),
        (layers({"use": "Linear", "out_features": 5}), TABLE, r"last layer gives \(5,\) per row, .* needs \(3,\); end"),
        (layers(), TABLE, r"last layer gives \(4,\) per row, but the loss needs \(3,\)"),
        (layers("Linear", "Linear"), TABLE, "layer 0 does not fit rows of shape .*'out_features'"),
        (layers({"use": "LSTM", "hidden_size": 5}, "Linear"), TABLE, "its answer is a tuple, not a tensor"),
        (layers({"use": "LSTM", "hidden_sise": 5}), TABLE, "hidden_sise"),
        (layers("Flatten", "Lineal"), IMAGES, "there is no layer `Lineal` in torch.nn. Did you mean Linear"),
        (layers({"use": "Conv2d", "out_channels": 2, "kernel_size": 9}), IMAGES, "layer 0 .*Kernel size"),
    ],
)
def test_what_is_wrong_is_said(node: dict[str, Any], shape: DataShape, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        build_on_meta(node, shape)
