"""Update rules that read hyperparameters from tensors, against torch.optim."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from foldtune.train.packed.buffers import LANES
from foldtune.train.packed.device_rules import DEVICE_RULES, Numbers
from foldtune.train.packed.rules import RULES, hyperparameters

STEPS = 6
RATES = st.sampled_from([0.0, 1e-4, 0.01, 0.3])
SHARES = st.floats(0, 0.999)
DECAYS = st.sampled_from([0.0, 1e-3, 0.3])
ADAM = st.fixed_dictionaries(
    {"lr": RATES, "betas": st.tuples(SHARES, SHARES), "eps": st.sampled_from([1e-8, 1e-2]), "weight_decay": DECAYS}
)
SETTINGS: dict[type[Optimizer], st.SearchStrategy[dict[str, Any]]] = {
    SGD: st.one_of(
        st.fixed_dictionaries({"lr": RATES, "momentum": st.just(0.0) | SHARES, "weight_decay": DECAYS}),
        st.fixed_dictionaries({"lr": RATES, "momentum": SHARES, "dampening": SHARES, "weight_decay": DECAYS}),
        st.fixed_dictionaries(
            {"lr": RATES, "momentum": st.floats(0.01, 0.99), "nesterov": st.just(True), "weight_decay": DECAYS}
        ),
    ),
    Adam: ADAM,
    AdamW: ADAM,
    RMSprop: st.fixed_dictionaries(
        {"lr": RATES, "alpha": SHARES, "momentum": st.just(0.0) | SHARES, "weight_decay": DECAYS}
    ),
}


def numbers(start: Tensor) -> Numbers:
    return Numbers(start.clone(), *(torch.zeros_like(start) for _ in range(3)))


def step_(kind: type[Optimizer], part: Numbers, hypers: list[dict[str, float]], grads: Tensor) -> None:
    """One step; each row has hyperparameters of its own."""
    values = {name: np.array([hyper[name] for hyper in hypers]) for name in hypers[0]}
    rule = DEVICE_RULES[kind]
    factors = [torch.from_numpy(np.asarray(factor)).unsqueeze(1) for factor in rule.factors(values)]
    assert len(factors) == rule.count
    part.grads.copy_(grads)
    rule.update_(part, factors)


def test_there_is_a_rule_for_every_class_that_can_be_packed() -> None:
    assert DEVICE_RULES.keys() == RULES.keys()


@pytest.mark.parametrize("kind", SETTINGS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_step_equals_torch(kind: type[Optimizer], data: st.DataObject) -> None:
    """Whatever the settings, in one call for all models; learning rates and momentum change from step to step."""
    each = data.draw(st.lists(SETTINGS[kind], min_size=1, max_size=4))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    start = torch.randn(len(each), LANES, dtype=torch.float64, generator=random)
    weights = [row.clone().requires_grad_() for row in start]
    made: list[Any] = [kind([weight], **given) for weight, given in zip(weights, each, strict=True)]
    part = numbers(start)
    for step in range(1, STEPS + 1):
        grads = torch.randn(start.shape, dtype=torch.float64, generator=random)
        for optimizer, weight, row in zip(made, weights, grads, strict=True):
            group, settled = optimizer.param_groups[0], optimizer.defaults
            group["lr"] *= 0.5 if step % 2 else 1.5
            if "momentum" in group:  # a schedule may cycle it
                group["momentum"] = settled["momentum"] * (step not in (3, 4))
            weight.grad = row.clone()
        step_(kind, part, [{**hyperparameters(optimizer), "t": float(step)} for optimizer in made], grads)
        for optimizer in made:
            optimizer.step()
        torch.testing.assert_close(part.params, torch.stack([w.detach() for w in weights]), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_diverged_row_changes_no_other(kind: type[Optimizer]) -> None:
    weight = torch.zeros(1, requires_grad=True)
    given = {"lr": 0.1} if kind is not SGD else {"lr": 0.1, "momentum": 0.9}
    hypers = [{**hyperparameters(kind([weight], **given)), "t": 1.0}] * 2  # type: ignore[arg-type]
    grads = torch.randn(2, LANES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    broken = grads.clone()
    broken[0] = torch.nan
    whole, found = numbers(torch.ones_like(grads)), numbers(torch.ones_like(grads))
    step_(kind, whole, hypers, grads)
    step_(kind, found, hypers, broken)
    assert torch.equal(found.params[1], whole.params[1]) and found.params[0].isnan().all()
