"""`foldtune list`."""

import json
from dataclasses import asdict

import typer
from rich.table import Table

from foldtune.report.terminal import console
from foldtune.search.numbers import number
from foldtune.store.records import StudySummary
from foldtune.store.store import Store


def list_studies(storage: str, *, as_json: bool) -> None:
    """Print a line for each study of a database."""
    store = Store(storage, create=False)
    studies = store.studies()
    store.close()
    if as_json:
        typer.echo(json.dumps([{**asdict(study), "created_at": study.created_at.isoformat()} for study in studies]))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, side in (("study", "left"), ("finished", "right"), ("pruned", "right"), ("failed", "right")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    table.add_column("naive best", justify="right")
    table.add_column("created")
    for study in studies:
        table.add_row(*_row(study))
    console().print(table if studies else "There are no studies yet. `foldtune run STUDY.yaml` creates one.")


def _row(study: StudySummary) -> tuple[str, ...]:
    finished = sum(study.trials[state] for state in ("complete", "pruned", "failed"))
    best = "" if study.best is None else number(study.best)
    counts = (f"{finished}/{study.budget}", str(study.trials["pruned"]), str(study.trials["failed"]))
    return (study.name, *counts, best, study.created_at.astimezone().strftime("%Y-%m-%d %H:%M"))
