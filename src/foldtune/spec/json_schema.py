"""The study file's JSON Schema: pydantic's, with domains allowed where they may stand."""

from collections.abc import Mapping
from typing import Any

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
                    "anyOf": [{"type": "array", "minItems": 1}, {"type": "object", "minProperties": 1}],
                },
                "default": {"description": "the option of trial 0, by its label"},
            },
            "required": ["choice"],
            "additionalProperties": False,
        }
    ],
}


def study_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a study file.

    Example:
        >>> sorted(study_schema()["required"])
        ['data', 'model', 'name']
    """
    study, config = StudySpec.model_json_schema(), ConfigSpec.model_json_schema()
    definitions: dict[str, Any] = {**study.pop("$defs"), **config.pop("$defs")}
    searched = {name: config["properties"][name] for name in SEARCHABLE}
    needed = _reached(searched, definitions)
    definitions |= {f"Searched{name}": _searched(definitions[name]) for name in needed}
    properties = {**study["properties"], **{name: _searched(part) for name, part in searched.items()}}
    references = {name: _bare(part) for name, part in definitions.items()}
    schema = {**study, "$schema": DIALECT, "title": "foldtune study", "properties": properties}
    return _bare({**schema, "$defs": {**references, "Domain": DOMAIN}})


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
        return _or_domain({**node, "$ref": f"#/$defs/Searched{name}"})
    inner = {
        key: {name: _or_domain(_searched(part)) for name, part in value.items()}
        if key == "properties"
        else [_searched(part) for part in value]
        if key in ("anyOf", "oneOf", "prefixItems")
        else _searched(value)
        if key == "items"
        else value
        for key, value in node.items()
    }
    return inner


def _or_domain(node: Mapping[str, Any]) -> dict[str, Any]:
    described = {key: node[key] for key in ("description", "default") if key in node}
    return {**described, "anyOf": [node, {"$ref": "#/$defs/Domain"}]}


def _bare(node: Any) -> Any:
    """Let a class's bare name stand wherever a reference may."""
    if isinstance(node, list):
        return [_bare(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    if str(node.get("$ref", "")).endswith("Reference"):
        return {"anyOf": [dict(node), {"type": "string", "description": "a class without arguments"}]}
    return {key: _bare(part) for key, part in node.items()}
