"""What is to be predicted: its task, its problems, its codes; and the groups and times of rows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from foldtune.data.features import kind, numbers, stack, texts
from foldtune.data.source import at_rows, listed
from foldtune.errors import Path, Problem
from foldtune.values import Floats, Task

FEW = 20
"""At most so many different whole numbers are taken for classes."""

MISSING_HINT = "foldtune drops no rows on its own: leave them out of the file, or choose another column."


def infer_task(target: pd.DataFrame) -> Task:
    """The task that a target suggests; `data.task` overrules it.

    - several columns: multilabel when all of them hold 0, 1 and booleans only, else regression;
    - text, booleans, a pandas category: classification;
    - numbers with a fraction anywhere: regression;
    - whole numbers: classification when there are at most 20 different ones and at most half as many as rows, or two
      at all; else regression.

    Example:
        >>> infer_task(pd.DataFrame({"y": [0, 1, 1, 2, 2, 0]})), infer_task(pd.DataFrame({"y": [0.5, 1, 2]}))
        ('classification', 'regression')
    """
    if target.shape[1] > 1:
        return "multilabel" if all(is_label(target[name].dropna()).all() for name in target.columns) else "regression"
    column = target.iloc[:, 0].dropna()
    if kind(column) != "numeric" or _is_boolean(column):
        return "classification"
    values = numbers(column)
    distinct = len(np.unique(values))
    whole = bool(np.isfinite(values).all() and (values == np.rint(values)).all())
    return "classification" if whole and distinct <= max(2, min(FEW, len(values) // 2)) else "regression"


def target_problems(target: pd.DataFrame, task: Task, path: Path) -> Iterator[Problem]:
    """What is wrong with a target of N rows and T columns for a task."""
    for name in target.columns:
        column = target[name]
        if (missing := column.isna().to_numpy()).any():
            rule = f"the target `{name}` must have no missing values"
            yield Problem(path, rule, f"missing in {at_rows(missing)}", MISSING_HINT)
        yield from _PROBLEMS[task](column.dropna(), path)
    names = listed(f"`{name}`" for name in target.columns)
    if task == "classification" and target.shape[1] > 1:
        hint = "Several columns mean regression, or multilabel where all hold 0 and 1."
        yield Problem(path, "classification must have one target column", names, hint)
    if task == "multilabel" and target.shape[1] < 2:
        hint = "One column of 0 and 1 is a classification."
        yield Problem(path, "multilabel must have at least two target columns", names, hint)


def encode(target: pd.DataFrame, task: Task) -> tuple[NDArray[Any], tuple[Any, ...]]:
    """The target as arrays.

    Returns:
        Class codes, shape (N,) int64, and the sorted labels; for several labels 0 and 1, shape (N, T) int64, and ();
        for regression numbers, shape (N, T) float64, and ().
    """
    if task != "classification":
        dtype = np.float64 if task == "regression" else np.int64
        return stack([numbers(target[name]) for name in target.columns], len(target), dtype), ()
    labels, codes = np.unique(_labels(target.iloc[:, 0]), return_inverse=True)
    return codes.astype(np.int64), tuple(labels.tolist())


def row_problems(column: "pd.Series[Any]", role: str, path: Path) -> Iterator[Problem]:
    """What is wrong with the column of groups or times; `role` is `group` or `time`."""
    if (missing := column.isna().to_numpy()).any():
        rule = f"the {role} of every row must be known"
        yield Problem((*path[:1], role), rule, f"missing in {at_rows(missing)}", MISSING_HINT)
    if role == "time" and (bad := np.isnan(times(column)) & ~missing).any():
        examples = listed((repr(value) for value in column[bad]), 3)
        hint = "Give `parse_dates` and `date_format`, or make it a number."
        rule = "the time must be a number or an ISO 8601 date"
        yield Problem((*path[:1], role), rule, f"{examples} in {at_rows(bad)}", hint)


def value_problems(column: "pd.Series[Any]", path: Path) -> Iterator[Problem]:
    """What is wrong with a column that is an argument of a splitter: a number or a date for every row."""
    bad = np.isnan(times(column))
    if (neither := bad & np.isnan(numbers(column))).any():  # one text among numbers makes texts of all of them
        bad = neither
    if bad.any():
        examples = listed((repr(value) for value in column[bad]), 3)
        rule = f"`{column.name}` must hold a number or an ISO 8601 date for every row"
        yield Problem(path, rule, f"{examples} in {at_rows(bad)}")


def known_codes(column: "pd.Series[Any]", classes: tuple[Any, ...]) -> NDArray[np.int64]:
    """The codes of labels among classes that are known already, shape (N,); -1 for any other label.

    Example:
        >>> known_codes(pd.Series([2, 1, 7]), ("1", "2")).tolist()
        [1, 0, -1]
    """
    as_text = all(isinstance(name, str) for name in classes)
    labels = texts(column) if as_text else _labels(column)
    known = {name: code for code, name in enumerate(classes)}
    return np.array([known.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def is_label(column: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Which cells are 0, 1 or a boolean, shape (N,); none of a column of texts.

    Example:
        >>> is_label(pd.Series([0, 1, 2, None])).tolist(), is_label(pd.Series(["0", "1"])).tolist()
        ([True, True, False, False], [False, False])
    """
    found: NDArray[np.bool_] = np.isin(numbers(column), (0, 1)) & (kind(column) == "numeric")
    return found


