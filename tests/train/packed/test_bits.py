"""Random bits that a device computes."""

import torch
from torch import Tensor

from foldtune import seeds
from foldtune.train.packed.bits import Bits
from foldtune.train.packed.masks import Masks

KEYS: list[tuple[int, ...]] = [(0, trial, 0, fold) for trial in (0, 1) for fold in (0, 1)]
COUNT, BATCH = 4001, 8


def drawn(
    rates: list[float], *, steps: int = 3, models: list[int] | None = None, epochs: int = 1, layers: tuple[str, ...]
) -> list[list[Tensor]]:
    """What each layer keeps, step by step, of some of the models."""
    own = [0, 1, 2, 3] if models is None else models
    masks = [Masks(torch.tensor([rates[model] for model in own]), COUNT) for _ in layers]
    bits = Bits([(name, 0, len(own), layer) for name, layer in zip(layers, masks, strict=True)], BATCH)
    bits.start_epoch([KEYS[model] for model in own], [epochs] * len(own))
    found: list[list[Tensor]] = []
    for step in range(steps):
        bits.draw(torch.tensor([step]))
        found.append([layer.draw() > 0 for layer in masks])
    return found


def test_each_model_keeps_its_share() -> None:
    rates = [0.0, 0.1, 0.5, 0.9]
    steps = drawn(rates, steps=25, layers=("d",))
    share = torch.stack([kept for (kept,) in steps]).float().mean((0, 2))
    torch.testing.assert_close(share, 1 - torch.tensor(rates), atol=0.005, rtol=0)
    assert share[0] == 1, "a rate of zero drops nothing at all"


def test_bits_follow_from_model_epoch_layer_and_step_alone() -> None:
    rates = [0.5] * 4
    whole, some = drawn(rates, layers=("a", "b")), drawn(rates, layers=("b",), models=[2, 0])
    for both, (second,) in zip(whole, some, strict=True):
        assert torch.equal(second, both[1][[2, 0]])
    every = [kept[model] for layers in whole for kept in layers for model in range(4)]
    every += [kept[0] for layers in drawn(rates, layers=("a", "b"), epochs=2) for kept in layers]
    for index, one in enumerate(every):
        for other in every[:index]:
            assert abs(float((one == other).float().mean()) - 0.5) < 0.05, "two streams are not independent"


def test_units_of_a_row_are_dropped_independently() -> None:
    steps = drawn([0.5] * 4, steps=40, layers=("d",))
    flat = torch.cat([kept[:, :4000].reshape(-1, 40) for (kept,) in steps]).double()
    correlations = torch.corrcoef(flat.T) - torch.eye(40)
    assert correlations.abs().max() < 0.04


def mixed(word: int) -> int:
    """SplitMix64's finalizer, in numbers without end."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def test_words_are_those_of_the_paper() -> None:
    masks = Masks(torch.tensor([0.5]), 40)
    bits = Bits([("d", 0, 1, masks)], BATCH)
    bits.start_epoch(KEYS[:1], [7])
    bits.draw(torch.tensor([3]))
    start = mixed(seeds.derive(*KEYS[0], "dropout", 7, f"d {BATCH}"))
    wanted = [mixed((start + (3 * 2**32 + place) * 0x9E3779B97F4A7C15) % 2**64) for place in range(10)]
    assert [word % 2**64 for word in bits.words.tolist()] == wanted


def test_a_tape_without_dropout_draws_nothing() -> None:
    bits = Bits([], BATCH)
    bits.start_epoch(KEYS, [1] * 4)
    bits.draw(torch.tensor([0]))
    assert len(bits.words) == 0
