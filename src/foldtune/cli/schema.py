"""`foldtune schema`."""

import json

import typer


def print_schema() -> None:
    """Print the JSON Schema of a study file."""
    from foldtune.spec.json_schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=2))
