"""`foldtune show`."""

import json

import typer

from foldtune.cli.options import storage_option
from foldtune.report.leaderboard import print_summary
from foldtune.search.result import load_study


def show(name: str, storage: str, *, top: int, explained: bool, as_json: bool) -> None:
    """Print a study's leaderboard, its best configuration and its honest score."""
    result = load_study(name, storage=storage)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        print_summary(result, top, explained=explained, option=storage_option(storage))
