"""What a stored study is compared by: its canonical tree, and what of it may change."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from foldtune.errors import Path, Problem, dotted
from foldtune.spec.schema import CHANGEABLE

ABSENT = "(absent)"


def canonical(node: Any) -> Any:
    """A tree as it is stored: plain JSON types; Python objects (arrays, data frames) become a description.

    Example:
        >>> canonical({"bounds": (1, 2)})
        {'bounds': [1, 2]}
    """
    if isinstance(node, Mapping):
        return {str(key): canonical(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [canonical(child) for child in node]
    if isinstance(node, str | int | float | bool) or node is None:
        return node
    shape = " x ".join(str(size) for size in getattr(node, "shape", ()))
    return f"<{type(node).__name__}{' ' + shape if shape else ''}>"


def digest(node: Any) -> str:
    """SHA-256 of a canonical tree, whatever the order of its keys."""
    text = json.dumps(canonical(node), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(stored: Any, asked: Any, path: Path = ()) -> list[Problem]:
    """Where two canonical trees differ, apart from what may change when a study goes on.

    Example:
        >>> [problem.text() for problem in differences({"seed": 0}, {"seed": 1})]
        ['seed: the stored study has 0, however: 1.']
    """
    if path in CHANGEABLE or stored == asked:
        return []
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        keys = [*stored, *(key for key in asked if key not in stored)]
        pairs = [((*path, key), stored.get(key, ABSENT), asked.get(key, ABSENT)) for key in keys]
        return [problem for inner, left, right in pairs for problem in differences(left, right, inner)]
    return [Problem(path, f"the stored study has {_text(stored)}", _text(asked))]


def changed(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The changeable parts that differ, by name, as asked."""
    found = {dotted(path): _at(asked, path) for path in CHANGEABLE}
    return {name: value for name, value in found.items() if value != _at(stored, tuple(name.split(".")))}


def _at(node: Any, path: Path) -> Any:
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _text(node: Any) -> str:
    return node if node == ABSENT else json.dumps(node, ensure_ascii=False)
