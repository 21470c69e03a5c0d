"""What goes to a terminal: no text that was stored can move its cursor, change its colours or be taken for markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, what turns the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    """A text with escapes in place of what a terminal would obey, or could not show.

    Example:
        >>> print(printable("a \\x1b[2J screen"))
        a \\x1b[2J screen
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@dataclass(frozen=True)
class Printable:
    """Something to print, its texts made printable once it is laid out."""

    renderable: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.renderable)


def console(**options: Any) -> Console:
    """A console on which all is `Printable`; `options` are rich's own."""
    made = Console(markup=False, emoji=False, **options)
    made.push_render_hook(_AllPrintable())
    return made


class _AllPrintable(RenderHook):
    def process_renderables(self, renderables: Sequence[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [Printable(renderable) for renderable in renderables]
