"""Rows set aside before anything else, for the test at the end."""

from math import ceil

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.data.quantiles import by_quantile
from foldtune.errors import DataError
from foldtune.seeds import derive
from foldtune.values import Floats, Rows

_PATH = ("data", "test_fraction")
_DRAWS = 100


def lock_test_rows(dataset: Dataset, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Set aside a share of the rows.

    With times these are the last rows (rows of one time stay together), with groups whole groups, with several labels
    those of many random choices that are most like all rows; else every class, or every quantile of a regression
    target, gives its share.

    Args:
        dataset: N rows.
        fraction: the share to set aside, in (0, 1); rounded up to whole rows, with groups or equal times to more.
        seed: the study's.

    Returns:
        Rows for development and locked rows, ascending; together they are all rows.

    Raises:
        DataError: one of the two would be empty, or development would lack a class.
    """
    count = ceil(round(fraction * dataset.n_rows, 6))
    if not 0 < count < dataset.n_rows:
        rule = "`test_fraction` must leave rows on both sides"
        raise DataError.of(_PATH, rule, f"{count} of {dataset.n_rows} rows would be locked")
    # RandomState and not a Generator: its numbers never change between NumPy versions.
    random = np.random.RandomState(derive(seed, "test"))
    if dataset.time is not None:
        locked = dataset.time >= np.sort(dataset.time)[dataset.n_rows - count]
    elif dataset.groups is not None:
        locked = np.isin(dataset.groups, _test_groups(dataset, dataset.groups, count, random))
    elif dataset.task == "multilabel":
        rows = np.arange(dataset.n_rows)
        locked = np.isin(rows, _test_groups(dataset, rows, count, random))
    else:
        locked = np.isin(np.arange(dataset.n_rows), _spread_rows(dataset, count, random))
    development, held = np.flatnonzero(~locked), np.flatnonzero(locked)
    _check(dataset, development, held)
    return development, held


def _spread_rows(dataset: Dataset, count: int, random: np.random.RandomState) -> Rows:
    """One row out of each of `count` strips of the rows sorted by class or by target."""
    order = by_quantile(dataset.target, random)
    return np.array([random.choice(strip) for strip in np.array_split(order, count)])


def _test_groups(dataset: Dataset, groups: Rows, count: int, random: np.random.RandomState) -> Rows:
    """Of many random choices of groups that hold at least `count` rows, the one most like the whole."""
    sizes = np.bincount(groups)
    profile = _profile(dataset)
    sums = np.stack([np.bincount(groups, weights=column) for column in profile.T], axis=1)
    best, lowest = np.arange(0), np.inf
    for _ in range(_DRAWS):
        order = random.permutation(np.flatnonzero(sizes))
        chosen = order[: np.searchsorted(np.cumsum(sizes[order]), count) + 1]
        rows = sizes[chosen].sum()
        distance = (rows - count) / count + np.abs(sums[chosen].sum(axis=0) / rows - profile.mean(axis=0)).sum()
        if distance < lowest:
            best, lowest = chosen, distance
    return best


def _profile(dataset: Dataset) -> Floats:
    """What should be alike on both sides, shape (N, C): class membership, or targets in standard deviations."""
    if dataset.task == "classification":
        membership: Floats = np.eye(dataset.n_outputs)[dataset.target]
        return membership
    deviation = dataset.target.std(axis=0)
    scaled: Floats = dataset.target / np.where(deviation > 0, deviation, 1)
    return scaled


def _check(dataset: Dataset, development: Rows, locked: Rows) -> None:
    if not len(development):
        rule = "`test_fraction` must leave rows for development"
        what = "group" if dataset.groups is not None else "time"
        raise DataError.of(_PATH, rule, f"all {len(locked)} rows would be locked", f"Too many rows share one {what}.")
    kept = dataset.class_counts(development)
    if lost := [known for known, count in dataset.class_counts(locked).items() if count and not kept[known]]:
        rule = "development must keep rows of every class"
        found = f"all {dataset.class_counts(locked)[lost[0]]} rows of class {lost[0]} would be locked"
        raise DataError.of(_PATH, rule, found, "Lower `test_fraction`, or leave that class out.")
