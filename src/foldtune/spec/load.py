"""Read a study file, or the same tree as a Python dict, and report everything wrong with its shape at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from foldtune.errors import Path, Problem, Source, SpecError, located
from foldtune.refs import is_reference
from foldtune.spec import domains
from foldtune.spec.schema import SEARCHABLE, StudySpec
from foldtune.spec.shape import parse_section, related, salvage
from foldtune.spec.yaml import parse_yaml, read_text

STAND_INS = {"name": "nameless", "data": {"use": "digits"}, "model": "MLP"}
"""For sections that must be given and are wrong, while the rest is checked; nothing is ever made of them."""


@dataclass(frozen=True)
class StudyFile:
    """A study file that was read.

    Args:
        spec: the validated file, with domains in its searchable sections.
        tree: the plain tree it came from, overrides included.
        home: its own folder: modules and files beside it are found there.
        folder: what its data paths are relative to; usually the same.
        source: where its nodes stand, for messages.
        problems: what is wrong with its shape; `spec` and `tree` are then the rest, to be checked and no more.
    """

    spec: StudySpec
    tree: Mapping[str, Any]
    home: FilePath
    folder: FilePath
    source: Source
    problems: tuple[Problem, ...] = ()


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
    file = read_spec(study, overrides=overrides, folder=folder)
    if file.problems:
        raise SpecError(file.problems, file.source)
    return file


def read_spec(
    study: str | FilePath | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    folder: str | FilePath | None = None,
    home: FilePath | None = None,
) -> StudyFile:
    """Read a study as `load_spec` does, but note what is wrong with its shape, so that the rest can be checked too.

    Args:
        study: path of a YAML file, or the same tree as a dict.
        overrides: `path=value` texts that replace parts of it, the value written as in YAML.
        folder: what relative data paths are relative to; default: the file's folder, or the working folder.
        home: the folder of a tree's modules; default: the working folder.

    Raises:
        SpecError: it cannot be read at all: no such file, no YAML, no `path=value`.

    Example:
        >>> file = read_spec({"name": "demo", "data": {"use": "digits"}, "model": "MLP", "search": {"trails": 5}})
        >>> [problem.text() for problem in file.problems], file.spec.search.trials
        (['search.trails: there is no key `trails` here. Did you mean trials?'], 100)
    """
    if isinstance(study, Mapping):
        tree, source, home = dict(study), Source(), home or FilePath.cwd()
    else:
        file = FilePath(study)
        tree, source = parse_yaml(read_text(file), str(study))
        home = file.parent.resolve()
    tree, changed = _override(tree, overrides)
    source = replace(source, overridden=changed)
    with located(source):
        spec, rest, problems = salvage(_validated, tree, STAND_INS)
    return StudyFile(spec, rest, home, FilePath(folder).resolve() if folder else home, source, tuple(problems))


def validate(tree: Mapping[str, Any]) -> StudySpec:
    """Check a plain tree against the schema.

    Raises:
        SpecError: everything wrong with it.
    """
    spec, problems = _validated(tree)
    if spec is None or problems:
        raise SpecError(problems)
    return spec


def _validated(tree: Mapping[str, Any]) -> tuple[StudySpec | None, list[Problem]]:
    problems: list[Problem] = []
    parsed = dict(tree)
    for key in tree:
        if key in SEARCHABLE:
            parsed[key], found = domains.parse(tree[key], (key,))
            problems += found
        elif key != "name" and (path := domains.find(tree[key], (key,))) is not None:
            problems.append(Problem(path, f"only {', '.join(SEARCHABLE)} can be searched", hint="Write a plain value."))
    spec, found = parse_section(StudySpec, parsed, ())
    return spec, problems + [problem for problem in found if not related(problem, problems)]


def _override(tree: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The tree with each `path=value` put in, and the paths; problems of all of them at once."""
    result, changed, problems = dict(tree), list[Path](), list[Problem]()
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
        except SpecError:
            problems.append(Problem(path, "the value must be valid YAML", text))
            continue
        try:
            result = _put(result, path, node["value"])
            changed.append(path[:-1] if path[-1] == "use" else path)
        except SpecError as error:
            problems += [Problem(path, problem.rule, text, problem.hint) for problem in error.problems]
    if problems:
        raise SpecError(problems)
    return result, tuple(changed)


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
