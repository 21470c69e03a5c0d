"""`foldtune compare`."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from foldtune.report.score import INDENT, explanations, numbers
from foldtune.report.terminal import console
from foldtune.search.comparison import compare_trials
from foldtune.search.numbers import grid, interval, number, signed
from foldtune.search.said import Line, terms_of
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
        stdout.print(explanations(terms_of(_said(found))))


def _shown(found: Mapping[str, Any]) -> RenderableType:
    names = [f"trial {one['number']}" for one in found["trials"]]
    heading = Text.assemble((f"{found['study']}: {names[0]} against {names[1]}", "bold"))
    heading.append(f"  {found['metric']}, {found['direction']}", style="dim")
    verdict = Text.assemble(f"{names[0]} against {names[1]}: ", (found["verdict"], "bold"))
    if found["partitions"] == 1:
        verdict.append("; one partition allows no more than leaning", style="dim")
    return Group(
        heading, Text(), _scores(found, names), Text(), Padding(numbers(_said(found)), INDENT), Text(), verdict
    )


def _scores(found: Mapping[str, Any], names: Sequence[str]) -> Table:
    """Both trials' scores on every split that both were trained on; run 0 is the search's own."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("run", "fold", *names):
        table.add_column(heading, justify="right")
    first, second = found["trials"]
    places = [(run, fold) for run, folds in enumerate(first["fold_values"]) for fold in range(len(folds))]
    splits = zip(*(chain.from_iterable(trial["fold_values"]) for trial in (first, second)), strict=True)
    *rows, means = grid([*splits, (first["mean"], second["mean"])])
    for (run, fold), row in zip(places, rows, strict=True):
        table.add_row("" if fold else str(run), str(fold), *row)
    table.add_section()
    table.add_row("mean", "", *means, style="bold")
    return table


def _said(found: Mapping[str, Any]) -> list[Line]:
    t = "infinite" if found["t"] is None else f"{found['t']:.2f}"
    p = f"p {found['p']:.3f}; {found['p_adjusted']:.3f} for the best lead among all trials"
    return [
        Line(
            "advantage", signed(found["mean"]), interval(found["interval"], found["level"]), ("advantage", "interval")
        ),
        Line("corrected t", t, p, ("p",)),
        Line("worse", f"{found['worse']:.0%}", "", ("comparison",)),
        Line("the same", f"{found['same']:.0%}", f"within {number(found['rope'])}", ("comparison",)),
        Line("better", f"{found['better']:.0%}", "", ("comparison",)),
    ]
