"""Numbers as people read them."""

from collections.abc import Sequence


def number(value: float | None, digits: int = 4) -> str:
    """A number with four significant decimals, or as much as it needs.

    Example:
        >>> number(0.98124), number(2934.512), number(0.00001234), number(None)
        ('0.9812', '2934.5', '1.234e-05', '-')
    """
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.{digits}f}"
    return f"{value:.{digits + 1}g}" if abs(value) >= 100 else f"{value:.{digits}g}"


def interval(ends: Sequence[float], level: float) -> str:
    """An interval in words.

    Example:
        >>> interval([0.81, 0.9], 0.95)
        '95% interval 0.8100 to 0.9000'
    """
    return f"{level:.0%} interval {number(ends[0])} to {number(ends[1])}"


def epochs(count: int) -> str:
    """A number of epochs in words.

    Example:
        >>> epochs(1), epochs(9)
        ('1 epoch', '9 epochs')
    """
    return f"{count} epoch{'' if count == 1 else 's'}"
