"""Dropout of many models at once."""

import torch
from torch import Tensor

from foldtune.train.packed.masks import Masks

Keys = list[tuple[int, ...]]
KEYS: Keys = [(0, trial, 0, fold) for trial in (0, 1) for fold in (0, 1)]


def masks(
    rates: list[float], count: int, epochs: list[int] | None = None, keys: Keys = KEYS, layer: str = "d"
) -> Masks:
    made = Masks(torch.tensor(rates), count)
    made.start_epoch(keys, epochs or [1] * len(keys), layer)
    return made


def factors(made: Masks, count: int, models: int = 4) -> Tensor:
    drawn = made.draw()
    assert drawn.shape == (models, count)
    return drawn.clone()


def test_each_model_keeps_its_share_and_its_mean() -> None:
    rates = torch.tensor([0.0, 0.1, 0.5, 0.9])
    dropped = factors(masks(rates.tolist(), 100_000), 100_000)
    torch.testing.assert_close((dropped == 0).float().mean(1), rates, atol=0.005, rtol=0)
    torch.testing.assert_close(dropped.mean(1), torch.ones(4), atol=0.03, rtol=0)
    assert (dropped[0] == 1).all(), "a rate of zero drops nothing at all"
    for row, rate in zip(dropped, rates, strict=True):
        torch.testing.assert_close(row.max(), 1 / (1 - rate))


def test_a_rate_of_one_drops_everything() -> None:
    assert (factors(masks([1.0] * 4, 90_000), 90_000) == 0).all()


def test_bits_follow_from_model_and_epoch_alone() -> None:
    count = 1501
    whole, again = masks([0.5] * 4, count), masks([0.5, 0.1], count, [1, 1], [KEYS[2], KEYS[0]])
    for _ in range(20):  # more than is drawn at once
        all_four, two = factors(whole, count), factors(again, count, 2)
        assert torch.equal(all_four[2], two[0])
        assert not any(torch.equal(all_four[i], all_four[j]) for i in range(4) for j in range(i))
    later = factors(masks([0.5] * 4, count, [2, 1, 1, 1]), count)
    first = factors(masks([0.5] * 4, count), count)
    assert not torch.equal(later[0], first[0]) and torch.equal(later[1:], first[1:])
    assert not torch.equal(factors(masks([0.5] * 4, count, layer="other"), count), first)


def test_units_are_dropped_independently() -> None:
    dropped = factors(masks([0.5] * 4, 40_000), 40_000)
    flat = (dropped == 0).double().view(4000, 40)
    correlations = torch.corrcoef(flat.T) - torch.eye(40)
    assert correlations.abs().max() < 0.1
