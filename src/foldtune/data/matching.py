"""Another file with a study's columns: rows locked away for the test, or rows to compare the study's own with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldtune.data.arrays import read_arrays
from foldtune.data.dataset import Dataset
from foldtune.data.features import kind, numbers, texts
from foldtune.data.load import Roles, features, find_roles
from foldtune.data.source import Column, Source, at_rows, listed, locate, raise_any
from foldtune.data.tables import read_table, reader_options
from foldtune.data.targets import encode, group_codes, is_label, known_codes, row_problems, times
from foldtune.errors import DataError, Problem, nearest
from foldtune.errors import Path as Place
from foldtune.spec.schema import DataSpec
from foldtune.values import Floats

TEST: Place = ("data", "test")


def load_test_file(spec: DataSpec, folder: Path, like: Dataset) -> Dataset:
    """The rows of `data.test`, read as the study's own were, with the same columns, kinds, classes and group codes.

    Columns may stand in any order, and others beside them. A category that the study's rows do not have stays, and gets
    the code of unseen ones; a class that they do not have is refused.

    Args:
        spec: the `data` section; its reader options hold for this file, too.
        folder: where the study file stands.
        like: rows of the study.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds other things in one: all problems at once.
    """
    source = _read(str(spec.test), spec, folder, TEST)
    roles = _roles(source, spec, like, TEST, labelled=True)
    problems = [*_input_problems(roles, spec, like, str(spec.test), TEST), *_target_problems(roles, like, spec)]
    for role, column in (("group", roles.group), ("time", roles.time)):
        if column is not None:
            problems += [Problem(TEST, each.rule, each.value) for each in row_problems(column, role, TEST)]
    raise_any(problems)
    numeric, categorical, _, _ = features(roles)
    groups, group_names = (None, ()) if roles.group is None else group_codes(roles.group, like.group_names)
    return Dataset(
        numeric=numeric,
        categorical=categorical,
        target=_target(roles, like),
        task=like.task,
        classes=like.classes,
        numeric_names=like.numeric_names,
        categorical_names=like.categorical_names,
        target_names=like.target_names,
        groups=groups,
        time=None if roles.time is None else times(roles.time),
        group_names=group_names,
    )


def load_inputs(
    file: str, spec: DataSpec, folder: Path, like: Dataset, path: Place = ()
) -> tuple[Floats, NDArray[np.object_]]:
    """The features of a file whose target need not be known.

    Args:
        file: a table, or an .npz file; relative to `folder`.
        spec: the `data` section; its reader options hold for this file, too.
        folder: where the study file stands.
        like: rows of the study.
        path: where the file is named, for messages.

    Returns:
        Numbers, shape (M, *features), and texts, shape (M, Q), in the order of the study's columns.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds other things in one: all problems at once.
    """
    roles = _roles(_read(file, spec, folder, path), spec, like, path, labelled=False)
    raise_any(list(_input_problems(roles, spec, like, file, path)))
    numeric, categorical, _, _ = features(roles)
    return numeric, categorical


def _read(file: str, spec: DataSpec, folder: Path, path: Place) -> Source:
    if file.endswith(".npz"):
        return read_arrays(spec.model_copy(update={"arrays": file, "table": None, "use": None}), folder, path)
    if file.endswith(".npy"):
        raise DataError.of(path, "one .npy file cannot hold inputs and target", file, "Give an .npz file of both.")
    options = spec.options if spec.table is not None else {}
    reader, known = reader_options(file)
    hint = "Let both files be of one format."
    raise_any([Problem(path, f"`{reader}` has no argument `{key}`", file, hint) for key in options if key not in known])
    return Source(read_table(file, options, folder, path), path)


def _roles(source: Source, spec: DataSpec, like: Dataset, path: Place, *, labelled: bool) -> Roles:
    """Who is who among the file's columns, by the names of the study's; the others are left out."""
    if not len(source.inputs):
        raise DataError.of(path, "there must be rows", "0 rows")
    beside = [name for name in (spec.group, spec.time) if labelled and name is not None and name not in source.arrays]
    wanted = [*like.numeric_names, *like.categorical_names]
    targets = list(like.target_names) if labelled and source.target is None else []
    if not isinstance(source.inputs, pd.DataFrame):
        raise_any(_shape_problems(source.inputs, like, path))
        return find_roles(source, spec.model_copy(update={"arrays": source.path, "drop": ()}))
    labels = {str(label): label for label in source.inputs.columns}
    found: dict[str, Column | None] = {name: labels.get(name) for name in [*wanted, *targets]}
    found |= {str(name): locate(name, list(source.inputs.columns)) for name in beside}
    raise_any(_lacking([name for name, label in found.items() if label is None], list(labels), path))
    update: dict[str, Any] = {
        "drop": (),
        "numeric": tuple(found[name] for name in like.numeric_names),
        "categorical": tuple(found[name] for name in like.categorical_names),
        "target": tuple(found[name] for name in targets) or None,
        "group": found.get(str(spec.group), spec.group) if labelled else None,
        "time": found.get(str(spec.time), spec.time) if labelled else None,
        "arrays": None if source.target is None else source.path,
    }
    kept = source.inputs[list(dict.fromkeys(found.values()))]
    return find_roles(Source(kept, path, source.target, source.arrays), spec.model_copy(update=update))


def _lacking(names: list[str], there: list[str], path: Place) -> list[Problem]:
    if not names:
        return []
    hint = nearest(names[0], there) or f"The file has {listed((f'`{name}`' for name in there), 10)}."
    rule = "the file must have the columns of the study's own rows"
    return [Problem(path, rule, f"it lacks {listed(f'`{name}`' for name in names)}", hint)]


def _shape_problems(inputs: NDArray[Any], like: Dataset, path: Place) -> list[Problem]:
    shapes = inputs.shape[1:], like.numeric.shape[1:]
    rule = f"inputs must have the shape {shapes[1]} of the study's own rows"
    return [] if shapes[0] == shapes[1] else [Problem(path, rule, str(shapes[0]))]


def _input_problems(roles: Roles, spec: DataSpec, like: Dataset, file: str, path: Place) -> Iterator[Problem]:
    if not isinstance(roles.inputs, pd.DataFrame):
        if (infinite := np.isinf(roles.inputs.reshape(len(roles.inputs), -1)).any(axis=1)).any():
            yield Problem(path, f"the features in {file} must be finite", f"infinite in {at_rows(infinite)}")
        return
    declared = {str(name) for name in spec.categorical}
    for label in roles.inputs.columns:
        column = roles.inputs[label]
        if label in roles.numeric:
            yield from _numeric_problems(column, file, path)
        elif str(label) not in declared and kind(column) == "numeric" and column.notna().any():
            known = like.categorical[:, like.categorical_names.index(str(label))]
            if not set(texts(column.dropna()).tolist()) & set(known.tolist()):
                rule = f"`{label}` in {file} must hold labels, as in the study's own rows"
                yield Problem(path, rule, f"numbers such as {column.dropna().tolist()[0]!r}")


def _numeric_problems(column: "pd.Series[Any]", file: str, path: Place) -> Iterator[Problem]:
    rule = f"`{column.name}` in {file} must hold numbers, as in the study's own rows"
    values = numbers(column)
    if kind(column) == "date":
        yield Problem(path, rule, f"dates ({column.dtype})")
    elif (bad := np.isnan(values) & ~column.isna().to_numpy()).any():
        yield Problem(path, rule, f"{_examples(column, bad)} in {at_rows(bad)}")
    elif (infinite := np.isinf(values)).any():
        yield Problem(path, f"`{column.name}` in {file} must be finite", f"infinite in {at_rows(infinite)}")


def _target_problems(roles: Roles, like: Dataset, spec: DataSpec) -> Iterator[Problem]:
    if (found := roles.target.shape[1]) != (wanted := len(like.target_names)):
        yield Problem(TEST, f"{spec.test} must hold as many targets as the study's own rows ({wanted})", str(found))
        return
    for name in roles.target.columns:
        column = roles.target[name]
        if like.task == "classification":
            bad = known_codes(column, like.classes) < 0
            rule = f"`{name}` in {spec.test} must hold classes of the study's own rows"
            hint = f"These are {listed(map(repr, like.classes), 10)}."
        elif like.task == "multilabel":
            bad, hint = ~is_label(column), None
            rule = f"`{name}` in {spec.test} must hold 0 and 1, or booleans"
        else:
            bad, hint = ~np.isfinite(numbers(column)), None
            rule = f"`{name}` in {spec.test} must hold finite numbers"
        if bad.any():
            yield Problem(TEST, rule, f"{_examples(column, bad)} in {at_rows(bad)}", hint)


def _target(roles: Roles, like: Dataset) -> NDArray[Any]:
    if like.task == "classification":
        return known_codes(roles.target.iloc[:, 0], like.classes)
    return encode(roles.target, like.task)[0]


def _examples(column: "pd.Series[Any]", bad: NDArray[np.bool_]) -> str:
    return listed(dict.fromkeys(repr(value) for value in column[bad].tolist()), 3)
