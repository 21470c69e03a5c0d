"""Peak memory of packs against lockstep, each measured in a process of its own: `python -m benchmarks.memory`."""

import argparse
import ctypes
import gc
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.work import N_SPLITS, QUICK, Case

Engine = Literal["packed", "lockstep"]
ENGINES: tuple[Engine, ...] = ("packed", "lockstep")

CASES = (
    Case("digits", 64, 32, trial_epochs=2),
    Case("digits", 256, 128, trial_epochs=2),
    Case("digits", 1024, 256, trial_epochs=2),
)
JOBS = (1, 4, 8)
AT_ONCE = 2
"""Processes at a time: memory, unlike time, does not mind company."""

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """What training so many models at once needs.

    Args:
        case: the work; its `jobs` are trained at once.
        engine: which engine.
        peak_bytes: highest resident memory while two epochs are trained, above that of the process before.
        predicted_bytes: what foldtune foretells; None where it does not.
    """

    case: Case
    engine: Engine
    peak_bytes: int
    predicted_bytes: int | None

    @property
    def models(self) -> int:
        return self.case.jobs * N_SPLITS

    @property
    def per_model(self) -> float:
        """Bytes."""
        return self.peak_bytes / self.models


def measure_all(*, quick: bool = False) -> list[Memory]:
    """Every net, number of jobs and engine."""
    sized = [replace(case, jobs=jobs) for case in CASES for jobs in JOBS]
    asked = [(case, engine) for case in (QUICK if quick else sized) for engine in ENGINES]
    with ThreadPoolExecutor(AT_ONCE) as processes:
        return list(processes.map(lambda pair: measure(*pair), asked))


def measure(case: Case, engine: Engine) -> Memory:
    """One measurement, in a fresh process.

    Raises:
        RuntimeError: it failed.
    """
    arguments = [str(value) for value in asdict(case).values()]
    command = [sys.executable, "-m", "benchmarks.memory", "--one", engine, *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    peak, predicted = done.stdout.split()
    return Memory(case, engine, int(peak), None if predicted == "-" else int(predicted))


def growth(found: Sequence[Memory]) -> Mapping[tuple[str, Engine], float]:
    """Bytes per further model between the fewest and the most that were measured, by net and engine."""
    slopes: dict[tuple[str, Engine], float] = {}
    for key in {(memory.case.title, memory.engine) for memory in found}:
        own = sorted((m.models, m.peak_bytes) for m in found if (m.case.title, m.engine) == key)
        (fewest, least), (most, largest) = own[0], own[-1]
        if most > fewest:
            slopes[key] = (largest - least) / (most - fewest)
    return slopes


def _one(engine: Engine, case: Case) -> str:
    """Measure in this process; `peak predicted` in bytes, `-` for no prediction."""
    import torch

    from benchmarks.contenders.engines import EngineRun, jobs_of, plan_of
    from foldtune.train.lockstep import LockstepEngine
    from foldtune.train.packed import PackedEngine

    torch.set_num_threads(1)
    classes: dict[Engine, type[Any]] = {"packed": PackedEngine, "lockstep": LockstepEngine}
    small = plan_of(replace(case, width=8))
    EngineRun(classes[engine](small.setup("cpu")).start(jobs_of(small, range(1)))).train(
        1
    )  # loads what torch loads late
    plan = plan_of(case)
    jobs = jobs_of(plan, range(case.jobs))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would hide the first that is needed
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status_bytes("VmRSS")
    EngineRun(classes[engine](plan.setup("cpu")).start(jobs)).train(2)
    peak = _status_bytes("VmHWM") - before
    return f"{peak} {_predicted(plan, jobs) if engine == 'packed' else '-'}"


def _predicted(plan: Any, jobs: Sequence[Any]) -> str:
    """What `foldtune.train.packed.memory_of(setup, jobs)` foretells in bytes, where foldtune has it."""
    import foldtune.train.packed

    memory_of = getattr(foldtune.train.packed, "memory_of", None)
    return str(int(memory_of(plan.setup("cpu"), jobs))) if memory_of else "-"


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small net")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        engine, data, *numbers = options.one
        print(_one(engine, Case(data, *map(int, numbers))))
        return
    from benchmarks.results import memory_lines

    print("\n".join(memory_lines(measure_all(quick=options.quick))))


if __name__ == "__main__":
    main()
