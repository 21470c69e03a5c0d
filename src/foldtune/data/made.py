"""`use:` — scikit-learn's bundled sets and generators, and the user's own function or class."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from foldtune.data.source import Source, of_pair
from foldtune.errors import DataError, Path, Problem, SpecError, nearest
from foldtune.refs import Slot, missing, parameters, resolve

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
"""scikit-learn's sets that need no download."""

OWN = Slot("data source", (), function=True)

SETTLED = {"as_frame": True, "return_X_y": True}
"""Arguments of scikit-learn's functions that foldtune sets itself."""


def maker(name: str, path: Path) -> Callable[..., Any]:
    """The function (or class) behind `use`.

    Raises:
        SpecError: there is none of that name.
    """
    if ":" in name:
        own: Callable[..., Any] = resolve(name, OWN, path)
        return own
    from sklearn import datasets

    generators = [key for key in vars(datasets) if key.startswith("make_")]
    if name in BUNDLED or name in generators:
        found: Callable[..., Any] = getattr(datasets, f"load_{name}" if name in BUNDLED else name)
        return found
    hint = nearest(name, [*BUNDLED, *generators])
    hint = hint or f"There are {', '.join(BUNDLED)}, make_*, and your own as `package.module:make`."
    if name.startswith("fetch_"):
        hint = (
            "scikit-learn's fetch_* would download: save the data as a table, or load them in a function of your own."
        )
    raise SpecError.of(path, f"there is no data set `{name}`", hint=hint)


def maker_problems(name: str, options: Mapping[str, Any], path: Path) -> list[Problem]:
    """What is wrong with a source's name and arguments; nothing is called.

    Args:
        name: what `use` names.
        options: the other arguments, which stand beside it.
        path: the place of `use` in the study file.
    """
    try:
        make = maker(name, path)
    except SpecError as error:
        return list(error.problems)
    known = [key for key in parameters(make) if ":" in name or key not in SETTLED]
    problems = [] if _is_open_ended(make) else [_unknown(make, key, known, path) for key in options if key not in known]
    return [*problems, *(Problem(path, f"`{name}` needs the argument `{key}`") for key in missing(make, options))]


def make_source(name: str, options: Mapping[str, Any], path: Path) -> Source:
    """Call what `use` names and take its rows.

    A generator of scikit-learn gets `random_state=0` unless another is given, so that a resumed study sees the same
    data. The user's own function or class may give a DataFrame, an (X, y) pair or a map-style torch `Dataset`.

    Raises:
        SpecError: there is no such function, or it refuses its arguments.
        DataError: it gives something else.
    """
    make = maker(name, path)
    filled: dict[str, Any] = {}
    if ":" not in name:
        filled = {"random_state": 0} if "random_state" in parameters(make) else {}
        filled |= SETTLED if name in BUNDLED else {}
    try:
        made = make(**{**filled, **options})
    except (TypeError, ValueError) as error:
        raise SpecError.of(path, f"`{name}` must accept its arguments", error) from error
    return _source(made, name, path)


def _source(made: Any, name: str, path: Path) -> Source:
    if isinstance(made, pd.DataFrame):
        return Source(made.reset_index(drop=True), path)
    if isinstance(made, tuple) and len(made) == 2:
        return of_pair(made[0], made[1], path)
    if not isinstance(made, tuple) and hasattr(made, "__getitem__") and hasattr(made, "__len__"):
        return _of_items(made, path)
    found = f"{len(made)} values" if isinstance(made, tuple) else type(made).__name__
    hint = "A `DataFrame` will do as well, or a torch `Dataset` with a length and items (x, y)."
    raise DataError.of(path, f"`{name}` must give a pair (X, y)", found, hint)


def _of_items(rows: Any, path: Path) -> Source:
    items = [rows[index] for index in range(len(rows))]
    for index, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            rule = "items of a torch `Dataset` must be pairs (x, y)"
            raise DataError.of(path, rule, f"{type(item).__name__} at row {index} (counted from 0)")
    inputs, targets = ([np.asarray(item[side]) for item in items] for side in (0, 1))
    for arrays, what in ((inputs, "x"), (targets, "y")):
        for index, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                found = f"{arrays[0].shape} at row 0, {array.shape} at row {index} (counted from 0)"
                raise DataError.of(path, f"every {what} of a torch `Dataset` must have the same shape", found)
    if not items:
        raise DataError.of(path, "there must be rows", "an empty torch `Dataset`")
    return of_pair(np.stack(inputs), np.stack(targets), path)


def _unknown(make: Callable[..., Any], key: str, known: list[str], path: Path) -> Problem:
    name = getattr(make, "__name__", "it")
    hint = nearest(key, known) or f"It takes {', '.join(known) or 'none'}."
    return Problem((*path[:-1], key), f"`{name}` has no argument `{key}`", hint=hint)


def _is_open_ended(make: Callable[..., Any]) -> bool:
    import inspect

    kinds = [parameter.kind for parameter in inspect.signature(make).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds
