"""`foldtune test`."""

import json
from pathlib import Path

import typer

from foldtune.report.audits import audits
from foldtune.report.score import explanations
from foldtune.report.terminal import console
from foldtune.search.locked_test import run_test
from foldtune.search.result import finding_document
from foldtune.search.said import audit_line, terms_of


def score_locked_rows(
    name: str,
    storage: str,
    *,
    trial: int | None,
    again: bool,
    device: str,
    data: Path | None,
    allow_imports: list[str],
    explained: bool,
    as_json: bool,
) -> None:
    """Train the winner on all development rows, score the locked ones, print what is recorded and what it means."""
    stderr = console(stderr=True)
    with stderr.status("reading the data ...") as status:
        finding = run_test(
            name,
            trial=trial,
            again=again,
            storage=storage,
            device=device,
            data=data,
            allow_imports=allow_imports,
            watch=lambda epoch, epochs: status.update(f"training on all development rows: epoch {epoch}/{epochs}"),
        )
    if as_json:
        typer.echo(json.dumps({"format": 1, "study": name, **finding_document(finding)}, allow_nan=False))
        return
    stdout = console()
    stdout.print(audits([finding]))
    if explained:
        stdout.print()
        stdout.print(explanations(terms_of([audit_line(finding)])))
