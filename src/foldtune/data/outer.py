"""Outer folds of a nested cross-validation: the rows of each are locked away from a search of its own."""

from collections.abc import Mapping
from typing import Any

from foldtune.data.dataset import Dataset
from foldtune.data.splitters import make_folds
from foldtune.errors import SpecError
from foldtune.refs import SPLITTER, label, parameters, resolve, split
from foldtune.seeds import derive
from foldtune.values import Fold

_PATH = ("validation",)


def outer_folds(dataset: Dataset, validation: Mapping[str, Any] | str, n_splits: int, seed: int) -> tuple[Fold, ...]:
    """Split the rows with a study's own kind of splitter, into another number of folds: groups and times hold.

    Args:
        dataset: the study's development rows.
        validation: its splitter; other arguments than `n_splits` and `n_repeats` are kept.
        n_splits: J, at least 2.
        seed: the study's.

    Returns:
        The J outer folds, their rows ascending.

    Raises:
        SpecError: the splitter takes no `n_splits`.
        DataError: the data have too few rows, classes or groups for J folds.
    """
    name, given = split(validation)
    known = parameters(resolve(name, SPLITTER, _PATH))
    if "n_splits" not in known:
        hint = "Leave `validation` out, or use one that takes `n_splits`."
        raise SpecError.of(_PATH, "nested cross-validation needs a splitter with `n_splits`", label(validation), hint)
    once = {"n_repeats": 1} if "n_repeats" in known else {}
    return make_folds(dataset, {"use": name, **given, "n_splits": n_splits, **once}, derive(seed, "outer"))
