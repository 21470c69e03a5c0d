"""The only place that seeds anything: every random number follows from the study's seed and a key."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *key: int | str) -> int:
    """A seed of its own for every key, the same on every machine.

    Args:
        seed: the study's seed.
        key: what the numbers are for, such as `(trial, repeat, fold, "shuffle", epoch)`.

    Returns:
        An integer in [0, 2**32), which NumPy, torch and scikit-learn all accept.

    Example:
        >>> derive(0, 3, "init") == derive(0, 3, "init") != derive(0, 4, "init")
        True
    """
    return int.from_bytes(blake2b(repr((seed, *key)).encode(), digest_size=4).digest(), "big")


def generator(seed: int, *key: int | str, device: str = "cpu") -> "torch.Generator":
    """A torch generator seeded by `derive(seed, *key)`."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, *key))


@contextmanager
def torch_seeded(seed: int, *key: int | str, device: str = "cpu") -> Iterator[None]:
    """Run a block (initialisation, dropout) with torch's global generator seeded by the key; its state is put back."""
    import torch

    devices = [torch.device(device)] if device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        # `torch.manual_seed` seeds every device, and costs 20 times as much
        (torch.manual_seed if devices else torch.default_generator.manual_seed)(derive(seed, *key))
        yield
