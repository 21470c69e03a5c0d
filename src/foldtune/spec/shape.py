"""A tree against a pydantic model, and what is wrong with it in words of the study file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from foldtune.errors import Path, Problem, SpecError, nearest
from foldtune.spec.domains import ALLOWED

M = TypeVar("M", bound=BaseModel)

_KINDS = {
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "none_required": "left out",
}
"""What pydantic asks for, as a study file's author calls it."""


def parse_section(model: type[M], tree: Mapping[str, Any], path: Path) -> tuple[M | None, list[Problem]]:
    """Validate a tree by a pydantic model; its errors as problems below `path`.

    Example:
        >>> from foldtune.spec.schema import TrainingSpec
        >>> [problem.text() for problem in parse_section(TrainingSpec, {"epoch": 3}, ("training",))[1]]
        ['training.epoch: there is no key `epoch` here. Did you mean epochs?']
    """
    try:
        return model.model_validate(tree), []
    except ValidationError as error:
        return None, _merged(_problem(dict(found), model, tree, path) for found in error.errors())


def salvage(
    parse: Callable[[Mapping[str, Any]], tuple[M | None, list[Problem]]],
    tree: Mapping[str, Any],
    stand_ins: Mapping[str, Any],
) -> tuple[M, Mapping[str, Any], list[Problem]]:
    """Validate what is right of a tree, so that it can be checked further, whatever is wrong with the rest.

    Args:
        parse: validates a tree.
        tree: not changed.
        stand_ins: values for keys that must be given.

    Returns:
        The validated rest, the rest as a tree, and what is wrong with what was left out.

    Raises:
        SpecError: nothing is right.
    """
    problems: list[Problem] = []
    while True:
        spec, found = parse(tree)
        problems += [problem for problem in found if not related(problem, problems)]
        if spec is not None and not found:
            return spec, tree, problems
        rest = {**stand_ins, **without(tree, [problem.path for problem in found])}
        if rest == tree:
            raise SpecError(problems)
        tree = rest


def without(tree: Mapping[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """A tree without the nodes at `paths`; for an item of a list the whole list goes, for a missing node its parent.

    Example:
        >>> without({"search": {"trails": 5, "seed": 1}, "metrics": ["f1", 3]}, [("search", "trails"), ("metrics", 1)])
        {'search': {'seed': 1}}
    """
    rest: Any = tree
    for path in paths:
        removed = _removed(rest, path)
        rest = rest if removed is None else removed
    return dict(rest)


def related(problem: Problem, others: Sequence[Problem]) -> bool:
    """Whether a problem may only follow from another: one of their paths leads to the other's."""
    return any(problem.path[: len(other.path)] == other.path[: len(problem.path)] for other in others)


def _removed(node: Any, path: Path) -> Any:
    """A node without what stands at `path`; None when it must go itself."""
    key, rest = path[0] if path else None, path[1:]
    if isinstance(node, Mapping) and key in node:
        child = _removed(node[key], rest) if rest else None
        others = {name: other for name, other in node.items() if name != key}
        return others if child is None else {**node, key: child}
    if isinstance(node, list | tuple) and isinstance(key, int) and key < len(node) and rest:
        child = _removed(node[key], rest)
        return None if child is None else [*node[:key], child, *node[key + 1 :]]
    return None


def _problem(error: Mapping[str, Any], model: type[BaseModel], tree: Any, path: Path) -> Problem:
    inside = _real_path(error["loc"], tree)
    inside = (*inside, error["loc"][-1]) if error["type"] == "missing" else inside
    kind, value, place = error["type"], error["input"], (*path, *inside)
    if kind == "extra_forbidden":
        known = _fields(model, inside[:-1])
        close = nearest(str(inside[-1]), known) or f"Known here: {', '.join(known)}."
        return Problem(place, f"there is no key `{inside[-1]}` here", hint=close)
    if kind == "missing":
        return Problem(place, f"the key `{inside[-1]}` must be given")
    if kind == "value_error":
        rule, _, found = str(error["ctx"]["error"]).partition(", however: ")
        return Problem(place, rule, found or None)
    if kind == "string_pattern_mismatch":
        rule = "this must begin with a letter or digit, and hold only those, `_`, `.` and `-`"
        return Problem(place, rule, _short(value))
    if kind == "model_type":
        bare = error["ctx"]["class_name"] == "Reference"
        hint = f"Write {{use: {value}}}." if isinstance(value, str) and not bare else None
        return Problem(place, f"this must be a mapping{' or the name of a class' if bare else ''}", _short(value), hint)
    rule = (
        f"this must be {_KINDS[kind]}" if kind in _KINDS else re.sub("^Input should be", "this must be", error["msg"])
    )
    return Problem(place, rule[0].lower() + rule[1:], _short(value), _hint(kind, value))


def _hint(kind: str, value: Any) -> str | None:
    """What may have been meant."""
    if isinstance(value, Mapping):
        return nearest(str(next(iter(value), "")), tuple(ALLOWED)) or None  # a misspelt domain
    if kind == "string_type" and isinstance(value, int | float):
        return f"Write '{value}' in quotes."
    return f"Write [{value}]." if kind == "tuple_type" and isinstance(value, str | int) else None


def _merged(problems: Iterable[Problem]) -> list[Problem]:
    """One problem for each place: the members of a union each have their say."""
    by_place: dict[Path, list[Problem]] = {}
    for problem in problems:
        by_place.setdefault(problem.path, []).append(problem)
    return [_either(found) for found in by_place.values()]


def _either(found: Sequence[Problem]) -> Problem:
    first, *others = found
    rules = [first.rule, *(other.rule.removeprefix("this must be ") for other in others)]
    hint = next((problem.hint for problem in found if problem.hint), None)
    return Problem(first.path, " or ".join(dict.fromkeys(rules)), first.value, hint)


def _real_path(location: Sequence[str | int], tree: Any) -> Path:
    """pydantic's location, as far as it is there, without the names of union members."""
    path: list[str | int] = []
    for part in location:
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list | tuple) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    for part in path:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        inner = next((m for m in _models(annotation)), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
