"""Numbers as people read them."""

import math
from collections.abc import Iterable, Sequence

DIGITS = 4
"""Decimals of a number between 0.001 and 100; others have as many digits as it takes to be as exact."""


def number(value: float | None) -> str:
    """A number with four decimals, or with the digits that it needs instead.

    Example:
        >>> number(0.5), number(2934.512), number(2934.0), number(0.000012), number(None)
        ('0.5000', '2934.5', '2934.0', '1.200e-05', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value + 0.0:.{DIGITS}f}"  # no -0
    return f"{value:#.{DIGITS + (abs(value) >= 100)}g}".rstrip(".")


def signed(value: float) -> str:
    """A difference, with its sign.

    Example:
        >>> signed(0.02), signed(-312.456)
        ('+0.0200', '-312.46')
    """
    return f"{'' if value < 0 else '+'}{number(value)}"


def column(values: Sequence[float | None]) -> list[str]:
    """Numbers below each other: each with as many decimals as the largest of them has as `number` writes it.

    A number of which that would leave nothing is written by itself.

    Example:
        >>> column([2934.512, 98.1, None]), column([0.6931, 0.12, 0.00042, 0.00001])
        (['2934.5', '98.1', '-'], ['0.6931', '0.1200', '0.0004', '1.000e-05'])
    """
    largest = number(max((abs(value) for value in values if value is not None and math.isfinite(value)), default=None))
    if "e" in largest:
        return [number(value) for value in values]
    decimals = len(largest.partition(".")[2])
    return [_fixed(value, decimals) for value in values]


def grid(rows: Iterable[Sequence[float | None]]) -> list[tuple[str, ...]]:
    """Rows of numbers, each of their columns as `column` writes it.

    Example:
        >>> grid([[0.5, 312.4], [0.25, 9.0]])
        [('0.5000', '312.40'), ('0.2500', '9.00')]
    """
    return list(zip(*map(column, zip(*rows, strict=True)), strict=True))


def interval(ends: Sequence[float], level: float) -> str:
    """An interval in words.

    Example:
        >>> interval([0.81, 0.9], 0.95)
        '95% interval 0.8100 to 0.9000'
    """
    low, high = column(ends)
    return f"{level:.0%} interval {low} to {high}"


def epochs(count: int) -> str:
    """A number of epochs in words.

    Example:
        >>> epochs(1), epochs(9)
        ('1 epoch', '9 epochs')
    """
    return f"{count} epoch{'' if count == 1 else 's'}"


def _fixed(value: float | None, decimals: int) -> str:
    if value is None or not math.isfinite(value):
        return number(value)
    shown = f"{value:.{decimals}f}"
    return shown if value == 0 or float(shown) else number(value)
