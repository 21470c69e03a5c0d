"""The time-to-quality benchmark: how soon foldtune reaches the score that the usual Optuna script reaches.

    python -m benchmarks.quality              all of it: hours
    python -m benchmarks.quality --quick      one small data set, one seed: under a minute, to see that it works

What is compared, and how, stands in the page that it writes. The page is written anew after each data set.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.quality_cases import DATA_SETS, Size, Variant, variants
from benchmarks.quality_report import Measured, document
from benchmarks.quality_runs import Run, run_foldtune, run_peer, watched
from benchmarks.quality_times import Target, targets, time_to

PAGE = Path(__file__).with_name("QUALITY.md")
SEEDS = 5
QUICK = Size(trials=12, epochs=4)
QUICK_VARIANTS = ("no pruning",)
QUICK_NOTE = "*A quick run, to see that the benchmark works: its numbers say nothing.*"


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the page."""
    options = _parser().parse_args(arguments)
    size = QUICK if options.quick else Size(trials=options.trials)
    names = options.variants if options.variants is not None else QUICK_VARIANTS if options.quick else None
    chosen = variants(names, options.equal_nets, options.set)
    data_sets = ("breast_cancer",) if options.quick else options.data_sets
    command = shlex.join(["python", "-m", "benchmarks.quality", *arguments])
    measured: list[Measured] = []
    for data_set in data_sets:
        measured.append(_measure(data_set, 1 if options.quick else options.seeds, size, chosen))
        page = document(measured, chosen, size, command, QUICK_NOTE if options.quick else "")
        options.output.write_text(page, encoding="utf-8")
    _say(f"written: {options.output}")


def _measure(data_set: str, n_seeds: int, size: Size, chosen: Sequence[Variant]) -> Measured:
    """One data set: the peer's searches, which set the targets and the time, then foldtune's."""
    peers = []
    for seed in range(n_seeds):
        peers.append(watched(partial(run_peer, data_set, seed, size)))
        _say(f"{data_set}, seed {seed}, peer: {peers[-1].searched_s:.1f} s")
    goals, budget_s = targets(peers, size), max(run.searched_s for run in peers)
    ours: dict[str, list[Run]] = {variant.name: [] for variant in chosen if not variant.skipped}
    for seed, variant in product(range(n_seeds), chosen):
        if variant.name in ours:
            search = partial(run_foldtune, data_set, seed, size, variant)
            run = watched(partial(search, budget_s=budget_s, enough=partial(_reached, goals)))
            ours[variant.name].append(run)
            _say(f"{data_set}, seed {seed}, {variant.name}: {run.searched_s:.1f} of {budget_s:.1f} s ({run.how})")
    return Measured(data_set, tuple(peers), {name: tuple(runs) for name, runs in ours.items()})


def _reached(goals: Sequence[Target], run: Run) -> bool:
    return not any(time_to(run, target).censored for target in goals)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="breast_cancer, one seed, a tiny budget: under a minute")
    parser.add_argument("--data-sets", nargs="+", choices=DATA_SETS, default=DATA_SETS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches per data set and way (%(default)s)")
    parser.add_argument("--trials", type=int, default=Size().trials, help="the peer's budget (%(default)s)")
    parser.add_argument("--variants", nargs="*", metavar="NAME", help="ablations to run; none named: only foldtune")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="for every foldtune search")
    parser.add_argument("--equal-nets", metavar="PATH=VALUE", help="what holds packs to equal nets, if anything does")
    parser.add_argument("--output", type=Path, default=PAGE)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
