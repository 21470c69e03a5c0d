"""What it costs that one pack holds different nets: `python -m benchmarks.slices`.

Unlike neighbours have kernels of their own, each on its own rows: slices. They are measured beside packs of equal nets
and beside zero-padding, in processor time of this process, which trains on one thread.
"""

import argparse
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.contenders.engines import EngineRun, plan_of
from benchmarks.pages import origin, table
from benchmarks.work import DROPOUT, JOBS, LEARNING_RATE, N_SPLITS, Case
from foldtune.search.plan import Plan
from foldtune.train.packed import PackedEngine
from foldtune.values import Config, Job

OUTPUT = Path(__file__).with_name("SLICES.md")

WIDTH = 64
BUCKET, RANGE = (33, 64), (16, 128)
"""Widths that zero-padding would treat as one, and those of a whole search space."""


@dataclass(frozen=True)
class Net:
    """What one job trains, its learning rate aside; fields have the study file's names."""

    d_block: int = WIDTH
    n_blocks: int = 2
    activation: str = "ReLU"
    norm: str | None = "BatchNorm1d"
    dropout: float = DROPOUT
    optimizer: str = "AdamW"
    scheduler: str | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    label_smoothing: float = 0.0


Pack = tuple[Net, ...]

VALUES: Mapping[str, tuple[Any, ...]] = {
    "activation": ("ReLU", "GELU", "SiLU", "Tanh"),
    "norm": ("BatchNorm1d", "LayerNorm", "RMSNorm", None),
    "dropout": (0.0, 0.2, 0.35, 0.5),
    "n_blocks": (1, 2, 3, 4),
    "optimizer": ("AdamW", "SGD", "Adam", "RMSprop"),
    "scheduler": (None, "CosineAnnealingLR", "OneCycleLR", "ExponentialLR"),
    "clip_norm": (None, 0.5, 1.0, 2.0),
    "clip_value": (None, 0.5, 1.0, 2.0),
    "label_smoothing": (0.0, 0.05, 0.1, 0.2),
}
"""What may differ, one at a time and all at once; widths are drawn."""


