"""The study file's JSON Schema: pydantic's, with domains allowed where they may stand."""

from collections.abc import Mapping
from typing import Any

from foldtune.spec.domains import ALLOWED
from foldtune.spec.schema import SEARCHABLE, ConfigSpec, StudySpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"

DOMAIN: dict[str, Any] = {
    "title": "Domain",
    "description": "a searched value",
    "oneOf": [
        {
            "type": "object",
            "properties": {
                kind: {
                    "type": "array",
                    "items": {"type": number},
                    "minItems": 2,
                    "maxItems": 2,
                    "description": "[low, high], both included",
                },
                "log": {"type": "boolean", "description": "search the logarithm"},
                "step": {"type": number, "exclusiveMinimum": 0},
                "default": {"type": number, "description": "the value of trial 0"},
            },
            "required": [kind],
            "additionalProperties": False,
        }
        for kind, number in (("float", "number"), ("int", "integer"))
    ]
    + [
        {
            "type": "object",
            "properties": {
                "choice": {
                    "description": "options, or a mapping from labels to options",
                    "anyOf": [
                        {"type": "array", "items": {"$ref": "#/$defs/Argument"}, "minItems": 1},
                        {"type": "object", "additionalProperties": {"$ref": "#/$defs/Argument"}, "minProperties": 1},
                    ],
                },
                "default": {"description": "the option of trial 0, by its label"},
            },
            "required": ["choice"],
            "additionalProperties": False,
        }
    ],
}


_LIKE_A_DOMAIN: dict[str, Any] = {
    "type": "object",
    "anyOf": [{"required": [kind]} for kind in ALLOWED],
    "not": {"required": ["use"]},
}

ARGUMENT: dict[str, Any] = {
    "description": "an argument of a class; it may be, or hold, a domain or a class",
    "if": _LIKE_A_DOMAIN,
    "then": {"$ref": "#/$defs/Domain"},
    "else": {"items": {"$ref": "#/$defs/Argument"}, "additionalProperties": {"$ref": "#/$defs/Argument"}},
}

PLAIN: dict[str, Any] = {
    "description": "an argument of a class; nothing here can be searched",
    "not": _LIKE_A_DOMAIN,
    "items": {"$ref": "#/$defs/Plain"},
    "additionalProperties": {"$ref": "#/$defs/Plain"},
}


def study_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a study file.

    Example:
        >>> sorted(study_schema()["required"])
        ['data', 'model', 'name']
    """
    study, config = StudySpec.model_json_schema(), ConfigSpec.model_json_schema()
    definitions: dict[str, Any] = {**study.pop("$defs"), **config.pop("$defs")}
    sections = {name: config["properties"][name] for name in SEARCHABLE}
    searched = {f"Searched{name}": _searched(definitions[name]) for name in _reached(sections, definitions)}
    properties = {name: {"anyOf": [_or_domain(_searched(part)), {"type": "null"}]} for name, part in sections.items()}
    return {
        **study,
        "$schema": DIALECT,
        "title": "foldtune study",
        "properties": {**study["properties"], **properties, "model": _or_domain(_searched(sections["model"]))},
        "$defs": {
            **{name: _open_to(part, "Plain") for name, part in definitions.items()},
            **{name: _open_to(part, "Argument") for name, part in searched.items()},
            "Domain": DOMAIN,
            "Argument": ARGUMENT,
            "Plain": PLAIN,
        },
    }


def _reached(node: Any, definitions: Mapping[str, Any]) -> set[str]:
    """Names of all definitions that a schema refers to, however far."""
    found: set[str] = set()
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, Mapping):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                stack.append(definitions[name])
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
    return found


def _searched(node: Any) -> Any:
    """The schema of a searchable section: every value in it may be a domain instead."""
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        name = str(node["$ref"]).rpartition("/")[2]
        return {"anyOf": [{"$ref": f"#/$defs/Searched{name}"}, {"$ref": "#/$defs/Domain"}]}
    inner = dict(node)
    for key, value in node.items():
        if key == "properties":
            inner[key] = {name: _or_domain(_searched(part)) for name, part in value.items()}
        elif key in ("anyOf", "oneOf", "prefixItems"):
            inner[key] = [_searched(part) for part in value]
        elif key == "items":
            inner[key] = _or_domain(_searched(value))
    return inner


def _or_domain(node: Mapping[str, Any]) -> dict[str, Any]:
    described = {key: node[key] for key in ("description", "default") if key in node}
    return {**described, "anyOf": [node, {"$ref": "#/$defs/Domain"}]}


def _open_to(node: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    """A definition whose unlisted keys, where it has any, are arguments of a class."""
    if node.get("additionalProperties") is not True:
        return dict(node)
    return {**node, "additionalProperties": {"$ref": f"#/$defs/{arguments}"}}
