"""The time-to-quality benchmark: how soon foldtune reaches the score that the usual Optuna script reaches.

    python -m benchmarks.quality              all of it: about an hour
    python -m benchmarks.quality --quick      one small data set, one seed: a minute or two, to see that it works

What is compared, and how, stands in the page that it writes. The page is written anew after each data set. With
`--keep FOLDER` every search is stored when it is over, and is not run again: a benchmark that was ended goes on.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from benchmarks.quality_cases import ABLATIONS, DATA_SETS, FOLDTUNE, PATIENCE, Size, Variant
from benchmarks.quality_readers import Run, read_run
from benchmarks.quality_report import FAST, USUAL, Measured, document
from benchmarks.quality_runs import Until, run_fast, run_foldtune, run_usual, watched
from benchmarks.quality_times import Target, main_target, targets, time_to

PAGE = Path(__file__).with_name("QUALITY.md")
SEEDS = 5
ABLATION_SEEDS = 3
QUICK = Size(trials=12, epochs=4)
QUICK_NOTE = "*A quick run, to see that the benchmark works: its numbers say nothing.*"


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the page."""
    options = _parser().parse_args(arguments)
    size = QUICK if options.quick else Size(trials=options.trials)
    data_sets = ("breast_cancer",) if options.quick else options.data_sets
    seeds, ablation_seeds = (1, 1) if options.quick else (options.seeds, options.ablation_seeds)
    command = shlex.join(["python", "-m", "benchmarks.quality", *_without_folders(arguments)])
    measured: list[Measured] = []
    for data_set in data_sets:
        measured.append(_measure(data_set, size, range(seeds), range(ablation_seeds), options.keep))
        page = document(measured, size, command, QUICK_NOTE if options.quick else "")
        options.output.write_text(page, encoding="utf-8")
    _say(f"written: {options.output}")


def _without_folders(arguments: Sequence[str]) -> list[str]:
    """The arguments that others need to do the same; where files lie is this machine's affair."""
    folders, before = ("--keep", "--output"), ("", *arguments)
    pairs = zip(arguments, before, strict=False)
    return [given for given, last in pairs if given not in folders and last not in folders]


def _measure(data_set: str, size: Size, seeds: range, ablation_seeds: range, keep: Path | None) -> Measured:
    """One data set: the usual script's searches, which set the targets and the time, then all others."""

    def searched(way: str, search: Callable[[str, int], Run], seeds: Sequence[int]) -> tuple[Run, ...]:
        return tuple(_told(f"{data_set}, {way}, seed {seed}", partial(search, data_set, seed), keep) for seed in seeds)

    def ours(variant: Variant, until: Until, seeds: range) -> tuple[Run, ...]:
        return searched(variant.name, partial(run_foldtune, size=size, until=until, variant=variant), seeds)

    spent = searched(USUAL, partial(run_usual, size=size), seeds)
    goals = targets(spent, size)
    reached = partial(_reached, [main_target(goals)])
    missed = [seed for seed in seeds if not reached(spent[seed])]
    longer = partial(run_usual, size=replace(size, trials=PATIENCE * size.trials), enough=reached)
    gone_on = dict(zip(missed, searched(f"{USUAL} gone on", longer, missed), strict=True))
    usual = tuple(gone_on.get(seed, spent[seed]) for seed in seeds)

    budget_s = max(run.searched_s for run in usual)
    every = Until(budget_s, partial(_reached, [goal for goal in goals if goal.definition == "reported"]))
    runs = {USUAL: usual, FAST: searched(FAST, partial(run_fast, size=size, until=every), seeds)}
    runs[FOLDTUNE.name] = ours(FOLDTUNE, every, seeds)
    if ablation_seeds:
        runs |= {variant.name: ours(variant, Until(budget_s, reached), ablation_seeds) for variant in ABLATIONS}
    return Measured(data_set, goals, runs)


def _reached(goals: Sequence[Target], run: Run) -> bool:
    return not any(time_to(run, target).censored for target in goals)


def _told(name: str, search: Callable[[], Run], keep: Path | None) -> Run:
    file = keep and keep / f"{name}.json"
    if file and file.exists():
        return read_run(file.read_text(encoding="utf-8"))
    run = watched(search)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(run)), encoding="utf-8")
    _say(f"{name}: {run.searched_s:.1f} s after {run.startup_s:.1f} s, {len(run.trials)} trials")
    return run


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="breast_cancer, one seed, a tiny budget")
    parser.add_argument("--data-sets", nargs="+", choices=DATA_SETS, default=DATA_SETS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches per data set and way (%(default)s)")
    parser.add_argument(
        "--ablation-seeds", type=int, default=ABLATION_SEEDS, help="of each ablation; 0: none (%(default)s)"
    )
    parser.add_argument("--trials", type=int, default=Size().trials, help="the usual script's budget (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where searches are kept, and taken from")
    parser.add_argument("--output", type=Path, default=PAGE)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
