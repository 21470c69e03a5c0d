"""Whether a tree that was stored is of the kind that belongs there: databases take anything, from anybody."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin


def fits(tree: Any, kind: Any) -> bool:
    """Whether a JSON tree is of a kind.

    Args:
        tree: as `codec.load` gives it.
        kind: an annotation: `str`, `int`, `float`, `bool`, `None`, `Any`, `list[...]`, `dict[str, ...]`, a union, a
            `Literal`, or a dataclass, for which a mapping with all its fields stands.

    Example:
        >>> fits({"a": [1, 0.5]}, dict[str, list[float]]), fits([True], list[int]), fits("b", Literal["a"])
        (True, False, False)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is list:
        return isinstance(tree, list) and _all_fit(tree, parts[0])
    if origin is dict:
        return isinstance(tree, dict) and _all_fit(tree.values(), parts[1])
    if origin is Literal:
        return isinstance(tree, str) and tree in parts
    if origin is UnionType:
        return any(fits(tree, part) for part in parts)
    if is_dataclass(kind):
        types = {field.name: field.type for field in fields(kind)}
        same = isinstance(tree, dict) and set(tree) == set(types)
        return same and all(fits(tree[name], types[name]) for name in types)
    return type(tree) in ((int, float) if kind is float else (kind,))


def _all_fit(trees: Any, kind: Any) -> bool:
    return kind is Any or all(fits(tree, kind) for tree in trees)
