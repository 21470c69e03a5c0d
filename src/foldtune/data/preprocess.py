"""Transforms fitted on each fold's training rows and applied to all rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.data.categories import Codes, fit_codes
from foldtune.data.chains import PATH, Columns, chains, column_problems, remaining
from foldtune.data.dataset import Dataset
from foldtune.data.source import raise_any
from foldtune.data.steps import Steps, fit_steps
from foldtune.errors import DataError
from foldtune.seeds import derive
from foldtune.spec.schema import CategoricalSpec, PreprocessingSpec
from foldtune.values import Floats, Fold, Rows


@dataclass(frozen=True, eq=False)
class FoldData:
    """All N rows as one fold's models see them; nothing in its training rows depends on any other row.

    Args:
        numeric: shape (N, *features) float32.
        codes: shape (N, Q) int64: 0 missing, 1 unseen, then categories.
        cardinalities: number of codes of each of the Q columns.
        target: class codes, shape (N,) int64; labels, shape (N, T) int64; or shape (N, T) float32, standardised on the
            training rows.
        location: shape (T,); original target = standardised * scale + location. Empty but for regression.
        scale: shape (T,), positive.
    """

    numeric: NDArray[np.float32]
    codes: NDArray[np.int64]
    cardinalities: tuple[int, ...]
    target: NDArray[Any]
    location: Floats
    scale: Floats


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Fitted transforms: what turns new rows into a model's input.

    Args:
        chains: columns and their fitted steps; the outputs stand side by side.
        codes: the fitted codes of each column that is embedded.
        embedded: these columns.
        features: shape of one row's numeric output.
    """

    chains: tuple[tuple[Columns, Steps], ...]
    codes: tuple[Codes, ...]
    embedded: Columns
    features: tuple[int, ...]

    def transform(self, dataset: Dataset) -> NDArray[np.float32]:
        """Numbers of rows with the same columns, shape (N, *features)."""
        parts = [steps.transform(columns.read(dataset)) for columns, steps in self.chains]
        return _joined(parts, self.features, dataset.n_rows)

    def encode(self, dataset: Dataset) -> NDArray[np.int64]:
        """Codes of rows with the same columns, shape (N, Q)."""
        codes = np.empty((dataset.n_rows, len(self.codes)), dtype=np.int64)
        for index, (column, fitted) in enumerate(zip(self.embedded.positions, self.codes, strict=True)):
            codes[:, index] = fitted.transform(dataset.categorical[:, column])
        return codes


def fit(
    dataset: Dataset, spec: PreprocessingSpec, *, rows: Rows, seed: int = 0
) -> tuple[Preprocessor, NDArray[np.float32]]:
    """Fit all transforms on some rows.

    Args:
        dataset: N rows.
        spec: the chains.
        rows: the rows to fit on, n of them; no other is looked at.
        seed: for transforms that are random.

    Returns:
        The fitted transforms, and the numeric output for the rows that they were fitted on, shape (n, *features).

    Raises:
        SpecError: a step is unknown or refuses its arguments.
        DataError: columns are not there, or a step cannot transform them.
    """
    raise_any(list(column_problems(dataset, spec)))
    train = dataset.take(rows)
    target = train.target.reshape(-1) if train.target.shape[1:] == (1,) else train.target
    fitted, parts = [], []
    for chain in chains(dataset, spec):
        read, names = chain.columns.read(train), chain.columns.names
        own = derive(seed, "preprocessing", *chain.path)
        steps, part = fit_steps(chain.nodes, read, target=target, names=names, path=chain.path, seed=own)
        fitted.append((chain.columns, steps))
        parts.append(part)
    features = _features(dataset, parts)
    embedded, codes = _fit_codes(train, spec)
    return Preprocessor(tuple(fitted), codes, embedded, features), _joined(parts, features, len(rows))


