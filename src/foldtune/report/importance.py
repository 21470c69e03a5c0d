"""Which parameters go with good trials."""

from collections.abc import Sequence

import numpy as np

from foldtune.store.records import TrialRecord
from foldtune.values import Floats


def by_importance(ranked: Sequence[TrialRecord]) -> list[str]:
    """Names of the parameters that differ between trials, those that go with the order of the trials first.

    A parameter's weight is the share of the variance of the trials' places that it explains alone, over the trials
    that have it: the squared rank correlation of a number, the correlation ratio of a choice.

    Args:
        ranked: trials from best to worst.
    """
    names = dict.fromkeys(name for trial in ranked for name in trial.params)
    weights: dict[str, float] = {}
    for name in names:
        places = np.array([place for place, trial in enumerate(ranked) if name in trial.params], dtype=np.float64)
        values = [trial.params[name] for trial in ranked if name in trial.params]
        if len({str(value) for value in values}) > 1 or len(values) < len(ranked):
            weights[name] = _explained(values, places) * len(values) / len(ranked)
    return sorted(weights, key=lambda name: -weights[name])


def _explained(values: Sequence[object], places: Floats) -> float:
    """Share of the variance of `places` (n,) that the values explain."""
    if len(values) < 3 or np.var(places) == 0 or len({str(value) for value in values}) == 1:
        return 0.0
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return float(np.corrcoef(_ranks(values), places)[0, 1] ** 2)
    groups: dict[str, list[float]] = {}
    for value, place in zip(values, places, strict=True):
        groups.setdefault(str(value), []).append(float(place))
    between = sum(len(group) * (np.mean(group) - np.mean(places)) ** 2 for group in groups.values())
    return float(between / len(places) / np.var(places))


def _ranks(values: Sequence[object]) -> Floats:
    """Ranks of numbers, equal ones at the mean of their ranks."""
    _, place, count = np.unique(np.array(values, dtype=np.float64), return_inverse=True, return_counts=True)
    means: Floats = np.cumsum(count) - (count + 1) / 2
    return means[place]
