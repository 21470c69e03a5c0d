"""Random bits for dropout that a device computes itself: a hash of stream, step and place, the same on every device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foldtune import seeds
from foldtune.train.packed.masks import Masks


def _signed(number: int) -> int:
    """The 64 low bits of a number, as torch's int64 reads them."""
    return (number + 2**63) % 2**64 - 2**63


_GAMMA = 0x9E3779B97F4A7C15
_STEP = _signed(_GAMMA << 32)  # a stream has 2**32 words for each step
_FACTORS = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


class Bits:
    """The bits of all dropout layers of a tape; every model, epoch and layer has a stream of its own.

    Source: SplitMix64 (Steele, Lea and Flood 2014), whose counter is given here, not kept.

    Args:
        layers: name, first model, first model after them, and their masks, which from now on read these bits.
        batch: rows of a batch.
    """

    def __init__(self, layers: Sequence[tuple[str, int, int, Masks]], batch: int) -> None:
        self.layers, self.batch = layers, batch
        device = layers[0][3].device if layers else torch.device("cpu")
        shapes = [(stop - start, masks.words) for _, start, stop, masks in layers]
        self.words = torch.zeros(sum(models * words for models, words in shapes), dtype=torch.int64, device=device)
        self.scratch, self.base = torch.zeros_like(self.words), torch.zeros_like(self.words)
        self.places = torch.arange(max((words for _, words in shapes), default=0), device=device) * _signed(_GAMMA)
        self.bases: list[Tensor] = []
        end = 0
        for (models, words), (*_, masks) in zip(shapes, layers, strict=True):
            own, end = slice(end, end + models * words), end + models * words
            self.bases.append(self.base[own].view(models, words))
            masks.bits = self.words[own].view(models, words).view(torch.int16)

    def start_epoch(self, keys: Sequence[tuple[int, ...]], epochs: Sequence[int]) -> None:
        """Choose the streams; keys and epochs of all models."""
        for (name, start, stop, _), base in zip(self.layers, self.bases, strict=True):
            pairs = zip(keys[start:stop], epochs[start:stop], strict=True)
            layer = f"{name} {self.batch}"
            streams = torch.tensor([seeds.derive(*key, "dropout", epoch, layer) for key, epoch in pairs])
            starts = _mix_(streams, torch.empty_like(streams)).to(base.device)
            torch.add(starts[:, None], self.places[: base.shape[1]], out=base)

    def draw(self, step: Tensor) -> None:  # (1,) int64
        """Bits of a step; it reads nothing but tensors of the device."""
        if len(self.words):
            _mix_(torch.add(self.base, step * _STEP, out=self.words), self.scratch)


def _mix_(words: Tensor, scratch: Tensor) -> Tensor:
    """SplitMix64's finalizer, in place."""
    _fold_(words, 30, scratch).mul_(_FACTORS[0])
    _fold_(words, 27, scratch).mul_(_FACTORS[1])
    return _fold_(words, 31, scratch)


def _fold_(words: Tensor, shift: int, scratch: Tensor) -> Tensor:
    torch.bitwise_right_shift(words, shift, out=scratch)
    scratch.bitwise_and_(2 ** (64 - shift) - 1)  # torch's shift copies the sign
    return words.bitwise_xor_(scratch)
