"""From `validation` to folds: the right splitter for the data, and no fold that would make a score meaningless."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.data.dataset import Dataset, array_parts
from foldtune.data.fold_checks import fold_problems, splitter_problems
from foldtune.data.multilabel import MultilabelStratifiedKFold
from foldtune.data.purged import PurgedKFold, PurgedTimeSeriesSplit
from foldtune.data.quantiles import QuantileStratifiedKFold
from foldtune.data.source import Column, at_rows
from foldtune.errors import DataError, SpecError
from foldtune.refs import SPLITTER, build, label, parameters, resolve, split
from foldtune.seeds import derive
from foldtune.values import Floats, Fold, Rows

__all__ = [
    "MultilabelStratifiedKFold",
    "PurgedKFold",
    "PurgedTimeSeriesSplit",
    "QuantileStratifiedKFold",
    "folds_fingerprint",
    "make_folds",
]

MAX_FOLDS = 10_000

OF_ROWS = ("test_fold", "label_end")
"""Arguments of splitters that hold a number for every row: a study file may name a column of the data instead."""

FILLED = frozenset({"times"})
"""Arguments that foldtune supplies."""

_PATH = ("validation",)


def make_folds(dataset: Dataset, validation: Mapping[str, Any] | str | None, seed: int) -> tuple[Fold, ...]:
    """Split the rows for cross-validation.

    A splitter that can shuffle does, with a seed derived from the study's, unless its arguments say otherwise. A time
    splitter sees the rows in the order of their times, and gets these as `times` where it takes them.

    Args:
        dataset: N rows.
        validation: a splitter of scikit-learn, of foldtune's or the user's own; None for five folds: by time where
            there is a time column, by group where there is a group column, else by class, labels or quantile.
        seed: the study's.

    Returns:
        The K folds, their rows ascending.

    Raises:
        SpecError: the splitter is unknown, refuses its arguments, or does not suit the data.
        DataError: the data have too few rows, classes or groups for it.
    """
    node = default_splitter(dataset) if validation is None else validation
    if problems := splitter_problems(dataset, node):
        raise DataError(problems)
    folds = tuple(_split(dataset, node, seed))
    if problems := fold_problems(dataset, folds, node):
        raise DataError(problems)
    return folds


def default_splitter(dataset: Dataset) -> dict[str, Any]:
    """Five folds of the kind that the data call for."""
    if dataset.time is not None:
        return {"use": "TimeSeriesSplit"}
    if dataset.groups is not None:
        return {"use": "StratifiedGroupKFold" if dataset.task == "classification" else "GroupKFold"}
    if dataset.task == "classification":
        return {"use": "StratifiedKFold"}
    kind = "Multilabel" if dataset.task == "multilabel" else "Quantile"
    return {"use": f"foldtune.data.splitters:{kind}StratifiedKFold"}


def columns(validation: Mapping[str, Any] | str | None) -> dict[str, Column]:
    """The columns of the data that a splitter's arguments name, by argument.

    Example:
        >>> columns({"use": "PredefinedSplit", "test_fold": "fold"})
        {'test_fold': 'fold'}
    """
    given = {} if validation is None else split(validation)[1]
    return {name: given[name] for name in OF_ROWS if isinstance(given.get(name), str | int)}


def folds_fingerprint(folds: tuple[Fold, ...]) -> str:
    """SHA-256 of all rows of all folds, in hex.

    Example:
        >>> folds_fingerprint((Fold(np.array([0, 1]), np.array([2])),))[:8]
        '11a52070'
    """
    digest = sha256()
    for fold in folds:
        for rows in (fold.train, fold.valid):
            for part in array_parts(rows):
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
    return digest.hexdigest()


def _split(dataset: Dataset, node: Mapping[str, Any] | str, seed: int) -> Iterator[Fold]:
    order = _order(dataset, node)
    ordered = dataset.take(order)
    splitter = _build(ordered, node, seed)
    given = _given(ordered, node)
    try:
        count = splitter.get_n_splits(*given)
        if count > MAX_FOLDS:
            raise SpecError.of(_PATH, f"`{label(node)}` must give at most {MAX_FOLDS} folds", count)
        for train, valid in splitter.split(*given):
            yield Fold(_ascending(order, train), _ascending(order, valid))
    except (TypeError, ValueError, IndexError) as error:
        raise DataError.of(_PATH, f"`{label(node)}` must be able to split the rows", error) from error


def _build(dataset: Dataset, node: Mapping[str, Any] | str, seed: int) -> Any:
    """The splitter, with the columns that its arguments name, and what foldtune fills in."""
    name, given = split(node)
    of_rows: dict[str, NDArray[Any]] = {argument: dataset.beside[argument] for argument in columns(node)}
    if "test_fold" in of_rows:
        of_rows["test_fold"] = _fold_numbers(of_rows["test_fold"])
    times = {} if dataset.time is None else {"times": dataset.time}
    return build({"use": name, **given, **of_rows}, SPLITTER, _PATH, fill={**_fill(node, seed), **times})


def _fold_numbers(column: Floats) -> Rows:
    whole = np.rint(column)
    if (bad := (whole != column) | (whole < -1)).any():
        rule = "folds must be whole numbers from 0, or -1 for rows that are always trained on"
        raise DataError.of((*_PATH, "test_fold"), rule, f"{column[bad][0]:g} in {at_rows(bad)}")
    return whole.astype(np.int64)


def _order(dataset: Dataset, node: Mapping[str, Any] | str) -> Rows:
    """The rows as a splitter sees them: in order of time, unless it has an entry for every row of the file."""
    if dataset.time is None or label(node) == "PredefinedSplit":
        return np.arange(dataset.n_rows)
    return np.argsort(dataset.time, kind="stable")


def _given(dataset: Dataset, node: Mapping[str, Any] | str) -> tuple[Any, Any, Any]:
    """X, y and groups; scikit-learn's splitters that read no groups warn when they get some."""
    name = split(node)[0]
    target = dataset.target.reshape(-1) if dataset.target.shape[1:] == (1,) else dataset.target
    groups = dataset.groups if ":" in name or "Group" in name else None
    return dataset.numeric.reshape(dataset.n_rows, -1), target, groups


def _fill(node: Mapping[str, Any] | str, seed: int) -> dict[str, Any]:
    name, given = split(node)
    if "shuffle" in parameters(resolve(name, SPLITTER, _PATH)) and not given.get("shuffle", True):
        return {}
    return {"shuffle": True, "random_state": derive(seed, "split")}


def _ascending(order: Rows, rows: Any) -> Rows:
    chosen = np.asarray(rows)
    return np.sort(order[chosen if len(chosen) else chosen.astype(np.int64)]).astype(np.int64)
