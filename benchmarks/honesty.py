"""The acceptance experiments of foldtune's statistics, at full size: what was expected, and what is seen.

    python -m benchmarks.honesty              all of them, into docs/honesty.md: a quarter of an hour on one core
    python -m benchmarks.honesty --keep DIR   the same; what is in that folder is not run again
    python -m benchmarks.honesty --share 0.1  a tenth of the repetitions, on the terminal alone
    python -m benchmarks.honesty --only 3     one experiment, on the terminal alone

The same experiments, smaller, are tests: tests/selection/test_acceptance.py.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import (
    honesty_curves,
    honesty_kernel,
    honesty_leaks,
    honesty_nested,
    honesty_oracles,
    honesty_rules,
    honesty_selection,
)
from benchmarks.honesty_claims import Claim, Experiment
from benchmarks.pages import origin, put, table
from foldtune.search.optuna_parts import quiet

PAGE = Path(__file__).parents[1] / "docs" / "honesty.md"
FAMILIES = (
    honesty_oracles,
    honesty_selection,
    honesty_kernel,
    honesty_nested,
    honesty_rules,
    honesty_curves,
    honesty_leaks,
)
EXPERIMENTS: tuple[Experiment, ...] = tuple(
    sorted((one for family in FAMILIES for one in family.EXPERIMENTS), key=lambda one: one.number)
)
COLUMNS = ("experiment", "figure", "expected", "seen", "holds")


@dataclass(frozen=True)
class Seen:
    """An experiment with its figures."""

    experiment: Experiment
    repetitions: int
    claims: tuple[Claim, ...]
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Run, and write the page; 1 where a figure is out of its bounds."""
    options = _parser().parse_args(arguments)
    quiet()
    chosen = [one for one in EXPERIMENTS if not options.only or one.number in options.only]
    seen = [_told(experiment, options.share, options.keep) for experiment in chosen]
    whole = not options.only and options.share == 1
    if whole:
        put(PAGE, "figures", lines(seen))
    failed = [claim for one in seen for claim in one.claims if not claim.holds]
    _say(f"{len(failed)} figures are out of their bounds" + (f"; written: {PAGE}" if whole else ""))
    return 1 if failed else 0


def lines(seen: Sequence[Seen]) -> list[str]:
    """The table of the page."""
    facts = [*origin("make honesty"), *(f"- Left out: {text}." for text in honesty_oracles.LEFT_OUT)]
    rows = [
        (
            "" if index else f"{one.experiment.number}. {one.experiment.title} ({_times(one.repetitions)})",
            claim.what.strip(),
            claim.expected,
            claim.figure,
            "yes" if claim.holds else "**no**",
        )
        for one in seen
        for index, claim in enumerate(one.claims)
    ]
    return [*facts, "", *table(COLUMNS, rows)]


def _told(experiment: Experiment, share: float, keep: Path | None) -> Seen:
    repetitions = max(2 if experiment.full > 1 else 1, round(experiment.full * share))
    seen = _run(experiment, repetitions, keep and keep / f"{experiment.number}. {experiment.title}.json")
    _say(f"{experiment.number}. {experiment.title} ({_times(repetitions)}): {seen.seconds:.1f} s")
    for claim in seen.claims:
        _say(f"   {'ok' if claim.holds else 'NO'}  {claim.what}: {claim.figure}  [{claim.expected}]")
    return seen


def _run(experiment: Experiment, repetitions: int, file: Path | None) -> Seen:
    """The figures, from a file where they were kept with as many repetitions."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
    if kept.get("repetitions") == repetitions:
        return Seen(experiment, repetitions, tuple(Claim(**claim) for claim in kept["claims"]), kept["seconds"])
    began = time.monotonic()
    claims = tuple(experiment.claims(repetitions))
    seen = Seen(experiment, repetitions, claims, time.monotonic() - began)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        written = {"repetitions": repetitions, "seconds": seen.seconds, "claims": [asdict(claim) for claim in claims]}
        file.write_text(json.dumps(written, default=float), encoding="utf-8")
    return seen


def _times(repetitions: int) -> str:
    return "once" if repetitions == 1 else f"{repetitions} times"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.honesty", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", type=int, metavar="NUMBER", help="experiments, by number")
    parser.add_argument("--share", type=float, default=1.0, help="of the repetitions (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where figures are kept, and taken from")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
