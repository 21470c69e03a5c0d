"""What all generated pages have in common."""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

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


def put(page: Path, name: str, lines: Iterable[str]) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end of name -->` in a page that is written by hand.

    Raises:
        ValueError: the page has no such place.
    """
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no place for {name}: {begin.strip()} ... {end}")
    page.write_text(before + begin + "\n".join([*lines, ""]) + end + after, encoding="utf-8")
