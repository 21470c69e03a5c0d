"""How fast foldtune is beside what people would run instead: `python -m benchmarks.speed`, or `make bench`."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from benchmarks import memory, results
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.hosts import teams_of
from benchmarks.timing import CaseResult, Effort, Team, measure
from benchmarks.work import CASES, QUICK, Case

OUTPUT = Path(__file__).with_name("RESULTS.md")
QUICK_EFFORT = Effort(rounds=1, least_rounds=1, whole_rounds=1, seconds=0.0, least_units=2, limit_s=0.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write them; memory only where all contenders and cases are asked for."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    console, began = Console(), time.monotonic()
    missing = [contender for contender in CONTENDERS if contender.missing]
    for contender in missing:
        console.print(results.left_out(contender))
    present = [contender for contender in CONTENDERS if not contender.missing]
    cases = QUICK if options.quick else [case for case in CASES if options.case in case.title]
    with teams_of(_chosen(present, options.only)) as teams:
        measured = [_measured(case, teams, _effort(options), console) for case in cases]
    peaks: list[memory.Memory] = []
    if not (options.case or options.only):
        console.print("memory ...")
        peaks = memory.measure_all(quick=options.quick)
    command = shlex.join(["python", "-m", "benchmarks.speed", *sys.argv[1:]])
    text = results.markdown(results.Report(command, measured, peaks, missing))
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    where = f"written to {options.output}" if options.output else "not written: no --output"
    console.print(f"{time.monotonic() - began:.0f} s; {where}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small case, one round: shows that everything works")
    parser.add_argument("--case", default="", help="only cases whose title contains this, such as `digits 64`")
    parser.add_argument("--only", nargs="*", help=f"keys of contenders: {', '.join(c.key for c in CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="quiet rounds (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="Markdown file (default: RESULTS.md here, for a whole full run)")
    options = parser.parse_args(arguments)
    unknown = set(options.only or ()) - {contender.key for contender in CONTENDERS}
    if unknown:
        parser.error(f"there is no contender {', '.join(sorted(unknown))}")
    if not (options.output or options.quick or options.case or options.only):
        options.output = OUTPUT
    return options


def _effort(options: argparse.Namespace) -> Effort:
    few = min(options.rounds, Effort.least_rounds)
    return QUICK_EFFORT if options.quick else Effort(options.rounds, least_rounds=few, whole_rounds=few)


def _chosen(contenders: Sequence[Contender], only: Sequence[str] | None) -> list[Contender]:
    return [contender for contender in contenders if only is None or contender.key in only]


def _measured(case: Case, teams: Sequence[Team], effort: Effort, console: Console) -> CaseResult:
    """One case, its table growing on the terminal."""
    with Live(console=console, auto_refresh=False) as live:
        return measure(case, teams, effort, lambda result: live.update(results.rich_table(result), refresh=True))


if __name__ == "__main__":
    main()