def group_codes(column: "pd.Series[Any]", known: tuple[Any, ...] = ()) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """Groups as codes, and the values that these stand for.

    Args:
        column: N values, none missing.
        known: values that have the first codes already.

    Returns:
        Codes, shape (N,): known values keep theirs, others follow in their sorted order; and all values.

    Example:
        >>> group_codes(pd.Series(["b", "a", "c"]), ("c",))[0].tolist()
        [2, 1, 0]
    """
    values, codes = np.unique(numbers(column) if kind(column) == "numeric" else texts(column), return_inverse=True)
    first = {name: code for code, name in enumerate(known)}
    code_of = np.array([first.setdefault(value, len(first)) for value in values.tolist()], dtype=np.int64)
    return code_of[codes], tuple(first)


def times(column: "pd.Series[Any]") -> Floats:
    """Times as sortable numbers, shape (N,): dates as seconds since 1970 in UTC, NaN where there is no time."""
    if kind(column) == "numeric":
        return numbers(column)
    text = column if types.is_datetime64_any_dtype(column.dtype) else column.astype(object)
    dates = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    return np.asarray((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=np.float64)


def _class_problems(column: "pd.Series[Any]", path: Path) -> Iterator[Problem]:
    found = kind(column)
    if found in ("date", "other"):
        yield Problem(path, f"the target `{column.name}` must hold labels or numbers", str(column.dtype))
    elif len(column) and column.nunique() < 2:
        yield Problem(path, f"the target `{column.name}` must have at least two classes", f"only {column.iloc[0]!r}")
    elif found == "numeric" and (bad := numbers(column) != np.rint(numbers(column))).any():
        rule = f"classes of `{column.name}` that are numbers must be whole numbers"
        hint = "Fractions are learned with `task: regression`."
        yield Problem(path, rule, f"fractions in {at_rows(bad)}", hint)


def _number_problems(column: "pd.Series[Any]", path: Path) -> Iterator[Problem]:
    values = numbers(column)
    if kind(column) == "date" or (bad := np.isnan(values)).any():
        found = f"dates ({column.dtype})" if kind(column) == "date" else f"{column[bad].iloc[0]!r} in {at_rows(bad)}"
        yield Problem(path, f"the regression target `{column.name}` must hold numbers", found)
    elif (infinite := np.isinf(values)).any():
        yield Problem(path, f"the target `{column.name}` must be finite", f"infinite in {at_rows(infinite)}")
    elif len(values) and (values == values[0]).all():
        yield Problem(path, f"the target `{column.name}` must vary", f"{values[0]:g} in all {len(values)} rows")


def _label_problems(column: "pd.Series[Any]", path: Path) -> Iterator[Problem]:
    if (bad := ~is_label(column)).any():
        found = f"{column[bad].tolist()[0]!r} in {at_rows(bad)}"
        yield Problem(path, f"the label `{column.name}` must hold 0 and 1, or booleans", found)
    elif len(column) and column.nunique() < 2:
        yield Problem(path, f"the label `{column.name}` must vary", f"only {column.tolist()[0]!r}")


_PROBLEMS: Mapping[Task, Callable[["pd.Series[Any]", Path], Iterator[Problem]]] = {
    "classification": _class_problems,
    "multilabel": _label_problems,
    "regression": _number_problems,
}


def _labels(column: "pd.Series[Any]") -> NDArray[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if _is_boolean(column):
        return column.to_numpy(dtype=bool)
    if kind(column) != "numeric":
        return texts(column)
    values = column.infer_objects()
    return values.to_numpy(dtype=np.int64) if types.is_integer_dtype(values.dtype) else numbers(values)


def _is_boolean(column: "pd.Series[Any]") -> bool:
    return types.infer_dtype(column, skipna=True) == "boolean"