def fit_fold(dataset: Dataset, spec: PreprocessingSpec, fold: Fold, *, seed: int = 0) -> FoldData:
    """All rows, transformed by what was fitted on the fold's training rows alone.

    Raises:
        SpecError: a step is unknown or refuses its arguments.
        DataError: columns are not there, or a step cannot transform them.
    """
    preprocessor, trained = fit(dataset, spec, rows=fold.train, seed=seed)
    rest = np.setdiff1d(np.arange(dataset.n_rows), fold.train)
    numeric = np.empty((dataset.n_rows, *preprocessor.features), dtype=np.float32)
    numeric[fold.train] = trained
    if len(rest):
        numeric[rest] = preprocessor.transform(dataset.take(rest))
    location, scale = _standard(dataset, fold.train)
    return FoldData(
        numeric=numeric,
        codes=preprocessor.encode(dataset),
        cardinalities=tuple(codes.cardinality for codes in preprocessor.codes),
        target=_standardised(dataset, location, scale),
        location=location,
        scale=scale,
    )


def fit_folds(
    dataset: Dataset, spec: PreprocessingSpec, folds: Sequence[Fold], *, seed: int = 0
) -> tuple[FoldData, ...]:
    """`fit_fold` for every fold, with equal shapes: cardinalities are the largest of all folds.

    Raises:
        SpecError: a step is unknown or refuses its arguments.
        DataError: as `fit_fold`; or a step gives different numbers of columns in different folds.
    """
    fitted = [fit_fold(dataset, spec, fold, seed=seed) for fold in folds]
    widths = [data.numeric.shape[1:] for data in fitted]
    if len(set(widths)) > 1:
        found = ", ".join("x".join(map(str, width)) for width in widths)
        hint = "Give encoders such as OneHotEncoder their `categories`, or use `categorical: {min_frequency: 10}`."
        raise DataError.of(PATH, "every fold must get the same number of columns", found, hint)
    largest = tuple(max(sizes) for sizes in zip(*(data.cardinalities for data in fitted), strict=True))
    return tuple(replace(data, cardinalities=largest) for data in fitted)


def _fit_codes(train: Dataset, spec: PreprocessingSpec) -> tuple[Columns, tuple[Codes, ...]]:
    if not isinstance(spec.categorical, CategoricalSpec):
        return Columns("categorical", (), ()), ()
    embedded = remaining(train, spec, "categorical")
    columns = (train.categorical[:, position] for position in embedded.positions)
    return embedded, tuple(fit_codes(column, spec.categorical) for column in columns)


def _features(dataset: Dataset, parts: Sequence[Floats]) -> tuple[int, ...]:
    """Shape of one row's output: images stay images when no step changed their number of values."""
    shape = dataset.numeric.shape[1:]
    width = sum(part.shape[1] for part in parts)
    return shape if len(shape) > 1 and width == int(np.prod(shape)) else (width,)


def _joined(parts: Sequence[Floats], features: tuple[int, ...], rows: int) -> NDArray[np.float32]:
    wide = np.concatenate([np.empty((rows, 0)), *parts], axis=1).reshape(rows, *features)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    if not np.isfinite(narrow).all():
        largest = np.abs(wide).max()
        hint = "Add a step that scales them, such as RobustScaler, or leave the row or column out."
        raise DataError.of(PATH, "transformed numbers must fit into 32 bits", f"{largest:g}", hint)
    return narrow


def _standard(dataset: Dataset, rows: Rows) -> tuple[Floats, Floats]:
    if dataset.task != "regression":
        return np.empty(0), np.empty(0)
    location, scale = dataset.target[rows].mean(axis=0), dataset.target[rows].std(axis=0)
    constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(location)
    return location, np.where(constant, 1.0, scale)


def _standardised(dataset: Dataset, location: Floats, scale: Floats) -> NDArray[Any]:
    if dataset.task != "regression":
        return dataset.target
    standardised: NDArray[np.float32] = ((dataset.target - location) / scale).astype(np.float32)
    return standardised
