"""The honest score as the terminal shows it."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from foldtune.search.result import StudyResult
from foldtune.search.said import lines, remarks
from foldtune.selection.labels import EXPLANATIONS, MEANING


def scores(result: StudyResult) -> RenderableType | None:
    """The scores of a study's choice, what they must not be read without below; None while there are none."""
    said, told = lines(result), remarks(result)
    if not said and not told:
        return None
    goal = f"{result.record.objectives[0]}, {result.record.directions[0]}"
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    for index, line in enumerate(said):
        table.add_row(line.title, Text(line.value, "bold" if index == 0 else ""), Text(line.comment))
    heading = Text.assemble(("Score", "bold"), (f"  {goal}", "dim"))
    return Group(heading, Padding(table, (0, 0, 0, 2)), *(Padding(Text(one, "dim"), (0, 0, 0, 2)) for one in told))


def explanations(keys: Iterable[str]) -> RenderableType:
    """What numbers mean and where they come from, each once."""
    parts: list[RenderableType] = []
    for key in dict.fromkeys(keys):
        one = EXPLANATIONS[key]
        parts.append(Text(one.title, "bold"))
        parts.append(Padding(Group(Text(one.text), Text(f"Source: {one.source}.", "dim")), (0, 0, 0, 2)))
    return Group(*parts)


def explain(result: StudyResult) -> RenderableType:
    """Every number that `scores` shows, in plain words."""
    keys = [line.key for line in lines(result)]
    extra = [key for key in ("interval", "optimism", "label") if {"corrected", "interval"} & set(keys)]
    found = [*keys, *extra, *(["alike"] if "confirmation" in keys else [])]
    found += ["calibration error"] if "temperature" in keys else []
    return Group(explanations([*found, "epoch"]), Text(), Text(MEANING))
