"""The machine: what it is, and how busy others keep it."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("foldtune", "torch", "numpy", "scikit-learn", "optuna", "sqlalchemy", "skorch", "lightning")


def description() -> str:
    """Processor, cores this process may use, and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB memory, {platform.system()}"


def versions() -> str:
    """Python and the packages that matter, those that are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def busy_s() -> float:
    """Processor time used on the whole machine since it started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]  # idle, and waiting for disks
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def used_s(pids: Sequence[int]) -> float:
    """Processor time that these processes and the children they waited for have used."""
    return sum(_used_s(pid) for pid in pids)


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
