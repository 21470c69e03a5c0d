"""Which GPUs a search may take: two searches on one machine never take the same one.

A lease is a lock on a file named by the GPU, held by the search's process. The kernel gives it back when that ends,
however it ends; nothing is left to clean up, and no database needs to know of it.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from foldtune.errors import SpecError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there GPUs are taken as they are given
    fcntl = None  # type: ignore[assignment]


@contextmanager
def leased_devices(device: str, workers: int | None) -> Iterator[list[str]]:
    """Take the devices of training processes for the block.

    Args:
        device: as torch names it; plain `cuda` stands for every GPU that this process sees and nobody else has taken.
        workers: training processes; None for one per device. Only as many GPUs are taken.

    Raises:
        SpecError: every GPU is taken.
    """
    if not device.startswith("cuda"):
        yield [device]
        return
    with leased(_gpus(device), workers) as devices:
        yield devices


@contextmanager
def leased(gpus: Mapping[str, str], workers: int | None, folder: Path | None = None) -> Iterator[list[str]]:
    """Take the first free GPUs for the block.

    Args:
        gpus: their ids, by torch's name.
        workers: how many at most; None for all, 0 for one.
        folder: where the locks lie; the same for all searches of a machine.
    """
    most = len(gpus) if workers is None else max(1, workers)
    with ExitStack() as held:
        devices: list[str] = []
        for device, gpu in gpus.items():
            if len(devices) < most and _lock(held, (folder or Path(tempfile.gettempdir())) / f"foldtune-gpu-{gpu}"):
                devices.append(device)
        if gpus and not devices:
            rule = "a GPU must be free: another search on this machine has taken each"
            raise SpecError.of(("device",), rule, ", ".join(gpus), "Wait for it, or try --device cpu.")
        yield devices


def dealt(devices: Sequence[str], workers: int) -> list[str]:
    """A device for each training process, in turn.

    Example:
        >>> dealt(["cuda:0", "cuda:2"], 3)
        ['cuda:0', 'cuda:2', 'cuda:0']
    """
    return [devices[number % len(devices)] for number in range(workers)]


def _gpus(device: str) -> dict[str, str]:
    """The ids of the GPUs that a device may stand for, by torch's name; none where torch sees none."""
    import torch

    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return {name: str(torch.cuda.get_device_properties(name).uuid) for name in names if device in ("cuda", name)}


def _lock(held: ExitStack, file: Path) -> bool:
    """Whether a lock could be had; it is given back with what is held."""
    if fcntl is None:
        return True
    descriptor = _opened(file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True


def _opened(file: Path) -> int:
    """A lock's file, to read, for it may be another user's; it stays when the lock is given back."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(file, flags)
    except FileNotFoundError:
        pass
    try:
        return os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # another search was faster
        return os.open(file, flags)
