"""Parameters that a user wants to try first."""

import json
from pathlib import Path as FilePath
from typing import Any

from foldtune import space
from foldtune.errors import Path, Problem, SpecError
from foldtune.spec.domains import Node
from foldtune.spec.yaml import parse_yaml, read_text

_PATH: Path = ("search", "enqueue")


def read_enqueue(given: Any, tree: Node, folder: FilePath) -> list[dict[str, Any]]:
    """The parameters of each trial to try first, checked against the space, what is left out at its default.

    Args:
        given: a list of mappings from parameter names to values, or a YAML or JSON file that holds one; a file may also
            be what `foldtune show --json` printed: its trials' parameters are taken.
        tree: the searchable sections, with domains.
        folder: what a relative file is relative to.

    Raises:
        SpecError: a name is unknown, a value lies outside of its domain, or the file cannot be read.
    """
    items = _read_file(folder / given) if isinstance(given, str) else given
    if not isinstance(items, list | tuple) or not all(isinstance(item, dict) for item in items):
        rule = "`enqueue` is a list of mappings from parameter names to values, or a file that holds one"
        raise SpecError.of(_PATH, rule, repr(items))
    problems: list[Problem] = []
    for index, params in enumerate(items):
        problems += space.check_params(tree, params, (*_PATH, index))
    if problems:
        raise SpecError(problems)
    usual = space.defaults(tree)
    return [space.taken(tree, {**usual, **params}) for params in items]


def _read_file(file: FilePath) -> Any:
    if not file.is_file():
        raise SpecError.of(_PATH, "the file must exist", file, f"Paths are relative to {file.parent}.")
    try:
        text = read_text(file)
        tree = json.loads(text) if file.suffix == ".json" else _read_yaml(text)
    except (ValueError, RecursionError) as error:
        raise SpecError.of(_PATH, "the file must hold JSON", f"{file}: {error}") from error
    except SpecError as error:
        found = [f"{problem.rule} ({problem.value})" for problem in error.problems]
        line = error.source.line(()) if error.source else None
        place = f"{file}:{line - 1}" if line else str(file)
        raise SpecError.of(_PATH, "the file must hold YAML", f"{place}: {'; '.join(found)}") from error
    if isinstance(tree, dict) and "trials" in tree:
        return [trial.get("params", trial) for trial in tree["trials"] if isinstance(trial, dict)]
    return tree


def _read_yaml(text: str) -> Any:
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    return parse_yaml(f"trials:\n{indented}", "")[0]["trials"]
