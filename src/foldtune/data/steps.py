"""A chain of scikit-learn transformers, fitted on some rows and applied to others."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.data.source import at_rows
from foldtune.errors import DataError, Path
from foldtune.refs import PREPROCESSING, build, label
from foldtune.values import Floats


@dataclass(frozen=True, eq=False)
class Steps:
    """A fitted chain.

    Args:
        transformers: fitted, in order.
        labels: their names, for messages.
        names: of the columns that go in.
        path: the place of the chain in the configuration.
    """

    transformers: tuple[Any, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    path: Path

    def transform(self, columns: NDArray[Any]) -> Floats:
        """Apply every step to rows, shape (n, F), and get finite numbers, shape (n, F')."""
        stages = [columns]
        for index, transformer in enumerate(self.transformers):
            with _in_step(self.labels[index], (*self.path, index)):
                stages.append(_dense(transformer.transform(stages[-1])))
        return self._finish(stages)

    def _finish(self, stages: Sequence[NDArray[Any]]) -> Floats:
        try:
            numbers = np.asarray(stages[-1], dtype=np.float64)
        except (TypeError, ValueError) as error:
            hint = "End with a step that makes numbers, such as OneHotEncoder or OrdinalEncoder."
            raise DataError.of(self.path, "the last step must give numbers", error, hint) from error
        if not np.isfinite(numbers).all():
            raise self._not_finite(stages, numbers)
        return numbers

    def _not_finite(self, stages: Sequence[NDArray[Any]], numbers: Floats) -> DataError:
        """The error that names the step after which the numbers stay missing or infinite."""
        first = len(stages) - 1
        while first > 0 and not _finite(stages[first - 1]):
            first -= 1
        column = int(np.argmin(np.isfinite(numbers).all(axis=0)))
        name = f"`{self.names[column]}`" if numbers.shape[1] == len(self.names) else f"column {column} of its output"
        found = f"{name} is missing or infinite in {at_rows(~np.isfinite(numbers[:, column]))}"
        if first == 0:
            hint = "Add SimpleImputer."
            return DataError.of(self.path, "the steps must leave no missing values", found, hint)
        rule = f"`{self.labels[first - 1]}` must give finite numbers"
        return DataError.of((*self.path, first - 1), rule, found, "Choose another step, or leave that column out.")


def fit_steps(
    nodes: Sequence[Any],
    columns: NDArray[Any],  # (n, F)
    *,
    target: NDArray[Any],  # (n,) or (n, T)
    names: Sequence[str],
    path: Path,
    seed: int,
) -> tuple[Steps, Floats]:
    """Build and fit a chain on training rows.

    A step is filled in where it takes the argument and the study file leaves it out: `random_state` with `seed`,
    `keep_empty_features` with True (a column that is all missing in one fold stays) and `sparse_output` with False.

    Args:
        nodes: `use:` mappings, in order.
        columns: training rows.
        target: their targets, for steps that learn from them.
        names: of the F columns.
        path: the place of the chain in the configuration.
        seed: for steps that are random.

    Returns:
        The fitted chain, and the training rows as its `fit_transform` gives them, shape (n, F'); these differ from
        what `transform` gives for steps such as `TargetEncoder`.

    Raises:
        SpecError: a step is unknown or refuses its arguments.
        DataError: a step cannot be fitted, or gives NaN or infinity.
    """
    fill = {"random_state": seed, "keep_empty_features": True, "sparse_output": False}
    transformers, stages = [], [columns]
    for index, node in enumerate(nodes):
        transformer = build(node, PREPROCESSING, (*path, index), fill=fill)
        with _in_step(label(node), (*path, index)):
            stages.append(_dense(transformer.fit_transform(stages[-1], target)))
        transformers.append(transformer)
    steps = Steps(tuple(transformers), tuple(label(node) for node in nodes), tuple(names), path)
    return steps, steps._finish(stages)


@contextmanager
def _in_step(name: str, path: Path) -> Iterator[None]:
    with warnings.catch_warnings():  # about a fold's rows, in every trial and fold; what matters is checked
        warnings.simplefilter("ignore")
        try:
            yield
        except (TypeError, ValueError) as error:
            unknown = "unknown categories" in str(error)
            hint = "Give it `handle_unknown: ignore` and its `categories`." if unknown else None
            message = " ".join(str(error).split())
            raise DataError.of(path, f"`{name}` must be able to transform the rows", message, hint) from error


def _dense(columns: Any) -> NDArray[Any]:
    """Sparse matrices and DataFrames as arrays."""
    return np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns)


def _finite(columns: NDArray[Any]) -> bool:
    return columns.dtype.kind != "f" or bool(np.isfinite(columns).all())
