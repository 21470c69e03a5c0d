"""What a bootstrap draw takes or leaves as a whole: rows, groups, or stretches of time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from foldtune.errors import DataError
from foldtune.values import Floats, Rows


@dataclass(frozen=True, eq=False)
class Units:
    """What draws are made of.

    Args:
        of_row: the unit of each row, 0 .. U-1, shape (N,).
        stratum: the stratum of each unit, 0 .. S-1, shape (U,); a draw takes as many units of one as it has.
    """

    of_row: Rows
    stratum: Rows

    def __post_init__(self) -> None:
        if len(self.stratum) < 2:
            raise DataError.of((), "a bootstrap needs at least 2 rows or groups", len(self.stratum))


def row_units(n_rows: int, classes: ArrayLike | None = None) -> Units:
    """Every row for itself.

    Args:
        n_rows: N.
        classes: of each row, shape (N,); draws keep the number of rows of each. A class of a single row is always
            drawn, so never scored.

    Example:
        >>> row_units(4, ["a", "b", "a", "b"]).stratum.tolist()
        [0, 1, 0, 1]
    """
    stratum = np.zeros(n_rows, np.int64) if classes is None else _codes(classes)
    return Units(np.arange(n_rows), stratum)


def group_units(groups: ArrayLike, classes: ArrayLike | None = None) -> Units:
    """Rows of a group together.

    Args:
        groups: of each row, shape (N,).
        classes: of each row, shape (N,); groups are stratified where each has rows of one class only.

    Example:
        >>> group_units(["x", "y", "x"], [0, 1, 0]).stratum.tolist(), group_units([5, 7, 5], [0, 1, 1]).stratum.tolist()
        ([0, 1], [0, 0])
    """
    _, first, of_row = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    none: Rows = np.zeros(len(first), np.int64)
    if classes is None:
        return Units(of_row, none)
    codes = _codes(classes)
    pure = bool((codes == codes[first][of_row]).all())
    return Units(of_row, codes[first] if pure else none)


def time_units(times: ArrayLike) -> Units:
    """Stretches of neighbouring rows together, about the cube root of N long; rows of one time are never parted.

    Source:
        Non-overlapping blocks: Carlstein (1986). Their length: Hall, Horowitz and Jing (1995), of order N^(1/3).

    Args:
        times: of each row, shape (N,), in any order.

    Example:
        >>> time_units([30, 10, 20, 40, 40, 50, 60, 70]).of_row.tolist()
        [1, 0, 0, 1, 1, 2, 3, 3]
    """
    ordered = np.sort(np.asarray(times))
    length = max(1, round(len(ordered) ** (1 / 3)))
    earlier = np.searchsorted(ordered, np.asarray(times))  # rows before the first of the same time
    of_row = _codes(earlier // length)
    return Units(of_row, np.zeros(of_row.max() + 1, np.int64))


def draw_counts(units: Units, draws: int, generator: np.random.Generator) -> Floats:
    """How often each draw takes each row: units with replacement, as many of every stratum as it has.

    Args:
        units: what is drawn.
        draws: B.
        generator: the source of chance.

    Returns:
        Shape (B, N); 0 for rows out of bag.
    """
    n_units = len(units.stratum)
    counts: Floats = np.empty((draws, n_units))
    for stratum in np.unique(units.stratum):
        members = np.flatnonzero(units.stratum == stratum)
        picks = generator.integers(len(members), size=(draws, len(members)))
        cells = picks + len(members) * np.arange(draws)[:, None]
        counts[:, members] = np.bincount(cells.ravel(), minlength=draws * len(members)).reshape(draws, -1)
    return counts[:, units.of_row]


def _codes(values: ArrayLike) -> Rows:
    """0 .. n-1 in the values' order."""
    codes: Rows = np.unique(np.asarray(values), return_inverse=True)[1]
    return codes
