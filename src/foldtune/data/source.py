"""What a reader gives, before anything is known about kinds and tasks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldtune.errors import DataError, Path, Problem, nearest

Column = str | int

NUMBERS = "biuf"
"""The dtype kinds of arrays of real numbers."""


@dataclass(frozen=True, eq=False)
class Source:
    """Columns, or an array of more than two axes, and what came beside it.

    Args:
        inputs: a table of N rows, or numbers of shape (N, *features).
        path: where the source stands in the study file, for messages.
        target: N rows and T columns; None when the target is a column of `inputs`.
        arrays: others of N values each, by the name that `group` and `time` may ask for.
    """

    inputs: pd.DataFrame | NDArray[Any]
    path: Path
    target: pd.DataFrame | None = None
    arrays: Mapping[str, Any] = field(default_factory=dict)


def of_pair(inputs: Any, target: Any, path: Path, arrays: Mapping[str, Any] | None = None) -> Source:
    """The source of an X and a y: arrays, lists, tensors, DataFrames or Series.

    Raises:
        DataError: one is not an array of real numbers (y may hold labels), or their lengths differ.
    """
    named = {"X": to_array(inputs, path), "y": to_array(target, path)}
    named |= {name: to_array(values, path) for name, values in (arrays or {}).items()}
    raise_any([*_input_problems(named["X"], path), *_target_problems(named["y"], path), *_length_problems(named, path)])
    return Source(
        inputs=as_frame(named["X"], "x") if named["X"].ndim == 2 else named["X"],
        path=path,
        target=as_frame(named["y"], "y"),
        arrays={name: values for name, values in named.items() if name not in ("X", "y")},
    )


def to_array(values: Any, path: Path) -> Any:
    """A NumPy array of what is no table yet; DataFrames and Series stay as they are."""
    if isinstance(values, pd.DataFrame | pd.Series):
        return values
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError.of(path, "rows must all have one shape", str(error)) from error


def as_frame(values: "pd.DataFrame | pd.Series[Any] | NDArray[Any]", prefix: str) -> pd.DataFrame:
    """A table with rows counted from 0; nameless columns are called `x0`, `x1`, ... and a single one `y`."""
    if isinstance(values, pd.DataFrame):
        return values.reset_index(drop=True)
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True).to_frame(prefix if values.name is None else values.name)
    if values.ndim == 1:
        return pd.DataFrame({prefix: values})
    return pd.DataFrame(values, columns=[f"{prefix}{index}" for index in range(values.shape[1])])


def locate(name: Column, labels: Sequence[Column]) -> Column | None:
    """The label of a column given by its label, or by its position where labels are no numbers; None if not there.

    Example:
        >>> locate("b", ["a", "b"]), locate(0, ["a", "b"]), locate(-1, [0, 1, 2]), locate(7, ["a"])
        ('b', 'a', 2, None)
    """
    if name in labels:
        return name
    numbered = any(not isinstance(label, str) for label in labels)
    if isinstance(name, int) and -len(labels) <= name < (0 if numbered else len(labels)):
        return labels[name]
    return None


def absent(name: Column, labels: Sequence[Column], path: Path) -> Problem:
    """The problem of a column that is not there, with the one that may be meant."""
    texts = [str(label) for label in labels]
    same = [label for label in labels if str(label).split() == str(name).split()]
    if same:
        hint = f"The column is called {same[0]!r}: write it exactly so."
    else:
        hint = nearest(str(name), texts) or f"There are {listed([f'`{text}`' for text in texts], 10)}."
    return Problem(path, "the column must be there", repr(name), hint)


def listed(items: Iterable[object], at_most: int = 5) -> str:
    """The first few, and how many more.

    Example:
        >>> listed(range(8), 3)
        '0, 1, 2 and 5 more'
    """
    texts = [str(item) for item in items]
    more = f" and {len(texts) - at_most} more" if len(texts) > at_most else ""
    return ", ".join(texts[:at_most]) + more


def at_rows(bad: NDArray[np.bool_]) -> str:
    """How many rows, and the first of them.

    Example:
        >>> at_rows(np.array([False, True, True]))
        '2 of 3 rows, the first 1, 2 (counted from 0)'
    """
    rows = np.flatnonzero(bad)
    return f"{len(rows)} of {len(bad)} rows, the first {', '.join(map(str, rows[:5]))} (counted from 0)"


def raise_any(problems: Sequence[Problem], error: Callable[[Sequence[Problem]], Exception] = DataError) -> None:
    """Raise one error with all problems, if there are any."""
    if problems:
        raise error(problems)


def _input_problems(inputs: Any, path: Path) -> list[Problem]:
    if isinstance(inputs, pd.DataFrame):
        return []
    if isinstance(inputs, pd.Series) or inputs.ndim < 2:
        rule = "the features must have a row axis and at least one more"
        return [Problem(path, rule, f"shape {inputs.shape}", "Give an array of shape (rows, features).")]
    if inputs.dtype.kind not in NUMBERS:
        hint = "Text and mixed columns belong in a table (CSV, Parquet or a DataFrame)."
        return [Problem(path, "the array of features must hold real numbers", f"dtype {inputs.dtype}", hint)]
    return []


def _target_problems(target: Any, path: Path) -> list[Problem]:
    if isinstance(target, pd.DataFrame | pd.Series):
        return []
    if target.ndim not in (1, 2):
        return [Problem(path, "the target must have one or two axes", f"shape {target.shape}")]
    if target.dtype.kind not in NUMBERS + "UO":
        return [Problem(path, "the target must hold numbers or text labels", f"dtype {target.dtype}")]
    return []


def _length_problems(named: Mapping[str, Any], path: Path) -> list[Problem]:
    if any(values.ndim == 0 for values in named.values()):
        return []
    lengths = {name: len(values) for name, values in named.items()}
    if len(set(lengths.values())) == 1:
        return []
    found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
    return [Problem(path, "all arrays must have the same number of rows", found)]
