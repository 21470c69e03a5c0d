"""Which columns go through which chain of steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldtune.data.dataset import Dataset
from foldtune.data.source import absent
from foldtune.errors import Path, Problem
from foldtune.spec.schema import CategoricalSpec, PreprocessingSpec

Kind = Literal["numeric", "categorical"]

PATH: Path = ("preprocessing",)

DEFAULT_NUMERIC = ({"use": "SimpleImputer", "strategy": "median"}, {"use": "StandardScaler"})
"""The steps of a table's numeric columns where the study file gives none."""


@dataclass(frozen=True)
class Columns:
    """Some columns of one kind.

    Args:
        kind: which array of the data set they stand in.
        positions: where in it; for features of more than two axes, positions in the flattened ones.
        names: what they are called.
    """

    kind: Kind
    positions: tuple[int, ...]
    names: tuple[str, ...]

    def read(self, dataset: Dataset) -> NDArray[Any]:
        """The columns as scikit-learn takes them, shape (N, F): missing is NaN in numbers and in text."""
        if self.kind == "numeric":
            flat = dataset.numeric.reshape(dataset.n_rows, -1)
            return flat if len(self.positions) == flat.shape[1] else flat[:, self.positions]
        chosen = dataset.categorical[:, self.positions]
        chosen[np.asarray(chosen == None, dtype=bool)] = np.nan  # noqa: E711 - asked of each cell
        return chosen


@dataclass(frozen=True)
class Chain:
    """Columns and the `use:` nodes that they go through, in order."""

    columns: Columns
    nodes: tuple[Any, ...]
    path: Path


def chains(dataset: Dataset, spec: PreprocessingSpec) -> Iterator[Chain]:
    """All chains, in the order in which their outputs stand side by side."""
    if (rest := remaining(dataset, spec, "numeric")).positions:
        yield Chain(rest, _numeric_nodes(dataset, spec), (*PATH, "numeric"))
    for index, group in enumerate(spec.columns):
        nodes = tuple(ref.node for ref in group.steps)
        yield Chain(_named(dataset, group.columns), nodes, (*PATH, "columns", index, "steps"))
    rest = remaining(dataset, spec, "categorical")
    if rest.positions and not isinstance(spec.categorical, CategoricalSpec):
        yield Chain(rest, tuple(ref.node for ref in spec.categorical), (*PATH, "categorical"))


def remaining(dataset: Dataset, spec: PreprocessingSpec, kind: Kind) -> Columns:
    """The columns of a kind that have no chain of their own."""
    taken = {str(name) for group in spec.columns for name in group.columns}
    names = _names(dataset, kind)
    free = [index for index, name in enumerate(names) if name not in taken]
    return Columns(kind, tuple(free), tuple(names[index] for index in free))


def column_problems(dataset: Dataset, spec: PreprocessingSpec) -> Iterator[Problem]:
    """What is wrong with the groups of columns that have chains of their own."""
    numeric, categorical = _names(dataset, "numeric"), _names(dataset, "categorical")
    seen: set[str] = set()
    for index, group in enumerate(spec.columns):
        path = (*PATH, "columns", index, "columns")
        names = [str(name) for name in group.columns]
        if dataset.numeric.ndim != 2:
            yield Problem(path, "only a table has columns", f"features of shape {dataset.numeric.shape[1:]}")
            continue
        if not names:
            yield Problem(path, "a group must have columns")
        yield from (absent(name, [*numeric, *categorical], path) for name in names if name not in numeric + categorical)
        for name in sorted(seen & set(names)):
            yield Problem(path, "a column must be in one group only", repr(name))
        seen |= set(names)
        if set(names) & set(numeric) and set(names) & set(categorical):
            yield Problem(path, "a group must be all numeric or all categorical", ", ".join(names), "Make two groups.")


def _numeric_nodes(dataset: Dataset, spec: PreprocessingSpec) -> tuple[Any, ...]:
    if spec.numeric is not None:
        return tuple(ref.node for ref in spec.numeric)
    return DEFAULT_NUMERIC if dataset.numeric.ndim == 2 else ()


def _named(dataset: Dataset, names: Sequence[str | int]) -> Columns:
    texts = tuple(str(name) for name in names)
    kind: Kind = "numeric" if texts[0] in _names(dataset, "numeric") else "categorical"
    return Columns(kind, tuple(_names(dataset, kind).index(name) for name in texts), texts)


def _names(dataset: Dataset, kind: Kind) -> tuple[str, ...]:
    if kind == "categorical":
        return dataset.categorical_names or tuple(f"c{index}" for index in range(dataset.categorical.shape[1]))
    return dataset.numeric_names or tuple(f"x{index}" for index in range(int(np.prod(dataset.numeric.shape[1:]))))
