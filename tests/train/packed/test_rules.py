"""Update rules against torch.optim, and rows against each other."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop

from foldtune.train.packed.rules import RULES, Slices, has_rule, hyperparameters

P, STEPS = 64, 12
SETTINGS: list[tuple[type[Optimizer], list[dict[str, Any]]]] = [
    (
        SGD,
        [
            {"lr": 0.1},
            {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.1},
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
            {"lr": 0.1, "momentum": 0.8, "dampening": 0.5},
        ],
    ),
    (Adam, [{"lr": 0.1}, {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.3}, {"lr": 0.1, "eps": 1e-3}]),
    (AdamW, [{"lr": 0.1}, {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.3}, {"lr": 0.1, "eps": 1e-3}]),
    (RMSprop, [{"lr": 0.1}, {"lr": 0.01, "alpha": 0.5, "momentum": 0.9}, {"lr": 0.1, "weight_decay": 0.1}]),
]
IDS = [kind.__name__ for kind, _ in SETTINGS]


def optimizers(kind: type[Optimizer], settings: list[dict[str, Any]]) -> tuple[list[Tensor], list[Optimizer]]:
    torch.manual_seed(0)
    weights = [torch.randn(P, dtype=torch.float64, requires_grad=True) for _ in settings]
    made: list[Any] = [kind([weight], **given) for weight, given in zip(weights, settings, strict=True)]
    return weights, made


def stacked(kind: type[Optimizer], made: list[Optimizer], start: Tensor, grads: list[Tensor]) -> list[Tensor]:
    """Parameters after every step, (M, P); each model has hyperparameters of its own."""
    params, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    states = []
    for step, grad in enumerate(grads, 1):
        grad = grad.clone()
        for row, optimizer in enumerate(made):
            own = [[part[row : row + 1]] for part in (params, grad, first, second)]
            slices = Slices(own[0], own[1], own[2], own[3], steps=[torch.zeros(())])
            RULES[kind].update_(slices, {**hyperparameters(optimizer), "t": float(step)})
        states.append(params.clone())
    return states


@pytest.mark.parametrize(("kind", "settings"), SETTINGS, ids=IDS)
def test_every_step_equals_torch(kind: type[Optimizer], settings: list[dict[str, Any]]) -> None:
    weights, made = optimizers(kind, settings)
    grads = [torch.randn(len(settings), P, dtype=torch.float64) for _ in range(STEPS)]
    states = stacked(kind, made, torch.stack([weight.detach() for weight in weights]), grads)
    for state, grad in zip(states, grads, strict=True):
        for weight, optimizer, row in zip(weights, made, grad, strict=True):
            weight.grad = row.clone()
            optimizer.step()
        torch.testing.assert_close(state, torch.stack([weight.detach() for weight in weights]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("kind", "settings"), SETTINGS, ids=IDS)
def test_a_diverged_row_changes_no_other(kind: type[Optimizer], settings: list[dict[str, Any]]) -> None:
    weights, made = optimizers(kind, settings)
    start = torch.stack([weight.detach() for weight in weights])
    grads = [torch.randn(len(settings), P, dtype=torch.float64) for _ in range(STEPS)]
    whole = stacked(kind, made, start, grads)[-1]
    broken = [grad.clone() for grad in grads]
    broken[1][0] = torch.nan
    broken[2][0] = torch.inf
    found = stacked(kind, made, start, broken)[-1]
    assert torch.equal(found[1:], whole[1:]) and found[0].isnan().all()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: Adam(p, amsgrad=True),
        lambda p: AdamW(p, maximize=True),
        lambda p: Adam(p, decoupled_weight_decay=True),
        lambda p: RMSprop(p, centered=True),
        lambda p: Adam(p, eps=0.0),
        lambda p: NAdam(p),
    ],
)
def test_what_no_rule_computes_is_refused(optimizer: Any) -> None:
    assert not has_rule(optimizer([torch.zeros(1, requires_grad=True)]))
    assert has_rule(Adam([torch.zeros(1, requires_grad=True)]))
