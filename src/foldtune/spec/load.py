"""Read a study file, or the same tree as a Python dict, and report everything wrong with its shape at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from foldtune.errors import Path, Problem, Source, SpecError, nearest
from foldtune.refs import is_reference
from foldtune.spec import domains
from foldtune.spec.schema import SEARCHABLE, StudySpec
from foldtune.spec.yaml import parse_yaml, read_text

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class StudyFile:
    """A study file that was read and has the right shape.

    Args:
        spec: the validated file, with domains in its searchable sections.
        tree: the plain tree it came from, overrides included.
        folder: what relative paths in it are relative to.
        source: where its nodes stand, for messages.
    """

    spec: StudySpec
    tree: Mapping[str, Any]
    folder: FilePath
    source: Source


def load_spec(
    study: str | FilePath | Mapping[str, Any], *, overrides: Sequence[str] = (), folder: str | FilePath | None = None
) -> StudyFile:
    """Read and validate a study.

    Args:
        study: path of a YAML file, or the same tree as a dict.
        overrides: `path=value` texts that replace parts of it, the value written as in YAML.
        folder: what relative data paths are relative to; default: the file's folder, or the working folder.

    Raises:
        SpecError: everything wrong with the file's shape, each with its line and path.

    Example:
        >>> load_spec({"name": "demo", "data": {"use": "digits"}, "model": "MLP"}).spec.search.trials
        100
    """
    if isinstance(study, Mapping):
        tree, source, home = dict(study), Source(), FilePath.cwd()
    else:
        file = FilePath(study)
        tree, source = parse_yaml(read_text(file), str(study))
        home = file.parent.resolve()
    tree = _override(tree, overrides)
    try:
        return StudyFile(validate(tree), tree, FilePath(folder).resolve() if folder else home, source)
    except SpecError as error:
        error.source = source
        raise


def validate(tree: Mapping[str, Any]) -> StudySpec:
    """Check a plain tree against the schema.

    Raises:
        SpecError: everything wrong with it.
    """
    problems: list[Problem] = []
    parsed = dict(tree)
    for key in tree:
        if key in SEARCHABLE:
            parsed[key], found = domains.parse(tree[key], (key,))
            problems += found
        elif key != "name" and (path := domains.find(tree[key], (key,))) is not None:
            problems.append(Problem(path, f"only {', '.join(SEARCHABLE)} can be searched", hint="Write a plain value."))
    spec, found = parse_section(StudySpec, parsed, ())
    problems += [problem for problem in found if not any(_within(problem.path, other.path) for other in problems)]
    if spec is None or problems:
        raise SpecError(problems)
    return spec


def parse_section(model: type[M], tree: Mapping[str, Any], path: Path) -> tuple[M | None, list[Problem]]:
    """Validate a tree by a pydantic model; its errors as problems below `path`."""
    try:
        return model.model_validate(tree), []
    except ValidationError as error:
        return None, [_problem(dict(found), model, tree, path) for found in error.errors()]


def _problem(error: Mapping[str, Any], model: type[BaseModel], tree: Any, path: Path) -> Problem:
    inside = _real_path(error["loc"], tree)
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        known = _fields(model, inside[:-1])
        hint = nearest(str(inside[-1]), known) or f"Known here: {', '.join(known)}."
        return Problem((*path, *inside), f"there is no key `{inside[-1]}` here", hint=hint)
    if kind == "missing":
        return Problem((*path, *inside), "this key must be given")
    if kind == "value_error":
        rule, _, found = str(error["ctx"]["error"]).partition(", however: ")
        return Problem((*path, *inside), rule, found or None)
    if kind == "model_type":
        return Problem((*path, *inside), "this must be a mapping (or a class's name)", _short(value))
    rule = re.sub(r"^Input should be", "this must be", error["msg"])
    return Problem((*path, *inside), rule[0].lower() + rule[1:], _short(value))


def _real_path(location: Sequence[str | int], tree: Any) -> Path:
    """pydantic's location without the names of union members, which are no part of the tree."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(tree, Mapping) and (part in tree or last):
            tree = tree.get(part)
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


def _override(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The tree with each `path=value` put in; problems of all of them at once."""
    result, problems = dict(tree), []
    for text in overrides:
        name, equals, value = text.partition("=")
        path: Path = tuple(int(part) if part.isdigit() else part for part in name.strip().split("."))
        if not equals or not name.strip():
            problems.append(
                Problem((), "an override is written `path=value`", repr(text), "As in --set search.trials=5")
            )
            continue
        try:
            node, _ = parse_yaml(f"value: {value}", "--set")
            result = _put(result, path, node["value"])
        except SpecError as error:
            problems += [Problem(path, problem.rule, text, problem.hint) for problem in error.problems]
    if problems:
        raise SpecError(problems)
    return result


def _put(node: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(node, list):
        if not isinstance(key, int) or key >= len(node):
            raise SpecError.of(path, f"a list of {len(node)} has the places 0 to {len(node) - 1}", str(key))
        return [_put(child, rest, value) if index == key else child for index, child in enumerate(node)]
    base = {"use": node} if isinstance(node, str) else {} if node is None else node
    if not isinstance(base, Mapping):
        raise SpecError.of(path, "an override can only go into a mapping or a list", repr(node))
    if not rest and key == "use" and is_reference(base):
        return {"use": value}  # another class: the old one's arguments mean nothing to it
    return {**base, str(key): _put(base.get(str(key)), rest, value)}


def _within(path: Path, parent: Path) -> bool:
    return path[: len(parent)] == parent


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
