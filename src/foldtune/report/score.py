"""The honest score as the terminal shows it."""

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from foldtune.report.audits import audits
from foldtune.search.result import StudyResult
from foldtune.search.said import Line, lines, remarks, terms, warnings
from foldtune.selection.labels import EXPLANATIONS, MEANING

INDENT = (0, 0, 0, 2)


def scores(result: StudyResult) -> list[RenderableType]:
    """What a study's choice is worth, a block for each thing that there is: audits that count, what the search itself
    says, audits that are void, and what was doubtful from the start."""
    void = [audit for audit in result.audits if audit.content.get("void")]
    counted = [audit for audit in result.audits if audit not in void]
    doubtful = [Text(f"warning: {warning}", "yellow") for warning in warnings(result)]
    return [
        *([audits(counted)] if counted else []),
        *_of_search(result),
        *([audits(void)] if void else []),
        *([Group(*doubtful)] if doubtful else []),
    ]


def numbers(said: Iterable[Line]) -> Table:
    """Lines below each other, the first in bold."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    for index, line in enumerate(said):
        table.add_row(line.title, Text(line.value, "bold" if index == 0 else ""), Text(line.comment))
    return table


def explanations(keys: Iterable[str]) -> RenderableType:
    """What numbers mean and where they come from."""
    parts: list[RenderableType] = []
    for one in map(EXPLANATIONS.__getitem__, keys):
        parts.append(Text(one.title, "bold"))
        parts.append(Padding(Group(Text(one.text), Text(f"Source: {one.source}.", "dim")), INDENT))
    return Group(*parts)


def explain(result: StudyResult) -> RenderableType:
    """Every number that is printed of a study, in plain words."""
    meaning = [Text(), Text(MEANING)] if lines(result) else []
    return Group(explanations(terms(result)), *meaning)


def _of_search(result: StudyResult) -> Iterator[RenderableType]:
    """The search's own score; nothing while there is none."""
    said, told = lines(result), remarks(result)
    if said or told:
        goal = f"{result.record.objectives[0]}, {result.record.directions[0]}"
        heading = Text.assemble(("Score", "bold"), (f"  {goal}", "dim"))
        yield Group(heading, Padding(numbers(said), INDENT), *(Padding(Text(one, "dim"), INDENT) for one in told))
