"""Who is measured: one module each, all behind the same small contract."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, Protocol

from benchmarks.work import WORKERS, Case


class Trainer(Protocol):
    """A contender at work on one case, in one process of one thread."""

    def train(self, units: int) -> int:
        """Train so many units (see `Contender.kind`); how many model-epochs that was."""

    def accuracy(self) -> float:
        """Mean validation accuracy of its models after the last `train`."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Args:
        key: short name.
        title: what tables say.
        start: `module:function` under this package; called with (case, index of the process, number of processes).
        processes: started once, told to train together; each takes its share of the work.
        kind: what a unit is, and so how it is measured. "continues": an epoch more for models that stay; timed as it
            is. "afresh": an epoch of models that begin anew with each call; timed as the slope between two lengths.
            "whole": a cohort of trials of a whole study; likewise a slope.
        needs: a package that is not foldtune's own.
    """

    key: str
    title: str
    start: str
    processes: int = 1
    kind: Literal["continues", "afresh", "whole"] = "continues"
    needs: str | None = None

    @property
    def cores(self) -> int:
        """Cores it can keep busy."""
        return WORKERS if self.kind == "whole" else self.processes

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return self.needs is not None and find_spec(self.needs) is None


CONTENDERS = (
    Contender("packed 2p", "foldtune packed engine, 2 processes", "engines:packed", processes=2),
    Contender("packed", "foldtune packed engine", "engines:packed"),
    Contender("lockstep", "foldtune lockstep engine", "engines:lockstep"),
    Contender("run", "`foldtune run`, 2 workers", "whole_run:start", kind="whole"),
    Contender("fused 2p", "tight loop, fused AdamW, 2 processes", "tight:fused", processes=2),
    Contender("fused", "tight loop, fused AdamW", "tight:fused"),
    Contender("tight", "tight loop", "tight:plain"),
    Contender("loader", "DataLoader loop", "loader:start"),
    Contender("skorch", "skorch, cross_validate", "skorch:start", kind="afresh", needs="skorch"),
    Contender("lightning", "Lightning Trainer", "lightning:start", kind="afresh", needs="lightning"),
)


def start(reference: str, case: Case, index: int, processes: int) -> Trainer:
    """A contender ready to train its share."""
    module, function = reference.split(":")
    trainer: Trainer = getattr(import_module(f"{__name__}.{module}"), function)(case, index, processes)
    return trainer
