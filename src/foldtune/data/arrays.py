"""`arrays:` — .npz and .npy files, and mappings of arrays in Python. No pickle is ever loaded."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from foldtune.data.source import Source, listed, of_pair, raise_any
from foldtune.errors import DataError, Problem, nearest
from foldtune.errors import Path as Place
from foldtune.spec.schema import DataSpec

UNREADABLE = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for files that are damaged, of another format, or pickled."""


def read_arrays(spec: DataSpec, folder: Path, path: Place, beside: Sequence[str] = ()) -> Source:
    """The arrays that a study names.

    - a mapping or an .npz file: `features` (default `X`), `target` (default `y`), `group` and `time` are its keys;
    - an .npy file: these are the features; `target`, `group` and `time` are .npy files of their own.

    Args:
        spec: the `data` section.
        folder: where the study file stands.
        path: the place in the study file, for messages.
        beside: names of further arrays of N values.

    Raises:
        DataError: a file or key is missing, or an array is no array of numbers (or labels, for the target).
    """
    if isinstance(spec.arrays, Mapping):
        return _of_mapping(spec.arrays, spec, path, beside)
    if not isinstance(spec.arrays, str | Path):
        found = type(spec.arrays).__name__
        raise DataError.of(path, "`arrays` must be an .npz or .npy file or a mapping of arrays", found)
    if str(spec.arrays).endswith(".npy"):
        return _of_files(spec, folder, path, beside)
    with _opened(folder / spec.arrays, path) as loaded:
        if not isinstance(loaded, Mapping):
            raise DataError.of(path, "the name of a file with one array must end in .npy", spec.arrays)
        return _of_mapping(loaded, spec, path, beside)


def _of_mapping(arrays: Mapping[str, Any], spec: DataSpec, path: Place, beside: Sequence[str]) -> Source:
    wanted = {"features": spec.features or "X", "target": "y" if spec.target is None else spec.target}
    problems = [_no_key(name, key, arrays, path) for name, key in wanted.items() if key not in arrays]
    raise_any(problems)
    names = [name for name in (spec.group, spec.time, *beside) if isinstance(name, str) and name in arrays]
    rows = {name: _get(arrays, name, path) for name in names}
    inputs, target = (_get(arrays, key, path) for key in wanted.values())
    return of_pair(inputs, target, path, rows)


def _no_key(name: str, key: Any, arrays: Mapping[str, Any], path: Place) -> Problem:
    keys = [str(other) for other in arrays]
    hint = nearest(str(key), keys) or f"There are {listed((f'`{other}`' for other in keys), 10)}; choose with `{name}`."
    return Problem((*path[:1], name), "the array must be there", repr(key), hint)


def _get(arrays: Mapping[str, Any], key: Any, path: Place) -> Any:
    try:
        return arrays[key]
    except UNREADABLE as error:
        raise DataError.of(path, f"the array `{key}` must be readable without pickle", error) from error


def _of_files(spec: DataSpec, folder: Path, path: Place, beside: Sequence[str]) -> Source:
    if not isinstance(spec.target, str):
        hint = "Give `target:` the .npy file of the labels or numbers to predict."
        raise DataError.of((*path[:1], "target"), "an .npy file of features needs one of the target", hint=hint)
    inputs, target = _one(folder / spec.arrays, path), _one(folder / spec.target, (*path[:1], "target"))
    named = [(spec.group, (*path[:1], "group")), (spec.time, (*path[:1], "time"))]
    named += [(name, ("validation",)) for name in beside]
    rows = {
        name: _one(folder / name, place) for name, place in named if isinstance(name, str) and name.endswith(".npy")
    }
    return of_pair(inputs, target, path, rows)


def _one(file: Path, path: Place) -> Any:
    with _opened(file, path) as loaded:
        if isinstance(loaded, Mapping):
            raise DataError.of(path, "the file must hold one array", file)
        return loaded


@contextmanager
def _opened(file: Path, path: Place) -> Iterator[Any]:
    """An array, or a mapping of arrays that are read when asked for."""
    if not file.is_file():
        raise DataError.of(path, "the file must exist", file)
    with file.open("rb") as stream:
        try:
            loaded = np.load(stream, allow_pickle=False)
        except UNREADABLE as error:
            rule = "the file must hold NumPy arrays that need no pickle"
            raise DataError.of(path, rule, f"{file}: {error}") from error
        yield loaded
