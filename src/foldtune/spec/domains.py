"""Domains: the leaves of a study file that are searched.

`{float: [1e-4, 1e-1], log: true}`, `{int: [1, 4], step: 1}` and `{choice: [ReLU, GELU]}`, each with an optional
`default`. A choice of mappings is a conditional branch: the domains inside an option exist only when it is taken.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from foldtune.errors import Path, Problem, nearest
from foldtune.refs import is_reference, label

Scalar = str | int | float | bool | None
Node = Any
"""A study file's tree: mappings, lists and scalars, with domains in place of some nodes."""

ALLOWED = {"float": ("log", "step", "default"), "int": ("log", "step", "default"), "choice": ("default",)}


@dataclass(frozen=True)
class Float:
    """A real number between `low` and `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    default: float | None = None


@dataclass(frozen=True)
class Int:
    """A whole number between `low` and `high`, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    default: int | None = None


@dataclass(frozen=True)
class Option:
    """One option of a choice: how it is stored, what it stands for, and where it stands in the study file."""

    label: Scalar
    node: Node
    where: Path


@dataclass(frozen=True)
class Choice:
    """One of several options; `default` is a label."""

    options: tuple[Option, ...]
    default: Scalar

    @property
    def labels(self) -> tuple[Scalar, ...]:
        return tuple(option.label for option in self.options)

    def option(self, chosen: Scalar) -> Option:
        """The option of that label, told apart by type too (1 is not True)."""
        return next(option for option in self.options if _same(option.label, chosen))


Domain = Float | Int | Choice


def parse(node: Node, path: Path = ()) -> tuple[Node, list[Problem]]:
    """Replace every domain of a plain tree by its value object.

    Args:
        node: the tree as read; not changed.
        path: where it stands.

    Returns:
        The tree with domains, and everything wrong with them (a wrong domain stands as None).

    Example:
        >>> parse({"lr": {"float": [0.1, 1.0], "log": True}})
        ({'lr': Float(low=0.1, high=1.0, log=True, step=None, default=None)}, [])
    """
    if isinstance(node, Mapping):
        kind = next((key for key in ALLOWED if key in node), None)
        if kind is not None and not is_reference(node):
            return _domain(kind, node, path)
        pairs = {key: parse(child, (*path, key)) for key, child in node.items()}
        problems = [_dotted(path, key) for key in node if "." in str(key) and find(node[key]) is not None]
        problems += [problem for _, found in pairs.values() for problem in found]
        return {key: tree for key, (tree, _) in pairs.items()}, problems
    if isinstance(node, list | tuple):
        parsed = [parse(child, (*path, index)) for index, child in enumerate(node)]
        return [tree for tree, _ in parsed], [problem for _, found in parsed for problem in found]
    return node, []


def find(node: Node, path: Path = ()) -> Path | None:
    """The path of the first domain in a plain tree; None when there is none. For sections that take no domains."""
    if isinstance(node, Mapping):
        if any(key in node for key in ALLOWED) and not is_reference(node):
            return path
        children: Sequence[tuple[str | int, Node]] = list(node.items())
    else:
        children = list(enumerate(node)) if isinstance(node, list | tuple) else []
    return next((found for key, child in children if (found := find(child, (*path, key))) is not None), None)


def _domain(kind: str, node: Mapping[str, Any], path: Path) -> tuple[Domain | None, list[Problem]]:
    problems = [
        Problem((*path, key), f"a `{kind}` domain has no `{key}`", hint=nearest(key, ALLOWED[kind]) or None)
        for key in node
        if key != kind and key not in ALLOWED[kind]
    ]
    if problems:
        return None, problems
    return _choice(node, path) if kind == "choice" else _range(kind, node, path)


