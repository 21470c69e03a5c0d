"""YAML 1.2 to a plain tree, with the line of every node. Duplicate keys, tags, tabs and aliases are refused."""

import re
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.tokens import (
    BlockEndToken,
    BlockMappingStartToken,
    BlockSequenceStartToken,
    DirectiveToken,
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
    TagToken,
    Token,
)

from foldtune.errors import Path, Problem, Source, SpecError

LARGEST_BYTES = 1_000_000
"""Of a file that is read at all."""

LONGEST = 300_000
"""Characters of a YAML document: reading them takes less than a second, whatever they are."""

MOST_TOKENS = 20_000
"""Values, brackets and signs in it."""

DEEPEST = 50
"""Mappings and lists inside of each other."""

LONGEST_NUMBER = 400
"""Characters of a number: the largest double takes 309 digits."""

_CORE = "tag:yaml.org,2002:"
_BEYOND_YAML_1_2 = frozenset({f"{_CORE}timestamp", f"{_CORE}value"})
"""Kinds that ruamel.yaml finds by looks alone, and that YAML 1.2 calls text: dates, and `=`."""

_NUMBERS = frozenset({f"{_CORE}int", f"{_CORE}float"})
_OPENING = (BlockMappingStartToken, BlockSequenceStartToken, FlowMappingStartToken, FlowSequenceStartToken)
_CLOSING = (BlockEndToken, FlowMappingEndToken, FlowSequenceEndToken)
_SENSIBLE = "A study file has a few hundred lines; a long list of trials to try first can stand in a JSON file."


