"""What makes a splitter unfit for the data, before and after it split them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.errors import Path, Problem
from foldtune.refs import SPLITTER, default, label, missing, parameters, resolve, split
from foldtune.values import Fold

_PATH: Path = ("validation",)
_OWN_RULE = ("PredefinedSplit",)
"""Splitters of scikit-learn that may honour groups and times without knowing of them; their folds are checked."""

_OF_NUMBERS = ("QuantileStratifiedKFold", "MultilabelStratifiedKFold")
"""Splitters that stratify by other targets than classes."""


def splitter_problems(dataset: Dataset, node: Mapping[str, Any] | str) -> list[Problem]:
    """Why a splitter cannot split these rows honestly, before it does.

    Raises:
        SpecError: the splitter is unknown.
    """
    name, given = split(node)
    target = resolve(name, SPLITTER, _PATH)
    n_splits = given.get("n_splits", default(target, "n_splits"))
    path = (*_PATH, "n_splits") if "n_splits" in given else _PATH
    problems: list[Problem] = []
    if ":" not in name:
        problems += _kind_problems(dataset, name, by_time=name == "TimeSeriesSplit" or "times" in parameters(target))
    if dataset.time is None and "times" in missing(target, given):
        problems.append(Problem(_PATH, f"`{label(node)}` needs times", hint="Name their column in `data.time`."))
    if isinstance(n_splits, int):
        problems += _count_problems(dataset, label(node), n_splits, path)
    return problems


def fold_problems(dataset: Dataset, folds: Sequence[Fold], node: Mapping[str, Any] | str) -> list[Problem]:
    """What is wrong with folds that a splitter gave, each kind of fault once.

    A splitter that takes an embargo (`PurgedKFold`, skfolio's `CombinatorialPurgedCV`) may train on later rows.
    """
    name = label(node)
    one_way = not any("embargo" in argument for argument in parameters(resolve(split(node)[0], SPLITTER, _PATH)))
    if not folds:
        return [Problem(_PATH, f"`{name}` must give at least one fold")]
    found: dict[str, Problem] = {}
    for index, fold in enumerate(folds):
        for problem in _one_fold(dataset, fold, f"fold {index}", name, one_way=one_way):
            found.setdefault(problem.rule, problem)
    return list(found.values())


def _kind_problems(dataset: Dataset, name: str, *, by_time: bool) -> Iterator[Problem]:
    by_group = "Group" in name  # so are all of scikit-learn's that read groups called
    if "Stratified" in name and dataset.task != "classification" and name not in _OF_NUMBERS:
        fitting = "QuantileStratifiedKFold" if dataset.task == "regression" else "MultilabelStratifiedKFold"
        hint = f"Leave `validation` out, or use {fitting}."
        if dataset.groups is not None:
            hint = "Use GroupKFold."
        yield Problem(_PATH, f"`{name}` needs classes to stratify by", f"a {dataset.task} target", hint)
    if by_group and dataset.groups is None:
        yield Problem(_PATH, f"`{name}` needs groups", hint="Name their column in `data.group`.")
    elif not by_group and dataset.groups is not None and name not in _OWN_RULE:
        rule = f"rows of one group must stay together, which `{name}` does not see to"
        hint = "Use GroupKFold, StratifiedGroupKFold or another group splitter, or take `data.group` out."
        yield Problem(_PATH, rule, f"{len(np.unique(dataset.groups))} groups", hint)
    if dataset.time is not None and not by_time and name not in _OWN_RULE:
        rule = f"training rows must come before validation rows in time, which `{name}` does not see to"
        hint = "Use TimeSeriesSplit, PurgedTimeSeriesSplit or PurgedKFold, or take `data.time` out."
        yield Problem(_PATH, rule, "a `data.time` column", hint)


def _count_problems(dataset: Dataset, name: str, n_splits: int, path: Path) -> Iterator[Problem]:
    folds = "Shuffle" not in name
    if folds and "Stratified" in name and dataset.task == "classification":
        counts = np.bincount(dataset.target, minlength=dataset.n_outputs)
        if (fewest := int(counts.min())) < n_splits:
            rule = f"`n_splits` must be at most the rows of the rarest class, {dataset.classes[int(counts.argmin())]!r}"
            yield Problem(path, f"{rule} ({fewest})", f"n_splits={n_splits}", "Lower it, or leave that class out.")
    if folds and "GroupKFold" in name and dataset.groups is not None:
        if (groups := len(np.unique(dataset.groups))) < n_splits:
            rule = f"`n_splits` must be at most the number of groups ({groups})"
            yield Problem(path, rule, f"n_splits={n_splits}", "Lower it.")
    if folds and n_splits > dataset.n_rows:
        yield Problem(path, f"`n_splits` must be at most the number of rows ({dataset.n_rows})", f"n_splits={n_splits}")


def _one_fold(dataset: Dataset, fold: Fold, where: str, name: str, *, one_way: bool) -> Iterator[Problem]:
    for side, rows in (("training", fold.train), ("validation", fold.valid)):
        if not len(rows):
            yield Problem(_PATH, f"`{name}` must leave {side} rows in every fold", f"none in {where}")
        elif len(np.unique(rows)) != len(rows):
            yield Problem(_PATH, f"`{name}` must not repeat {side} rows", where)
    if len(both := np.intersect1d(fold.train, fold.valid)):
        rule = f"`{name}` must not train on validation rows"
        yield Problem(_PATH, rule, f"{len(both)} rows are on both sides in {where}, such as row {both[0]}")
    if not len(fold.train) or not len(fold.valid):
        return
    if dataset.groups is not None:
        shared = np.intersect1d(dataset.groups[fold.train], dataset.groups[fold.valid])
        if len(shared):
            yield Problem(_PATH, f"`{name}` must not divide a group", f"{len(shared)} groups on both sides in {where}")
    if one_way and dataset.time is not None and dataset.time[fold.train].max() > dataset.time[fold.valid].min():
        yield Problem(_PATH, f"`{name}` must train on rows before the validation rows in time", where)
    if lost := [known for known, count in dataset.class_counts(fold.train).items() if not count]:
        hint = "Use fewer folds or another splitter, or leave rare classes out."
        rule = f"`{name}` must leave training rows of every class"
        yield Problem(_PATH, rule, f"{where} has none of {', '.join(lost[:5])}", hint)
