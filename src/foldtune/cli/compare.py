"""`foldtune compare`."""

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foldtune.report.score import explanations
from foldtune.report.terminal import console
from foldtune.search.comparison import compare_trials
from foldtune.search.numbers import interval, number
from foldtune.store.store import Store


def compare(name: str, first: int, second: int, storage: str, *, explained: bool, as_json: bool) -> None:
    """Print what is known of one trial's advantage over another."""
    with closing(Store(storage, create=False)) as store:
        found = compare_trials(store, name, first, second)
    if as_json:
        typer.echo(json.dumps(found, allow_nan=False))
        return
    stdout = console()
    stdout.print(_shown(found))
    if explained:
        stdout.print()
        stdout.print(explanations(["comparison"]))


def _shown(found: Mapping[str, Any]) -> RenderableType:
    first, second = found["trials"]
    a, b = (f"trial {one['number']}" for one in (first, second))
    heading = Text.assemble((f"{found['study']}: {a} and {b}", "bold"))
    heading.append(f"  {found['metric']}, {found['direction']}", style="dim")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("partition", "fold", a, b):
        table.add_column(column, justify="right")
    for partition, pair in enumerate(zip(first["fold_values"], second["fold_values"], strict=True)):
        for fold, values in enumerate(zip(*pair, strict=True)):
            table.add_row("" if fold else str(partition), str(fold), *(number(value) for value in values))
    table.add_section()
    table.add_row("mean", "", number(first["mean"]), number(second["mean"]), style="bold")
    lines = [
        f"advantage of {a}: {found['mean']:+.4f}, {interval(found['interval'], found['level'])} "
        f"(corrected t {_t(found['t'])}, p {found['p']:.3f}, among all complete trials {found['p_adjusted']:.3f})",
        f"worse {found['worse']:.0%}, the same (within {number(found['rope'])}) {found['same']:.0%}, "
        f"better {found['better']:.0%}",
    ]
    verdict = Text.assemble(f"{a} against {b}: ", (found["verdict"], "bold"))
    if found["partitions"] == 1:
        verdict.append("  one partition allows no more than leaning", style="dim")
    return Group(heading, Text(), table, Text(), *map(Text, lines), verdict)


def _t(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.2f}"
