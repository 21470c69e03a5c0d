"""All rows of a study, as plain arrays."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.values import Floats, Rows, Task


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows as they were read: nothing is imputed, scaled or encoded yet.

    Args:
        numeric: shape (N, *features), NaN where missing; (N, 0) when there are no such columns.
        categorical: shape (N, Q), each cell a str, None where missing.
        target: class codes, shape (N,) int64, for classification; 0 and 1, shape (N, T) int64, for several labels;
            shape (N, T) float64 for regression.
        task: what is to be learned.
        classes: the label of each class code, sorted; () for several labels and for regression.
        numeric_names: names of the F numeric columns; () when `numeric` has more than two axes.
        categorical_names: names of the Q categorical columns.
        target_names: names of the target columns.
        groups: codes of groups that no split may divide, shape (N,) int64.
        time: what orders the rows, shape (N,); seconds since 1970 where dates were read.
        group_names: the value that each group code stands for, sorted as far as they were read together.
        beside: numbers of every row that only the splitter reads, by the name of its argument, shape (N,) each.
    """

    numeric: Floats
    categorical: NDArray[np.object_]
    target: NDArray[Any]
    task: Task
    classes: tuple[Any, ...] = ()
    numeric_names: tuple[str, ...] = ()
    categorical_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    time: Floats | None = None
    group_names: tuple[Any, ...] = ()
    beside: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.target)

    @property
    def n_outputs(self) -> int:
        """Number of classes, or of target columns."""
        return len(self.classes) if self.task == "classification" else int(self.target.shape[1])

    def class_counts(self, rows: Rows) -> dict[str, int]:
        """How many of some rows are of each class, by what messages call it; every label is two; {} for regression."""
        target = self.target[rows]
        if self.task == "classification":
            counts = np.bincount(target, minlength=self.n_outputs)
            return {repr(name): int(count) for name, count in zip(self.classes, counts, strict=True)}
        if self.task == "regression":
            return {}
        return {
            f"`{name}` = {value}": int((column == value).sum())
            for name, column in zip(self.target_names, target.T, strict=True)
            for value in (0, 1)
        }

    def take(self, rows: Rows) -> "Dataset":
        """The same data with these rows only, in this order; the classes and their codes stay."""
        return replace(
            self,
            numeric=self.numeric[rows],
            categorical=self.categorical[rows],
            target=self.target[rows],
            groups=None if self.groups is None else self.groups[rows],
            time=None if self.time is None else self.time[rows],
            beside={name: values[rows] for name, values in self.beside.items()},
        )

    def followed_by(self, other: "Dataset") -> "Dataset":
        """These rows, then another's of the same columns, classes and groups; not what only a splitter reads."""

        def both(mine: Any, others: Any) -> Any:
            return None if mine is None else np.concatenate([mine, others])

        return replace(
            self,
            numeric=both(self.numeric, other.numeric),
            categorical=both(self.categorical, other.categorical),
            target=both(self.target, other.target),
            groups=both(self.groups, other.groups),
            time=both(self.time, other.time),
            group_names=max(self.group_names, other.group_names, key=len),
            beside={},
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rows, their columns and classes, in hex: equal on every machine and with every pandas."""
        digest = sha256()
        for part in self._parts():
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        labels = [[type(label).__name__, label] for label in self.classes]
        yield _json([self.task, labels, self.numeric_names, self.categorical_names, self.target_names])
        for array in (self.numeric, self.target, self.groups, self.time):
            yield from (b"none",) if array is None else array_parts(array)
        yield _json(self.categorical.shape)
        for column in self.categorical.T:
            yield _json(column.tolist())


def array_parts(array: NDArray[Any]) -> tuple[bytes, bytes]:
    """Shape and content of an array of numbers as bytes that do not depend on the machine or on how NaN is written."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if little.dtype.kind == "f" and (missing := np.isnan(little)).any():
        little = np.where(missing, np.array(np.nan, little.dtype), little)
    return _json([little.dtype.str, array.shape]), little.tobytes()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
