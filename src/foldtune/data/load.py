"""From the `data` section of a study file to a `Dataset`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldtune.data.arrays import read_arrays
from foldtune.data.dataset import Dataset
from foldtune.data.features import feature_problems, numbers, split_kinds, stack, texts
from foldtune.data.made import make_source, maker_problems
from foldtune.data.source import Column, Source, absent, as_frame, at_rows, listed, locate, raise_any
from foldtune.data.tables import read_table, reader_options
from foldtune.data.targets import encode, group_codes, infer_task, row_problems, target_problems, times, value_problems
from foldtune.errors import Path as Place
from foldtune.errors import Problem, nearest
from foldtune.spec.schema import DataSpec


def load(spec: DataSpec, folder: Path, beside: Mapping[str, Column] | None = None) -> Dataset:
    """Read the rows that a study trains on.

    Numeric dtypes (bool included) become numbers and everything else categories, unless `numeric` or `categorical`
    says otherwise. The task is inferred by `foldtune.data.targets.infer_task` where it is not given.

    Args:
        spec: the `data` section.
        folder: where the study file stands; relative paths start there.
        beside: columns that are no features but arguments of the splitter, by the argument's name.

    Raises:
        DataError: a reader option or the name of a source is unknown, a file cannot be read, or the data do not fit
            (all problems of the columns at once).
    """
    raise_any(options_problems(spec))
    return assemble(_read(spec, folder, beside or {}), spec, beside or {})


def options_problems(spec: DataSpec, path: Place = ("data",)) -> list[Problem]:
    """Everything wrong with the section that can be seen without reading the data.

    Example:
        >>> [problem.text() for problem in options_problems(DataSpec(table="a.csv", spe=";", target="y"))]
        ['data.spe: `pandas.read_csv` has no argument `spe`. Did you mean sep?']
    """
    problems = []
    if spec.group is not None and spec.time is not None:
        problems.append(Problem((*path, "time"), "only one of `group` and `time` can force the splitter"))
    if spec.use is not None:
        return [*problems, *maker_problems(spec.use, spec.options, (*path, "use"))]
    reader, known = reader_options(spec.table) if spec.table is not None else ("arrays", ())
    for key in spec.options:
        if key not in known:
            fields = nearest(key, list(DataSpec.model_fields)) if known else "There are no options here."
            hint = nearest(key, known) or fields
            problems.append(Problem((*path, key), f"`{reader}` has no argument `{key}`", hint=hint or None))
    return problems


def assemble(source: Source, spec: DataSpec, beside: Mapping[str, Column]) -> Dataset:
    """The data set of what was read.

    Raises:
        DataError: with all problems found.
    """
    raise_any(_repeated(source))
    problems = list(_name_problems(source, spec, beside))
    roles = find_roles(source, spec, beside)
    problems += _problems(source, spec, roles)
    raise_any(problems)
    task = spec.task or infer_task(roles.target)
    target, classes = encode(roles.target, task)
    numeric, categorical, numeric_names, categorical_names = features(roles)
    groups, group_names = (None, ()) if roles.group is None else group_codes(roles.group)
    return Dataset(
        numeric=numeric,
        categorical=categorical,
        target=target,
        task=task,
        classes=classes,
        numeric_names=numeric_names,
        categorical_names=categorical_names,
        target_names=tuple(str(name) for name in roles.target.columns),
        groups=groups,
        time=None if roles.time is None else times(roles.time),
        group_names=group_names,
        beside={name: times(column) for name, column in roles.beside.items()},
    )


@dataclass(frozen=True, eq=False)
class Roles:
    """What each column is for."""

    inputs: pd.DataFrame | NDArray[Any]  # the features: (N, F) columns or (N, *features) numbers
    target: pd.DataFrame  # (N, T)
    group: "pd.Series[Any] | None"  # (N,)
    time: "pd.Series[Any] | None"  # (N,)
    numeric: set[Column]
    categorical: set[Column]
    beside: "Mapping[str, pd.Series[Any]]"  # (N,) each


def _read(spec: DataSpec, folder: Path, beside: Mapping[str, Column]) -> Source:
    if spec.use is not None:
        return make_source(spec.use, spec.options, ("data", "use"))
    if spec.table is not None:
        return Source(read_table(spec.table, spec.options, folder, ("data", "table")), ("data", "table"))
    return read_arrays(spec, folder, ("data", "arrays"), [name for name in beside.values() if isinstance(name, str)])


def _labels(inputs: pd.DataFrame | NDArray[Any] | None) -> list[Column]:
    labels: list[Column] = list(inputs.columns) if isinstance(inputs, pd.DataFrame) else []
    return labels


def _named(
    spec: DataSpec, source: Source, beside: Mapping[str, Column]
) -> Iterator[tuple[Place, Column, list[Column]]]:
    """Every name of a column in the study file: its place, itself, and the columns it may name."""
    labels = _labels(source.inputs)
    for section in ("drop", "numeric", "categorical"):
        for index, name in enumerate(getattr(spec, section)):
            yield ("data", section, index), name, labels
    for section in ("group", "time"):
        if (name := getattr(spec, section)) is not None:
            yield ("data", section), name, [*labels, *source.arrays]
    for argument, name in beside.items():
        yield ("validation", argument), name, [*labels, *source.arrays]
    if spec.arrays is None:
        choices = labels if source.target is None else _labels(source.target)
        for name in _target_names(spec):
            yield ("data", "target"), name, choices


def _target_names(spec: DataSpec) -> tuple[Column, ...]:
    if spec.target is None:
        return ()
    return spec.target if isinstance(spec.target, tuple) else (spec.target,)


def _repeated(source: Source) -> list[Problem]:
    repeated = [f"`{label}`" for label, count in Counter(_labels(source.inputs)).items() if count > 1]
    return [Problem(source.path, "columns must have different names", listed(repeated))] if repeated else []


def _name_problems(source: Source, spec: DataSpec, beside: Mapping[str, Column]) -> Iterator[Problem]:
    labels = _labels(source.inputs)
    if source.target is None and not _target_names(spec):
        hint = f"The columns are {listed((f'`{label}`' for label in labels), 20)}."
        yield Problem(("data", "target"), "a table needs `target`, the column to predict", hint=hint)
    for place, name, choices in _named(spec, source, beside):
        if locate(name, choices) is None:
            yield absent(name, choices, place)
    for name in set(spec.numeric) & set(spec.categorical):
        yield Problem(("data", "categorical"), "a column cannot be both numeric and categorical", repr(name))
    for name in set(spec.drop) & {*_target_names(spec), spec.group, spec.time, *beside.values()}:
        yield Problem(("data", "drop"), "a column that is used cannot be dropped", repr(name))


def find_roles(source: Source, spec: DataSpec, beside: Mapping[str, Column] | None = None) -> Roles:
    """Who is who among the columns that are there."""
    arguments = beside or {}
    found = {(place, name): locate(name, choices) for place, name, choices in _named(spec, source, arguments)}
    by_section: dict[str, list[Column]] = {}
    for (place, _), label in found.items():
        if label is not None:
            by_section.setdefault(str(place[1]), []).append(label)
    return Roles(
        inputs=_inputs(source, [label for key in (*_NO_FEATURES, *arguments) for label in by_section.get(key, [])]),
        target=_target(source, by_section.get("target", [])),
        group=_beside(source, by_section.get("group", [])),
        time=_beside(source, by_section.get("time", [])),
        numeric=set(by_section.get("numeric", [])),
        categorical=set(by_section.get("categorical", [])),
        beside={
            name: column for name in arguments if (column := _beside(source, by_section.get(name, []))) is not None
        },
    )


_NO_FEATURES = ("drop", "target", "group", "time")


def _inputs(source: Source, out: list[Column]) -> pd.DataFrame | NDArray[Any]:
    if not isinstance(source.inputs, pd.DataFrame):
        return source.inputs
    return source.inputs.loc[:, [label not in out for label in source.inputs.columns]]


def _target(source: Source, labels: list[Column]) -> pd.DataFrame:
    if source.target is not None:
        return source.target[labels] if labels else source.target
    assert isinstance(source.inputs, pd.DataFrame)
    return source.inputs[labels]


def _beside(source: Source, labels: list[Column]) -> "pd.Series[Any] | None":
    if not labels:
        return None
    if labels[0] in source.arrays:
        return as_frame(source.arrays[str(labels[0])], "rows").iloc[:, 0]
    assert isinstance(source.inputs, pd.DataFrame)
    return source.inputs[labels[0]]


def _problems(source: Source, spec: DataSpec, roles: Roles) -> Iterator[Problem]:
    if not len(roles.inputs):
        yield Problem(source.path, "there must be rows", "0 rows")
        return
    for role, column in (("group", roles.group), ("time", roles.time)):
        if column is not None:
            yield from row_problems(column, role, ("data",))
    for argument, column in roles.beside.items():
        yield from value_problems(column, ("validation", argument))
    if roles.target.shape[1]:
        path: Place = ("data", "target") if spec.target is not None else source.path
        yield from target_problems(roles.target, spec.task or infer_task(roles.target), path)
    if isinstance(roles.inputs, pd.DataFrame):
        if not roles.inputs.shape[1]:
            yield Problem(source.path, "there must be feature columns", "0 columns beside the target")
        yield from feature_problems(roles.inputs, roles.numeric, roles.categorical, source.path)
    elif (infinite := np.isinf(roles.inputs.reshape(len(roles.inputs), -1)).any(axis=1)).any():
        yield Problem(source.path, "the features must be finite", f"infinite in {at_rows(infinite)}")


def features(roles: Roles) -> tuple[NDArray[Any], NDArray[np.object_], tuple[str, ...], tuple[str, ...]]:
    """Numbers of shape (N, *features), texts of shape (N, Q), and their columns' names."""
    inputs = roles.inputs
    if not isinstance(inputs, pd.DataFrame):
        return np.asarray(inputs, dtype=np.float64), np.empty((len(inputs), 0), dtype=object), (), ()
    as_numbers, as_texts = split_kinds(inputs, roles.numeric, roles.categorical)
    numeric = stack([numbers(inputs[name]) for name in as_numbers], len(inputs), np.float64)
    categorical = stack([texts(inputs[name]) for name in as_texts], len(inputs), object)
    return numeric, categorical, tuple(map(str, as_numbers)), tuple(map(str, as_texts))
