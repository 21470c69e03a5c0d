"""Random bits for dropout, from a generator of its own for every model and epoch."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldtune import seeds
from foldtune.train.packed.memory import columns_first, in_columns

_WORDS = 4096
"""64-bit words drawn for a model at once: 32 KiB, so that a row stays in the cache until it is used."""


class Masks:
    """Dropout of M models in one epoch.

    Args:
        keys: (study seed, trial, repeat, fold) of each model; with the epoch they decide its bits.
        epochs: the epoch each model is in.
        rates: each model's probability of zeroing, per dropout layer, (M,).
        device: where the masks are used.
    """

    def __init__(
        self, keys: Sequence[tuple[int, ...]], epochs: Sequence[int], rates: dict[str, Tensor], device: str
    ) -> None:
        pairs = zip(keys, epochs, strict=True)
        self._sources = [np.random.SFC64(seeds.derive(*key, "dropout", epoch)) for key, epoch in pairs] if rates else []
        self._rates = {name: _thresholds(rate, device) for name, rate in rates.items()}
        self._words = np.empty((len(keys), 0), dtype=np.uint64)
        self._used = 0
        self._device = device

    def dropped(self, name: str, x: Tensor) -> Tensor:  # (M, ...) -> (M, ...)
        """Zero elements with each model's probability and scale the others; probabilities are exact to 1 / 65536."""
        highest, scale = self._rates[name]
        columns = in_columns(x)
        shape = columns_first(x).shape if columns else x.shape
        kept = self._draw(math.prod(shape[1:])) <= highest  # in NumPy, four times as fast
        factors = (torch.from_numpy(kept.view(np.uint8)).to(self._device) * scale).view(shape)
        return x * (columns_first(factors) if columns else factors)

    def _draw(self, count: int) -> NDArray[np.int16]:  # (M, count)
        words = math.ceil(count / 4)
        if self._used + words > self._words.shape[1]:
            self._words = np.stack([source.random_raw(max(words, _WORDS)) for source in self._sources])
            self._used = 0
        first, self._used = self._used, self._used + words
        return self._words[:, first : self._used].view(np.int16)[:, :count]


def _thresholds(rate: Tensor, device: str) -> tuple[NDArray[np.int16], Tensor]:  # (M,) -> (M, 1) each
    """The largest of 65536 numbers from -32768 that keeps an element, and the factor of those kept."""
    keep = 1 - rate[:, None]
    highest = (keep * 65536).round() - 32769
    scale = torch.where(keep > 0, 1 / keep, 0.0)
    return highest.clamp(-32768, 32767).to(torch.int16).cpu().numpy(), scale.to(device)
