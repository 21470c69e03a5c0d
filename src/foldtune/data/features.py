"""From columns of a table to numbers and texts."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from foldtune.data.source import at_rows, listed
from foldtune.errors import Path, Problem
from foldtune.values import Floats

Kind = Literal["numeric", "categorical", "date", "other"]

_KINDS: dict[str, Kind] = {
    "boolean": "numeric",
    "integer": "numeric",
    "floating": "numeric",
    "mixed-integer-float": "numeric",
    "decimal": "numeric",
    "string": "categorical",
    "categorical": "categorical",
    "empty": "categorical",
    "datetime": "date",
    "datetime64": "date",
    "date": "date",
    "time": "date",
    "timedelta": "date",
    "timedelta64": "date",
    "period": "date",
}


def kind(column: "pd.Series[Any]") -> Kind:
    """What a column holds, missing cells aside: numbers (bools included), text and other labels, or dates.

    Example:
        >>> kind(pd.Series([1, None])), kind(pd.Series(["a", None])), kind(pd.Series([True, None], dtype=object))
        ('numeric', 'categorical', 'numeric')
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "categorical"
    if types.is_complex_dtype(column.dtype):
        return "other"
    if types.is_numeric_dtype(column.dtype):
        return "numeric"
    content = types.infer_dtype(column, skipna=True)
    return _KINDS.get(content, "categorical" if _all_labels(column) else "other")


def numbers(column: "pd.Series[Any]") -> Floats:
    """A column as float64, shape (N,); NaN where it is missing or no number."""
    if not types.is_numeric_dtype(column.dtype) and types.infer_dtype(column, skipna=True) == "boolean":
        column = column.astype("boolean")
    converted = pd.to_numeric(column.astype(object) if _is_category(column) else column, errors="coerce")
    return converted.to_numpy(dtype=np.float64, na_value=np.nan)


def texts(column: "pd.Series[Any]") -> NDArray[np.object_]:
    """A column as str, shape (N,), None where it is missing; whole numbers are written without a point.

    Example:
        >>> texts(pd.Series([1.0, None, 2.5])).tolist()
        ['1', None, '2.5']
    """
    missing = column.isna().to_numpy()
    values = [None if gone else _text(value) for value, gone in zip(column.tolist(), missing, strict=True)]
    return np.array(values, dtype=object)


def feature_problems(frame: pd.DataFrame, numeric: set[Any], categorical: set[Any], path: Path) -> Iterator[Problem]:
    """What is wrong with columns that are to be features.

    Args:
        frame: the feature columns, N rows.
        numeric: columns to be read as numbers whatever they look like.
        categorical: columns to be read as categories whatever they look like.
        path: the place of the data in the study file.
    """
    kinds = {name: kind(frame[name]) for name in frame.columns if name not in categorical}
    dates = [f"`{name}`" for name in kinds if kinds[name] == "date"]
    if dates:
        hint = "Leave them out with `drop`, or turn them into numbers such as a year, a weekday or an age."
        yield Problem(path, "features must be numbers or categories, not dates", listed(dates), hint)
    others = [f"`{name}` ({frame[name].dtype})" for name in kinds if kinds[name] == "other"]
    if others:
        yield Problem(
            path, "columns must hold real numbers, text or booleans", listed(others), "Leave them out with `drop`."
        )
    empty = [f"`{name}`" for name in frame.columns if frame[name].isna().all()]
    if empty and len(frame):
        yield Problem(path, "no feature may be missing in every row", listed(empty), "Leave it out with `drop`.")
    for name, found in kinds.items():
        if name in numeric and found == "categorical":
            yield from _not_numbers(frame[name], name, (*path[:1], "numeric"))
        elif found == "numeric" and (infinite := np.isinf(numbers(frame[name]))).any():
            hint = "Make them missing (`na_values: [inf, -inf]`) or finite, or leave the column out with `drop`."
            yield Problem(path, f"`{name}` must be finite", f"infinite in {at_rows(infinite)}", hint)


def split_kinds(frame: pd.DataFrame, numeric: set[Any], categorical: set[Any]) -> tuple[list[Any], list[Any]]:
    """The names of the columns to be read as numbers, and of those to be read as categories."""
    as_text = [n for n in frame.columns if n in categorical or (n not in numeric and kind(frame[n]) == "categorical")]
    return [name for name in frame.columns if name not in as_text], as_text


def stack(columns: list[Any], rows: int, dtype: Any) -> NDArray[Any]:
    """Columns of shape (N,) side by side, shape (N, len(columns))."""
    table = np.empty((rows, len(columns)), dtype=dtype)
    for index, column in enumerate(columns):
        table[:, index] = column
    return table


def _not_numbers(column: "pd.Series[Any]", name: object, path: Path) -> Iterator[Problem]:
    bad = np.isnan(numbers(column)) & ~column.isna().to_numpy()
    if bad.any():
        examples = listed(dict.fromkeys(repr(value) for value in column[bad]), 3)
        hint = "Name what stands for a missing value in `na_values`, or leave the column a category."
        yield Problem(path, f"`{name}` must hold numbers", f"{examples} in {at_rows(bad)}", hint)


def _is_category(column: "pd.Series[Any]") -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype)


def _all_labels(column: "pd.Series[Any]") -> bool:
    return all(isinstance(value, str | int | float | np.integer | np.floating | np.bool_) for value in column.dropna())


def _text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
