"""`foldtune`: the parser, and exit codes.

0 done, 1 the work failed, 2 the request was wrong, 130 interrupted with everything saved.
"""

import atexit
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from foldtune.cli import options as o
from foldtune.cli import searching
from foldtune.errors import FoldtuneError, RequestError


class Commands(TyperGroup):
    """The commands; an interruption says what became of the work, where typer would say nothing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Interrupted. What was stored is kept; the same command goes on.", err=True)
            sys.exit(130)


app = typer.Typer(
    name="foldtune",
    cls=Commands,
    help="Hyperparameter search for PyTorch in which every trial is a cross-validation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


db = typer.Typer(help="The database's own care.", no_args_is_help=True)
app.add_typer(db, name="db")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from foldtune import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def check(
    study: o.StudyFile,
    sets: o.Set = None,
    data: o.Data = None,
    drift: Annotated[
        bool, typer.Option("--drift", help="Can a model tell the locked rows (`data.test`) from the others?")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="The same for the rows of this file.", metavar="FILE", show_default=False)
    ] = None,
    explain: o.Explain = False,
    json: o.Json = False,
) -> None:
    """Report every problem of a study file at once; build its nets, count parameters, forecast the time."""
    from foldtune.cli.check import check

    wanted: dict[str, Any] = {"drift": drift, "against": against, "explained": explain, "as_json": json}
    check(study, overrides=o.overrides(sets), data=data, **wanted)


app.command()(searching.run)
app.command()(searching.resume)
app.command()(searching.worker)


@app.command("list")
def list_(storage: o.Storage = o.STORAGE, json: o.Json = False) -> None:
    """The studies of a database."""
    from foldtune.cli.list import list_studies

    list_studies(storage, as_json=json)


@app.command()
def show(
    name: o.StudyName,
    storage: o.Storage = o.STORAGE,
    top: Annotated[int, typer.Option(help="Rows of the leaderboard; 0: all.", min=0)] = 15,
    explain: o.Explain = False,
    json: o.Json = False,
) -> None:
    """A study's leaderboard, its best configuration and its honest score."""
    from foldtune.cli.show import show

    show(name, storage, top=top, explained=explain, as_json=json)


@app.command()
def trial(
    name: o.StudyName,
    number: Annotated[int, typer.Argument(help="The trial's number.", min=0, show_default=False)],
    storage: o.Storage = o.STORAGE,
    explain: o.Explain = False,
    json: o.Json = False,
) -> None:
    """One trial: its configuration, folds, curve, and why it failed."""
    from foldtune.cli.trial import show_trial

    show_trial(name, number, storage, explained=explain, as_json=json)


@app.command()
def compare(
    name: o.StudyName,
    first: Annotated[int, typer.Argument(metavar="A", help="A complete trial.", min=0, show_default=False)],
    second: Annotated[int, typer.Argument(metavar="B", help="Another.", min=0, show_default=False)],
    storage: o.Storage = o.STORAGE,
    explain: o.Explain = False,
    json: o.Json = False,
) -> None:
    """Whether trial A is worse than trial B, the same, or better, by the splits that both were trained on."""
    from foldtune.cli.compare import compare

    compare(name, first, second, storage, explained=explain, as_json=json)


@app.command()
def test(
    name: o.StudyName,
    storage: o.Storage = o.STORAGE,
    trial: Annotated[int | None, typer.Option(help="Another trial than the winner.", min=0, show_default=False)] = None,
    again: o.Again = False,
    device: o.Device = "cpu",
    data: o.Data = None,
    allow_import: o.AllowImport = None,
    explain: o.Explain = False,
    json: o.Json = False,
) -> None:
    """Score the winner on the locked rows, once; that it was done is recorded."""
    from foldtune.cli.test import score_locked_rows

    where: dict[str, Any] = {"device": device, "data": data, "allow_imports": allow_import or []}
    score_locked_rows(name, storage, trial=trial, again=again, explained=explain, as_json=json, **where)


@app.command()
def copy(
    name: o.StudyName,
    to: Annotated[str, typer.Option(help="Database to copy to, as an SQLAlchemy URL.", metavar="URL")],
    storage: o.Storage = o.STORAGE,
) -> None:
    """Copy a study with all its trials to another database, of any kind."""
    from foldtune.cli.copy import copy

    copy(name, storage, to)


@app.command()
def delete(
    name: o.StudyName,
    storage: o.Storage = o.STORAGE,
    artifacts: o.Artifacts = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a study with its trials, its checkpoints, and Optuna's copy of it."""
    from foldtune.cli.delete import delete

    delete(name, storage, artifacts, yes=yes)


@db.command()
def upgrade(storage: o.Storage = o.STORAGE) -> None:
    """Bring the tables of an older foldtune to this version; safe to repeat."""
    from foldtune.cli.db import upgrade_database

    upgrade_database(storage)


@app.command()
def schema() -> None:
    """The JSON Schema of the study file, for editors."""
    from foldtune.cli.schema import print_schema

    print_schema()


@app.command()
def dashboard(
    storage: o.Storage = o.STORAGE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs FOLDTUNE_DASHBOARD_TOKEN.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.", min=0, max=65535)] = 8080,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every request that would write.")] = False,
) -> None:
    """Watch a database's studies in optuna-dashboard."""
    from foldtune.cli.dashboard import dashboard

    dashboard(storage, host, port, read_only=read_only)


def script() -> None:
    """The `foldtune` command: `main`, without taking torch apart at the end, which takes a second."""
    try:
        main()
    except SystemExit as end:
        if "torch" not in sys.modules or not isinstance(end.code, int):
            raise
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)  # everything is stored and closed


def main() -> None:
    """Runs the command and turns errors into messages and exit codes."""
    try:
        app()
    except RequestError as error:
        _fail(error, 2)
    except FoldtuneError as error:
        _fail(error, 1)


def _fail(error: FoldtuneError, code: int) -> None:
    from foldtune.report.terminal import printable

    lines = printable(str(error)).splitlines()
    typer.echo("\n".join(f"error: {line}" for line in lines), err=True)
    if len(lines) > 1 and isinstance(error, RequestError):
        typer.echo(f"{len(lines)} problems; nothing was run or written.", err=True)
    sys.exit(code)