def read_text(file: FilePath) -> str:
    """A study file's text.

    Raises:
        SpecError: there is no such file, or it is no text of a sensible size.
    """
    if not file.is_file():
        raise SpecError.of((), "the study file must exist", str(file), "Check the name and the working folder.")
    if file.stat().st_size > LARGEST_BYTES:
        raise SpecError.of((), f"a study file has at most {LARGEST_BYTES} bytes", f"{file} has {file.stat().st_size}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem((), "a study file must be UTF-8 text", f"{file}: {error}")
        raise SpecError([problem], Source(str(file), {(): line})) from error


def parse_yaml(text: str, file: str) -> tuple[dict[str, Any], Source]:
    """Parse a document whose top is a mapping.

    Args:
        text: the document.
        file: its name, for messages.

    Returns:
        The plain tree, and the line of every node.

    Raises:
        SpecError: it is empty or no mapping, or has duplicate keys, tags, tabs, aliases or wrong syntax, or is longer
            or deeper than any study file.

    Example:
        >>> parse_yaml("lr: 1e-4", "study.yaml")[0]
        {'lr': 0.0001}
    """
    reader = _Reader(file)
    root = reader.compose(text)
    tree = reader.plain(root, ())
    if not isinstance(tree, dict) and not reader.problems:
        reader.refuse((), root.start_mark.line, "a study file is a mapping of sections", repr(tree))
    if reader.problems:
        raise SpecError(reader.problems, Source(file, reader.lines))
    return tree, Source(file, reader.lines)


def shortened(text: str) -> str:
    """The beginning of a long text, for messages.

    Example:
        >>> shortened("a" * 200) == "a" * 77 + "..."
        True
    """
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Reader:
    """One document being turned into a plain tree."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.tags: dict[tuple[int, int], str] = {}  # line and column of a node -> the tag written before it
        self.yaml = YAML(typ="safe", pure=True)

    def compose(self, text: str) -> Node:
        """The document's nodes; syntax errors as a SpecError."""
        if len(text) > LONGEST:
            found = Problem((), f"YAML has at most {LONGEST} characters here", str(len(text)), _SENSIBLE)
            raise SpecError([found], self._at(1))
        for number, line in enumerate(text.splitlines(), 1):
            if "\t" in line[: len(line) - len(line.lstrip())]:
                hint = "Indent with blanks."
                raise SpecError([Problem((), "a tab cannot indent YAML", repr(line.strip()), hint)], self._at(number))
        try:
            self._scan(text)
            root: Node | None = self.yaml.compose(text)
        except YAMLError as error:
            raise self._syntax(error, text) from error
        except ValueError as error:  # an escape such as "\\U00110000" names no character
            hint = "Look for a backslash in double quotes."
            raise SpecError([Problem((), "a study file must be valid YAML", str(error), hint)], self._at(1)) from error
        if root is None:
            hint = "It needs at least `name`, `data` and `model`."
            raise SpecError([Problem((), "a study file must not be empty", self.file, hint)], self._at(1))
        return root

    def _scan(self, text: str) -> None:
        """Note the tags, and stop before the reading of a hostile document would take long."""
        depth = 0
        for number, token in enumerate(self.yaml.scan(text)):
            if isinstance(token, TagToken):
                place = (token.start_mark.line, token.start_mark.column)
                self.tags[place] = "".join(part or "" for part in token.value)
            if isinstance(token, DirectiveToken):
                self._stop(token, "directives are not part of a study file", f"%{token.name}", "Leave the line out.")
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > DEEPEST:
                self._stop(token, "a study file must not be nested so deeply", f"more than {DEEPEST} levels", _SENSIBLE)
            if number > MOST_TOKENS:
                self._stop(
                    token, "YAML must not be so long here", f"more than {MOST_TOKENS} values and signs", _SENSIBLE
                )

    def _stop(self, token: Token, rule: str, value: str, hint: str) -> None:
        raise SpecError([Problem((), rule, value, hint)], self._at(token.start_mark.line + 1))

    def plain(self, node: Node, path: Path) -> Any:
        """A node as mapping, list or scalar; what is wrong is collected."""
        self.lines[path] = node.start_mark.line + 1
        if getattr(node, "anchor", None):
            self.refuse(path, node.start_mark.line, "anchors and aliases are not part of a study file", node.anchor)
            return None
        if (tag := self.tags.get((node.start_mark.line, node.start_mark.column))) is not None:
            self.refuse(path, node.start_mark.line, "tags are not part of a study file", tag, "Leave it out.")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.plain(child, (*path, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            rule = f"a number has at most {LONGEST_NUMBER} characters"
            self.refuse(path, node.start_mark.line, rule, f"{len(node.value)} of them")
            return None
        if re.search("[\ud800-\udfff]", node.value):
            self.refuse(path, node.start_mark.line, "a text must hold whole characters", ascii(node.value))
            return None
        return self._scalar(node)

    def refuse(self, path: Path, line: int, rule: str, value: str | None, hint: str | None = None) -> None:
        self.lines[path] = line + 1
        self.problems.append(Problem(path, rule, value and shortened(value), hint))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if not isinstance(key, str):
                hint = f"Write '{key}' in quotes." if isinstance(key_node, ScalarNode) else None
                self.refuse((*path, str(key)), key_node.start_mark.line, "a key must be a text", repr(key), hint)
            elif getattr(key_node, "anchor", None):
                rule = "anchors and aliases are not part of a study file"
                self.refuse((*path, key), key_node.start_mark.line, rule, key_node.anchor)
            elif key == "<<":
                self.refuse((*path, key), key_node.start_mark.line, "merge keys are not part of a study file", None)
            elif key in tree:
                hint = "Leave one of them out."
                self.refuse((*path, key), key_node.start_mark.line, "a key can stand only once", key, hint)
            else:
                tree[key] = self.plain(value_node, (*path, key))
                self.lines[*path, key] = key_node.start_mark.line + 1
        return tree

    def _key(self, node: Node) -> Any:
        """A key as written: numbers too, which are refused, however long they are."""
        if not isinstance(node, ScalarNode):
            return None
        return node.value if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER else self._scalar(node)

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag in _BEYOND_YAML_1_2 or node.value == "<<":
            return node.value
        return self.yaml.constructor.construct_object(node)

    def _syntax(self, error: YAMLError, text: str) -> SpecError:
        mark = (error.problem_mark or error.context_mark) if isinstance(error, MarkedYAMLError) else None
        before = text[: error.position] if isinstance(error, ReaderError) else ""
        source = self._at(mark.line + 1 if mark else before.count("\n") + 1)
        found = shortened(str(error) if not isinstance(error, MarkedYAMLError) else error.problem or "")
        if r"'\t'" in found:
            return SpecError([Problem((), "a tab cannot stand between words", None, "Write a blank instead.")], source)
        if "mapping values are not allowed" in found:
            found, hint = "a second `: ` in one value", "Indent sections alike, and put a text that has `: ` in quotes."
        else:
            hint = "Look at this line and the one before: a bracket, a quote or the indentation may be missing."
        return SpecError([Problem((), "a study file must be valid YAML", found, hint)], source)

    def _at(self, line: int) -> Source:
        return Source(self.file, {(): line})
