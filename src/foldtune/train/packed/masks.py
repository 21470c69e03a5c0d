"""Random bits for dropout, from a generator of its own for every model, epoch and layer."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldtune import seeds

STEPS_AT_ONCE = 4
"""Steps whose bits are drawn at once: few calls, and little enough to stay in the cache."""


class Masks:
    """Dropout of m models in one layer.

    Args:
        rates: each model's probability of zeroing, (m,).
        count: elements of a model in a step.

    Attributes:
        words: 64-bit words that hold a model's bits of a step, 16 an element.
        bits: where somebody else draws them, (m, words * 4) int16; None where `draw` does.
    """

    def __init__(self, rates: Tensor, count: int) -> None:
        keep = 1 - rates[:, None]
        highest = ((keep * 65536).round() - 32769).clamp(-32768, 32767)
        self._limit = highest.to(torch.int16)  # the largest number that keeps, (m, 1)
        self._highest: NDArray[np.int16] = self._limit.cpu().numpy()
        self.scale = torch.where(keep > 0, 1 / keep, 0.0)
        self._count, self.words = count, math.ceil(count / 4)
        self.bits: Tensor | None = None
        self._sources: list[np.random.SFC64] = []
        self._drawn = np.empty((len(rates), 0), dtype=np.int16)
        self._step = STEPS_AT_ONCE

    def start_epoch(self, keys: Sequence[tuple[int, ...]], epochs: Sequence[int], layer: str) -> None:
        """Seed every model's generator.

        Args:
            keys: (study seed, trial, repeat, fold) of each model.
            epochs: the epoch each is in.
            layer: its name in the net.
        """
        pairs = zip(keys, epochs, strict=True)
        self._sources = [np.random.SFC64(seeds.derive(*key, "dropout", epoch, layer)) for key, epoch in pairs]
        self._step = STEPS_AT_ONCE

    def draw(self) -> Tensor:  # (m, count) uint8
        """1 for every element that is kept; probabilities are exact to 1 / 65536."""
        if self.bits is not None:
            return (self.bits[:, : self._count] <= self._limit).view(torch.uint8)
        if self._step == STEPS_AT_ONCE:
            words = np.stack([source.random_raw(self.words * STEPS_AT_ONCE) for source in self._sources])
            self._drawn, self._step = words.view(np.int16), 0
        first = self._step * self.words * 4
        self._step += 1
        kept = self._drawn[:, first : first + self._count] <= self._highest  # in NumPy, four times as fast
        return torch.from_numpy(kept.view(np.uint8)).to(self.scale.device)
