"""Penalties and clipping."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foldtune.spec.schema import RegularizationSpec
from foldtune.train.regularize import regularize_


def net() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    made(torch.randn(5, 3).double()).square().sum().backward()
    return made


@given(st.floats(0, 10), st.floats(0, 10))
def test_penalties_equal_autograd(l1: float, l2: float) -> None:
    ours, plain = net(), net()
    weights = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    penalty = sum((l1 * weight.abs().sum() + l2 * weight.square().sum() for weight in weights), torch.zeros(()))
    penalty.backward()  # type: ignore[no-untyped-call]
    value = regularize_(list(ours.parameters()), RegularizationSpec(l1=l1, l2=l2))
    torch.testing.assert_close(torch.as_tensor(value).double(), penalty.detach().double())
    for left, right in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad)


def test_biases_and_norms_have_no_penalty() -> None:
    made, before = net(), net()
    regularize_(list(made.parameters()), RegularizationSpec(l1=1.0, l2=1.0))
    changed = [left != right for left, right in zip(_gradients(made), _gradients(before), strict=True)]
    assert changed == [True, False, False, False, True, False]


@pytest.mark.parametrize("clip", [{"clip_norm": 0.5}, {"clip_value": 0.01}])
def test_clipping_comes_after_penalties(clip: dict[str, float]) -> None:
    made = net()
    regularize_(list(made.parameters()), RegularizationSpec.model_validate({"l2": 100.0, **clip}))
    gradient = torch.cat([parameter.grad.flatten() for parameter in made.parameters() if parameter.grad is not None])
    size = gradient.norm() if "clip_norm" in clip else gradient.abs().max()
    assert size == pytest.approx(next(iter(clip.values())), rel=1e-4)


def test_parameters_without_gradients_are_left_alone() -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    used.sum().backward()  # type: ignore[no-untyped-call]
    assert float(regularize_([used, unused], RegularizationSpec(l1=1.0, clip_norm=1.0, clip_value=1.0))) == 4.0
    assert unused.grad is None


def _gradients(module: nn.Module) -> list[list[float]]:
    return [parameter.grad.flatten().tolist() for parameter in module.parameters() if parameter.grad is not None]