def _range(kind: str, node: Mapping[str, Any], path: Path) -> tuple[Float | Int | None, list[Problem]]:
    bounds, log, step, default = node[kind], node.get("log", False), node.get("step"), node.get("default")
    number = _is_int if kind == "int" else _is_number
    noun = "whole numbers" if kind == "int" else "numbers"
    if not isinstance(bounds, list | tuple) or len(bounds) != 2 or not all(number(bound) for bound in bounds):
        return None, [Problem(path, f"`{kind}` takes [low, high], two {noun}", repr(bounds))]
    low, high = bounds
    rules = (
        (isinstance(log, bool), "`log` must be true or false", log, None),
        (low < high, "low must be below high", f"{kind}: [{low}, {high}]", "Swap them, or write a plain value."),
        (not log or low > 0, "a `log` domain needs a positive low", low, None),
        (step is None or (number(step) and step > 0), f"`step` must be a positive {noun[:-1]}", step, None),
        (step is None or not log, "`step` and `log` cannot go together", f"step: {step}", "Leave one of them out."),
        (default is None or number(default), f"`default` must be one of the {noun}", repr(default), None),
    )
    problems = [Problem(path, rule, str(value), hint) for holds, rule, value, hint in rules if not holds]
    if not problems and default is not None and not low <= default <= high:
        problems = [Problem(path, "`default` must lie between low and high", f"{default}, {kind}: [{low}, {high}]")]
    if not problems and step is not None:
        rule = "must be low plus a whole number of steps"
        if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):  # as Optuna counts, in digits as written
            problems.append(Problem(path, f"high {rule}", f"{kind}: [{low}, {high}], step: {step}"))
        if default is not None and not on_grid(default, low, step):
            problems.append(Problem(path, f"`default` {rule}", f"{default}, low: {low}, step: {step}"))
    if problems:
        return None, problems
    if kind == "int":
        return Int(low, high, log, 1 if step is None else step, default), []
    return Float(float(low), float(high), log, None if step is None else float(step), _float(default)), []


def on_grid(value: float, low: float, step: float) -> bool:
    """Whether a value is `low` plus a whole number of steps, rounding aside."""
    steps = (value - low) / step
    return abs(steps - round(steps)) < 1e-8


def _choice(node: Mapping[str, Any], path: Path) -> tuple[Choice | None, list[Problem]]:
    listed = node["choice"]
    if not isinstance(listed, list | tuple | Mapping) or not listed:
        return None, [Problem(path, "a `choice` needs options: a list, or a mapping from labels", repr(listed))]
    keyed = isinstance(listed, Mapping)
    items = listed.items() if isinstance(listed, Mapping) else enumerate(listed)
    options, problems = [], []
    for key, child in items:
        where = (*path, "choice", key)
        named = is_reference(child) and isinstance(child["use"], str)
        if not keyed and isinstance(child, list | tuple | Mapping) and not named:
            problems.append(Problem(where, "an option that is a list or mapping needs a label", hint=LABELS))
            continue
        name = key if keyed else label(child) if named else child
        tree, found = parse(child, where)
        problems += found
        if keyed and "." in str(name) and find(child) is not None:
            problems.append(_dotted((*path, "choice"), name))
        if isinstance(name, float) and not math.isfinite(name):
            problems.append(Problem(where, "an option must be finite", repr(name)))
        options.append(Option(name, tree, where))
    problems += _repeated(options)
    default = node.get("default", options[0].label if options else None)
    if not problems and not any(_same(default, option.label) for option in options):
        labels = ", ".join(str(option.label) for option in options)
        problems.append(Problem((*path, "default"), f"`default` must be one of {labels}", repr(default)))
    return (None, problems) if problems else (Choice(tuple(options), default), [])


LABELS = "Write `choice: {name: ..., other: ...}`."


def _repeated(options: Sequence[Option]) -> list[Problem]:
    """Labels that are equal, or equal as parts of a parameter's name."""
    return [
        Problem(option.where, "every option of a choice needs a label of its own", repr(option.label), LABELS)
        for index, option in enumerate(options)
        if any(option.label == earlier.label or str(option.label) == str(earlier.label) for earlier in options[:index])
    ]


def _dotted(path: Path, key: Scalar) -> Problem:
    rule = "what stands above a domain cannot have a dot: names of parameters are paths"
    return Problem((*path, str(key)), rule, repr(key))


def _same(left: Scalar, right: Scalar) -> bool:
    return left == right and isinstance(left, bool) is isinstance(right, bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
