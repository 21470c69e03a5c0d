"""Dropout of many models at once."""

import pytest
import torch

from foldtune.train.packed.masks import Masks

KEYS: list[tuple[int, ...]] = [(0, trial, 0, fold) for trial in (0, 1) for fold in (0, 1)]


def masks(rates: list[float], epochs: list[int] | None = None, keys: list[tuple[int, ...]] = KEYS) -> Masks:
    return Masks(keys, epochs or [1] * len(keys), {"d": torch.tensor(rates)}, "cpu")


def test_each_model_keeps_its_share_and_its_mean() -> None:
    rates = torch.tensor([0.0, 0.1, 0.5, 0.9])
    dropped = masks(rates.tolist()).dropped("d", torch.ones(4, 400, 250))
    torch.testing.assert_close((dropped == 0).float().mean((1, 2)), rates, atol=0.005, rtol=0)
    torch.testing.assert_close(dropped.mean((1, 2)), torch.ones(4), atol=0.03, rtol=0)
    assert (dropped[0] == 1).all(), "a rate of zero drops nothing at all"
    for row, rate in zip(dropped, rates, strict=True):
        torch.testing.assert_close(row.max(), 1 / (1 - rate))


def test_a_rate_of_one_drops_everything() -> None:
    assert (masks([1.0] * 4).dropped("d", torch.ones(4, 300, 300)) == 0).all()


def test_bits_follow_from_model_and_epoch_alone() -> None:
    x = torch.ones(4, 30, 50)
    whole, again = masks([0.5] * 4), masks([0.5, 0.1], [1, 1], [KEYS[2], KEYS[0]])
    for _ in range(20):  # more than is drawn at once
        all_four, two = whole.dropped("d", x), again.dropped("d", x[:2])
        assert torch.equal(all_four[2], two[0])
        assert not any(torch.equal(all_four[i], all_four[j]) for i in range(4) for j in range(i))
    later = masks([0.5] * 4, [2, 1, 1, 1]).dropped("d", x)
    first = masks([0.5] * 4).dropped("d", x)
    assert not torch.equal(later[0], first[0]) and torch.equal(later[1:], first[1:])


def test_units_are_dropped_independently() -> None:
    dropped = masks([0.5] * 4).dropped("d", torch.ones(4, 1000, 40))
    flat = (dropped == 0).double().flatten(0, 1)  # (4000, 40)
    correlations = torch.corrcoef(flat.T) - torch.eye(40)
    assert correlations.abs().max() < 0.1


@pytest.mark.parametrize("columns", [False, True])
def test_gradients_go_where_values_went(columns: bool) -> None:
    x = torch.ones(4, 6, 7).transpose(1, 2).requires_grad_() if columns else torch.ones(4, 6, 7, requires_grad=True)
    dropped = masks([0.5] * 4).dropped("d", x)
    (grad,) = torch.autograd.grad(dropped.sum(), x)
    assert torch.equal(grad, dropped) and dropped.stride() == x.stride()
