"""Laws of model families: what every net that foldtune offers by name must keep, and any net of one's own can."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from foldtune import seeds
from foldtune.models.builder import build_model, build_on_meta, n_parameters
from foldtune.values import DataShape

B = 7


def check_shapes(node: Mapping[str, Any], shape: DataShape) -> None:
    """Any number of rows gives (B, outputs) float32, finite, while training and after it.

    Args:
        node: the net's reference.
        shape: what it reads and answers.
    """
    model = _built(node, shape)
    for rows in (2, B):
        for mode in (True, False):
            out = model.train(mode)(*_rows(shape, rows))
            assert out.shape == (rows, shape.outputs) and out.dtype == torch.float32, (out.shape, out.dtype)
            assert torch.isfinite(out).all()


def check_meta_equals_real(node: Mapping[str, Any], shape: DataShape) -> None:
    """The net built without memory has the parameters of the one that trains, and none of their memory."""
    ghost, model = build_on_meta(node, shape), _built(node, shape)
    assert {name: value.shape for name, value in ghost.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert n_parameters(ghost) == n_parameters(model) > 0
    assert all(parameter.is_meta for parameter in ghost.parameters()), "the net cannot be checked without memory"


def check_every_parameter_learns(node: Mapping[str, Any], shape: DataShape) -> None:
    """Each parameter has a gradient, and every input column and code matters to the answer."""
    model = _built(node, shape)
    numeric, *codes = _rows(shape, B)
    numeric.requires_grad_()
    model(numeric, *codes).square().sum().backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not idle, f"no gradient reaches {idle}"
    assert numeric.grad is None or (numeric.grad.abs().sum(dim=0) > 0).all(), "an input does not matter"
    model.eval()
    for column in range(len(shape.cardinalities)):
        other = codes[0].clone()
        other[:, column] = (other[:, column] + 1) % shape.cardinalities[column]
        assert not torch.equal(model(numeric, other), model(numeric, codes[0])), f"codes {column} do not matter"


def check_rows_are_independent(node: Mapping[str, Any], shape: DataShape) -> None:
    """After training, a row's answer does not depend on the rows beside it."""
    model = _built(node, shape).eval()
    inputs = _rows(shape, B)
    together, alone = model(*inputs), torch.cat([model(*(part[row : row + 1] for part in inputs)) for row in range(B)])
    torch.testing.assert_close(alone, together)  # other kernels for one row: equal to rounding


def check_same_seed_same_weights(node: Mapping[str, Any], shape: DataShape) -> None:
    """Initialisation follows from torch's generator alone: the same seed, the same weights; another, others."""
    first, again, other = (_built(node, shape, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def _built(node: Mapping[str, Any], shape: DataShape, seed: int = 0) -> nn.Module:
    with seeds.torch_seeded(seed, "init"):
        return build_model(node, shape)


def _rows(shape: DataShape, rows: int) -> tuple[torch.Tensor, ...]:
    """Random numbers (rows, *features), and codes (rows, Q) where there are any."""
    random = seeds.generator(0, "rows", rows)
    numeric = torch.randn(rows, *shape.features, generator=random)
    codes = [torch.randint(size, (rows,), generator=random) for size in shape.cardinalities]
    return (numeric, torch.stack(codes, dim=1)) if codes else (numeric,)