@dataclass(frozen=True)
class Mix:
    """What the nets of one pack differ in.

    Args:
        fields: keys of `VALUES`.
        widths: bounds of `d_block`; None: all are as wide.
        batch_size: rows of a training batch.
    """

    fields: tuple[str, ...] = ()
    widths: tuple[int, int] | None = None
    batch_size: int = 32

    @property
    def title(self) -> str:
        fields = ["all of these"] if len(self.fields) > 1 else list(self.fields)
        widths = ["d_block {} to {}".format(*self.widths)] if self.widths else []
        return " and ".join([*fields, *widths]) or "nothing"

    def pack(self, jobs: int) -> Pack:
        """Values in turn; those of one field shift against those of another, so that few nets are alike."""
        widths = _widths(*self.widths, jobs) if self.widths else [WIDTH] * jobs
        return tuple(replace(Net(d_block=width), **self._values(job)) for job, width in enumerate(widths))

    def _values(self, job: int) -> dict[str, Any]:
        values = {field: VALUES[field] for field in self.fields}
        return {
            field: own[(job + job // len(own) * shift) % len(own)] for shift, (field, own) in enumerate(values.items())
        }


ALL = tuple(VALUES)
QUICK = (Mix(batch_size=128), Mix(ALL, batch_size=128), Mix(widths=BUCKET, batch_size=128))
MIXES = (
    Mix(),
    *(Mix((field,)) for field in VALUES),
    Mix(ALL),
    Mix(widths=BUCKET),
    Mix(widths=RANGE),
    Mix(ALL, RANGE),
    *QUICK,
)


Way = Mapping[Pack, float]
"""A way to train the nets of a mix: packs, and how much of each pack's time counts."""


@dataclass(frozen=True)
class Result:
    """A mix and what was measured.

    Args:
        mix: the mix.
        pack: its nets.
        seconds: processor time of one epoch of each pack, by round.
    """

    mix: Mix
    pack: Pack
    seconds: Mapping[Pack, Sequence[float]]

    def rounds(self, way: Way) -> list[float]:
        """Seconds that one epoch takes, by round."""
        shares = list(way.values())
        return [
            sum(share * part for share, part in zip(shares, parts, strict=True))
            for parts in zip(*(self.seconds[pack] for pack in way), strict=True)
        ]

    def ratios(self, way: Way, against: Way) -> list[float]:
        """How many times as long one way takes as another, by round: what slows a machine down slows both."""
        return [one / other for one, other in zip(self.rounds(way), self.rounds(against), strict=True)]


def together(pack: Pack) -> Way:
    """One pack, as foldtune does."""
    return {pack: 1.0}


def equal(pack: Pack) -> Way:
    """As many nets that are all alike."""
    return {(Net(),) * len(pack): 1.0}


def of_each(pack: Pack) -> Way:
    """A full pack of each kind, and of its time what the nets of that kind in this pack would need."""
    return {(net,) * len(pack): count / len(pack) for net, count in Counter(pack).items()}


def apart(pack: Pack) -> Way:
    """A pack for each kind, of the nets that there are."""
    return {(net,) * count: 1.0 for net, count in Counter(pack).items()}


def padded(pack: Pack) -> Way:
    """Every net as wide as its bucket's upper end, a power of two; masks, where needed, would come on top."""
    return {tuple(replace(net, d_block=_power_of_two(net.d_block)) for net in pack): 1.0}


def padded_to_widest(pack: Pack) -> Way:
    """Every net as wide as the upper end of the widest one's bucket."""
    widest = _power_of_two(max(net.d_block for net in pack))
    return {tuple(replace(net, d_block=widest) for net in pack): 1.0}


WAYS = (together, equal, of_each, apart, padded, padded_to_widest)


def measure(mix: Mix, jobs: int, rounds: int) -> Result:
    """Train all packs of all ways, one epoch each per round.

    Raises:
        RuntimeError: a job failed, or was not packed.
    """
    plan = plan_of(Case("digits", WIDTH, mix.batch_size, trial_epochs=1))
    engine = PackedEngine(plan.setup("cpu"))
    whole = mix.pack(jobs)
    packs = dict.fromkeys(pack for way in WAYS for pack in way(whole))
    runs = {pack: EngineRun(engine.start(_jobs(plan, pack))) for pack in packs}
    seconds: dict[Pack, list[float]] = {pack: [] for pack in packs}
    for run in runs.values():
        run.train(1)  # builds the pack
        if {report.engine for report in run.reports} != {"packed"}:
            raise RuntimeError(f"not packed: {[report.reason for report in run.reports]}")
    for _ in range(rounds):
        for pack, run in runs.items():
            began = time.process_time()
            run.train(1)
            seconds[pack].append(time.process_time() - began)
    return Result(mix, whole, seconds)


def _jobs(plan: Plan, pack: Pack) -> list[Job]:
    return [Job(trial, config_of(plan, net, trial), plan.folds) for trial, net in enumerate(pack)]


def config_of(plan: Plan, net: Net, trial: int) -> Config:
    """A job's configuration; learning rates follow the trial number."""
    model = {key: getattr(net, key) for key in ("d_block", "n_blocks", "activation", "norm", "dropout")}
    rate = LEARNING_RATE * (1 + trial / 4)
    scheduler = {"use": net.scheduler, **({"gamma": 0.99} if net.scheduler == "ExponentialLR" else {})}
    return {
        **plan.space,
        "model": {"use": "MLP", **model},
        "loss": {"use": "CrossEntropyLoss", "label_smoothing": net.label_smoothing},
        "optimizer": {"use": net.optimizer, "lr": rate},
        "scheduler": scheduler if net.scheduler else None,
        "regularization": {"clip_norm": net.clip_norm, "clip_value": net.clip_value},
    }


def _widths(low: int, high: int, count: int) -> list[int]:
    """The middles of equally likely parts of a log-uniform distribution."""
    return [round(low * (high / low) ** ((index + 0.5) / count)) for index in range(count)]


def _power_of_two(width: int) -> int:
    """The next one that is no smaller."""
    return 1 << (width - 1).bit_length()


COLUMNS = (
    "what differs",
    "batch",
    "kinds",
    "ms per model-epoch",
    "× equal nets",
    "× a full pack of each kind",
    "range",
    "a pack per kind",
    "padded to powers of two",
    "padded to the widest",
)

INTRODUCTION = """# Packs of different nets

Generated by `python -m benchmarks.slices`; not written by hand.

{jobs} jobs of {folds} folds train on digits as one pack: an MLP of two hidden layers 64 wide with BatchNorm, ReLU and
dropout 0.2, AdamW, learning rates all different; each row says in what else they differ. Neighbours share a kernel
where their operation is the same; else each has its own on its own rows (slices). Times are processor time of one
thread for one fold's model trained for one epoch and validated, medians of interleaved rounds ({rounds}); a ratio is
the median of those of each round.

- *× equal nets*: the pack's time in times of {jobs} equal nets, 64 wide; more depth or width is more work, too.
- *× a full pack of each kind*: what slices cost. The same nets, each timed in a pack of {jobs} of its kind, and of that
  time its share.
- The last three columns say how long it would take to do without slices, in times of the pack. *A pack per kind*: equal
  nets only, as many as there are. *Padded*: all nets as wide as the upper end of a bucket, their own or the widest
  one's; masks, where they are needed, would come on top. Widths are the middles of equally likely parts of a
  log-uniform distribution.
"""


def document(results: Sequence[Result], command: str) -> str:
    """The whole page."""
    jobs, rounds = len(results[0].pack), len(results[0].rounds(together(results[0].pack)))
    introduction = INTRODUCTION.format(jobs=jobs, folds=N_SPLITS, rounds=rounds)
    return "\n".join(
        [
            introduction,
            *origin(command),
            "",
            *table(COLUMNS, map(_row, results)),
            "",
            "## Reading",
            "",
            *_reading(results),
            "",
        ]
    )


def _row(result: Result) -> tuple[str, ...]:
    pack, kinds, costs = result.pack, len(set(result.pack)), _costs(result, of_each)
    milliseconds = median(result.rounds(together(pack))) / len(pack) / N_SPLITS * 1e3
    return (
        result.mix.title,
        str(result.mix.batch_size),
        str(kinds),
        f"{milliseconds:.2f}",
        f"{median(_costs(result, equal)):.2f}",
        f"{median(costs):.2f}",
        f"{min(costs):.2f}-{max(costs):.2f}",
        f"{_saved(result, apart):.2f}" if kinds > 1 else "",
        *(f"{_saved(result, way):.2f}" if result.mix.widths else "" for way in (padded, padded_to_widest)),
    )


def _reading(results: Sequence[Result]) -> list[str]:
    """What the table says, computed from it."""
    unlike = [result for result in results if len(set(result.pack)) > 1]
    widths = [result for result in unlike if result.mix.widths]
    costs = {_name(result): median(_costs(result, of_each)) for result in unlike}
    packs = {_name(result): _saved(result, apart) for result in unlike}
    pads = {_name(result): min(_saved(result, way) for way in (padded, padded_to_widest)) for result in widths}
    cheaper = sum(ratio > 1 for ratio in pads.values())
    return [
        f"- Slices make a pack take {_ends(costs)} times as long as full packs of each kind.",
        f"- A pack per kind, of the nets that there are, takes {_ends(packs)} times as long as slices.",
        f"- The cheaper way to pad takes {_ends(pads)} times as long as slices before any mask; slices are cheaper in "
        f"{cheaper} of {len(pads)} rows with several widths.",
    ]


def _name(result: Result) -> str:
    return f"{result.mix.title}, batches of {result.mix.batch_size}"


def _ends(ratios: Mapping[str, float]) -> str:
    """The least and the most, and where."""
    least, most = (end(ratios, key=lambda name: ratios[name]) for end in (min, max))
    return f"{ratios[least]:.2f} ({least}) to {ratios[most]:.2f} ({most})"


def _costs(result: Result, way: Callable[[Pack], Way]) -> list[float]:
    """How many times as long the pack takes as a way, by round."""
    return result.ratios(together(result.pack), way(result.pack))


def _saved(result: Result, way: Callable[[Pack], Way]) -> float:
    """How many times as long a way takes as the pack."""
    return median(result.ratios(way(result.pack), together(result.pack)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slices", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few small packs, one round: shows that everything works")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="Markdown file (default: SLICES.md here)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    mixes, jobs, rounds = (QUICK, 2, 1) if options.quick else (MIXES, JOBS, options.rounds)
    results = []
    for mix in mixes:
        results.append(measure(mix, jobs, rounds))
        print(*_row(results[-1]), sep=" | ", flush=True)
    command = shlex.join(["python", "-m", "benchmarks.slices", *(sys.argv[1:] if arguments is None else arguments)])
    options.output.write_text(document(results, command), encoding="utf-8")


if __name__ == "__main__":
    main()
