"""What all generated pages have in common."""

from collections.abc import Iterable, Sequence
from datetime import date

from benchmarks import machine


def origin(command: str) -> list[str]:
    """Where and how a page's figures were measured."""
    return [
        f"- Machine: {machine.description()}",
        f"- Versions: {machine.versions()}",
        f"- Date: {date.today().isoformat()}",
        f"- Command: `{command}`",
    ]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table.

    Example:
        >>> table(("net", "ms"), [("MLP", 2)])
        ['| net | ms |', '| --- | --- |', '| MLP | 2 |']
    """
    return [f"| {' | '.join(map(str, row))} |" for row in (columns, ["---"] * len(columns), *rows)]
