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
        self._scale = torch.where(keep > 0, 1 / keep, 0.0)
        self._count, self.words = count, math.ceil(count / 4)
        self.bits: Tensor | None = None
        self._sources: list[np.random.SFC64] = []
        self._factors = self._scale.new_empty(len(rates), count)
        self._drawn = np.empty((len(rates), self.words * STEPS_AT_ONCE), dtype=np.uint64)
        self._kept = np.empty((len(rates), 0), dtype=np.uint8)
        self._step = STEPS_AT_ONCE

    @property
    def device(self) -> torch.device:
        """Where factors are."""
        return self._scale.device

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

    def draw(self) -> Tensor:  # (m, count)
        """A factor for every element: what keeps the mean, or 0; probabilities are exact to 1 / 65536.

        The next call overwrites them.
        """
        if self.bits is not None:
            return torch.mul(self.bits[:, : self._count] <= self._limit, self._scale, out=self._factors)
        if self._step == STEPS_AT_ONCE:
            for words, source in zip(self._drawn, self._sources, strict=True):
                words[:] = source.random_raw(words.size)
            kept = self._drawn.view(np.int16) <= self._highest  # in NumPy, four times as fast
            self._kept, self._step = kept.view(np.uint8), 0
        first = self._step * self.words * 4
        self._step += 1
        return self._factors.copy_(torch.from_numpy(self._kept[:, first : first + self._count])).mul_(self._scale)
