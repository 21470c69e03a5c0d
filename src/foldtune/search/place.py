"""Where a search loop runs, and whether one that ran here still lives."""

import os
import socket
from pathlib import Path

from foldtune.store.records import Place

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STARTED = 19
"""Among the fields of `/proc/PID/stat` that follow the command: the process's start, in ticks since the boot."""


def this_place() -> Place:
    """Where this process runs."""
    pid = os.getpid()
    return Place(host=socket.gethostname(), namespace=_namespace(), boot=_boot(), pid=pid, started=_started(pid) or "")


def is_dead(place: Place) -> bool:
    """Whether a search loop's process is known to be gone: it ran under this very kernel, since the same boot and in
    the same process namespace, and its number is free or another process's. Of other machines nothing is known.

    Example:
        >>> is_dead(this_place())
        False
    """
    here = place.boot != "" and (place.boot, place.namespace) == (_boot(), _namespace())
    return here and _started(place.pid) != place.started


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # no such thing on this system
        return ""


def _started(pid: int) -> str | None:
    """When a process began; None when there is none of that number, or one that only waits to be buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[_STARTED - 1]
