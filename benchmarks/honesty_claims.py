"""What an experiment shows: figures, each with the bounds that it was expected in."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A figure and its bounds.

    Args:
        what: what it is.
        seen: the figure.
        low: the least that was expected.
        high: the most.
        form: how the table writes it.
        steady: whether a small run can tell, too.

    Example:
        >>> claim = Claim("naive best", 0.5861, 0.567, 0.607)
        >>> claim.expected, claim.figure, claim.holds
        ('0.567 to 0.607', '0.586', True)
        >>> Claim("rows on both sides", 2, 0, 0, form=".0f").holds, Claim("no promise", 0.5).expected
        (False, '')
    """

    what: str
    seen: float
    low: float = -math.inf
    high: float = math.inf
    form: str = ".3f"
    steady: bool = True

    @property
    def holds(self) -> bool:
        """Whether the figure is within its bounds."""
        return bool(self.low <= self.seen <= self.high)

    @property
    def figure(self) -> str:
        """The figure as text."""
        return self._text(self.seen)

    @property
    def expected(self) -> str:
        """The bounds as text; nothing where nothing is promised."""
        low, high = (math.isfinite(end) for end in (self.low, self.high))
        if low and high:
            return (
                self._text(self.low) if self.low == self.high else f"{self._text(self.low)} to {self._text(self.high)}"
            )
        if low or high:
            return f"at least {self._text(self.low)}" if low else f"at most {self._text(self.high)}"
        return ""

    def _text(self, number: float) -> str:
        return f"{number:{self.form}}"


@dataclass(frozen=True)
class Experiment:
    """One line of experiments.

    Args:
        number: that of the page.
        title: what is tried, with its sizes.
        claims: from the number of repetitions to the figures.
        full: repetitions of `make honesty`.
        small: those of the test suite; None where it does without.
    """

    number: int
    title: str
    claims: Callable[[int], list[Claim]]
    full: int
    small: int | None = None


def near(what: str, seen: float, expected: float, within: float) -> Claim:
    """A figure around an expected one."""
    return Claim(what, seen, expected - within, expected + within)
