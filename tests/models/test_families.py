"""Families against plain torch."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune import seeds
from foldtune.models import MLP, ColumnEmbeddings, ConvNet, Sequential, TabularResNet
from foldtune.models.builder import build_model
from foldtune.models.layers import make_layer
from foldtune.values import DataShape


def assert_same_answers(ours: nn.Module, plain: nn.Module, x: Tensor) -> None:
    """Bitwise, in training and out of it, with the same random numbers."""
    for mode in (True, False):
        answers = []
        for model in (ours, plain):
            with seeds.torch_seeded(1):
                answers.append(model.train(mode)(x))
        assert torch.equal(*answers)


def test_mlp_is_a_plain_sequential() -> None:
    with seeds.torch_seeded(0):
        ours = MLP(4, 3, n_blocks=2, d_block=8, activation="GELU", norm="BatchNorm1d", dropout=0.5)
    with seeds.torch_seeded(0):
        plain = nn.Sequential(
            *(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5)),
            *(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5)),
            nn.Linear(8, 3),
        )
    assert_same_answers(ours, plain, torch.randn(6, 4))


def test_residual_net_is_its_equation() -> None:
    net = TabularResNet(4, 3, n_blocks=1, d_block=8, norm="LayerNorm")
    first, second = (layer for layer in net.blocks.modules() if isinstance(layer, nn.Linear))
    x = torch.randn(5, 4)
    z = net.stem(x)
    z = z + second(nn.functional.relu(first(nn.functional.layer_norm(z, (8,)))))
    out = net.head[2](nn.functional.relu(nn.functional.layer_norm(z, (8,))))
    torch.testing.assert_close(net(x), out)


def test_conv_net_is_a_plain_sequential() -> None:
    with seeds.torch_seeded(0):
        ours = ConvNet((2, 6, 6), 3, n_blocks=3, d_block=4, norm="BatchNorm2d", dropout=0.5)
    with seeds.torch_seeded(0):
        plain = nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5)),
            *(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5)),
            *(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        )
    assert_same_answers(ours, plain, torch.randn(6, 2, 6, 6))


@pytest.mark.parametrize(
    ("shape", "settings", "match"),
    [
        ((4,), {}, r"one to three sizes, not \(\) after the channels"),
        ((1, 2, 3, 4, 5), {}, r"one to three sizes, not \(2, 3, 4, 5\) after the channels"),
        ((1, 8, 8), {"kernel_size": 4}, "`kernel_size` must be odd and `pool` at least 1, not 4 and 2"),
        ((1, 8, 8), {"pool": 0}, "`kernel_size` must be odd and `pool` at least 1, not 3 and 0"),
        ((1, 8, 8), {"d_block": 0}, "`n_blocks` must be at least 0 and `d_block` at least 1, not 2 and 0"),
    ],
)
def test_conv_nets_that_are_refused(shape: tuple[int, ...], settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ConvNet(shape, 3, **settings)


def test_embeddings_stand_beside_the_numbers() -> None:
    embed = ColumnEmbeddings([3, 5], d_embedding=2)
    numeric, codes = torch.randn(4, 2), torch.tensor([[0, 4], [1, 3], [2, 2], [0, 0]])
    out: Tensor = embed(numeric, codes)
    assert out.shape == (4, 6) and embed.extra_features == 4
    assert torch.equal(out[:, :2], numeric)
    assert torch.equal(out[:, 4:], embed.tables[1](codes[:, 1]))


@pytest.mark.parametrize("cardinality", [1, 2, 3, 10, 100, 10_000])
def test_widths_of_embeddings_follow_fastais_rule(cardinality: int) -> None:
    assert ColumnEmbeddings([cardinality]).extra_features == min(50, math.ceil(1.6 * cardinality**0.56))


def test_every_place_has_parameters_of_its_own() -> None:
    layer = nn.PReLU()
    first, second = make_layer(layer, 4), make_layer(layer, 4)
    assert first is not second and first is not layer
    net = MLP(4, 3, n_blocks=2, d_block=8, activation=layer)
    assert len({id(module) for module in net.modules() if isinstance(module, nn.PReLU)}) == 2


def test_widths_are_filled_in_layer_by_layer() -> None:
    nodes = [
        {"use": "Conv2d", "out_channels": 4, "kernel_size": 3},
        "BatchNorm2d",
        {"use": "GroupNorm", "num_groups": 2},
        {"use": "Flatten"},
        {"use": "Linear", "out_features": 5},
        {"use": "LayerNorm"},
        {"use": "Linear"},
    ]
    model = build_model({"use": "Sequential", "layers": nodes}, DataShape((1, 8, 8), (), 10))
    assert isinstance(model, Sequential)
    names = ("in_channels", "num_features", "num_channels", "in_features", "normalized_shape", "out_features")
    filled = [{name: getattr(layer, name) for name in names if hasattr(layer, name)} for layer in model.layers]
    assert filled == [
        {"in_channels": 1},
        {"num_features": 4},
        {"num_channels": 4},
        {},
        {"in_features": 144, "out_features": 5},
        {"normalized_shape": (5,)},
        {"in_features": 5, "out_features": 10},
    ]


def test_widths_are_found_without_copying_or_changing_the_layers() -> None:
    tied = nn.Linear(4, 4)
    norm = nn.BatchNorm1d(4)
    model = Sequential([tied, norm, tied, nn.Linear(4, 3)], (4,), 3)
    assert model.layers[0] is model.layers[2] is tied
    assert not any(value.is_meta for value in model.state_dict().values())
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("family", [MLP, TabularResNet])
@pytest.mark.parametrize("sizes", [{"n_blocks": -1}, {"d_block": 0}])
def test_sizes_that_would_build_another_net_are_refused(family: type[nn.Module], sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="`n_blocks` must be at least 0 and `d_block` at least 1, not"):
        family(4, 3, **sizes)
