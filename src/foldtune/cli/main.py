"""`foldtune`: the parser, and exit codes.

0 done, 1 the work failed, 2 the request was wrong, 130 interrupted with everything saved.
"""

import atexit
import os
import sys
from typing import Annotated

import typer

from foldtune.cli import options as o
from foldtune.errors import FoldtuneError, RequestError

app = typer.Typer(
    name="foldtune",
    help="Hyperparameter search for PyTorch in which every trial is a cross-validation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from foldtune import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def check(study: o.StudyFile, sets: o.Set = None, data: o.Data = None, json: o.Json = False) -> None:
    """Report every problem of a study file at once; build its nets, count parameters, forecast the time."""
    from foldtune.cli.check import check

    check(study, overrides=o.overrides(sets), data=data, as_json=json)


@app.command()
def run(
    study: o.StudyFile,
    storage: o.Storage = o.STORAGE,
    trials: o.Trials = None,
    timeout: o.Timeout = None,
    workers: o.Workers = None,
    engine: o.Engine = None,
    cohort: o.Cohort = None,
    seed: o.Seed = None,
    device: o.Device = "cpu",
    data: o.Data = None,
    sets: o.Set = None,
    fork: Annotated[str | None, typer.Option(help="Start a new study of this name from the file.")] = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Create the study of a file's name, or go on with it; ends with the leaderboard."""
    from foldtune.cli.run import Request, run

    request = Request(storage, workers, device, as_json=json, quiet=quiet, verbose=verbose)
    search: dict[str, int | str | None] = {"trials": trials, "timeout": timeout, "seed": seed}
    overrides = o.overrides(sets, **search, engine=engine, cohort=cohort)
    run(study, request, overrides=overrides, data=data, fork=fork)


@app.command()
def resume(
    name: o.StudyName,
    storage: o.Storage = o.STORAGE,
    trials: o.Trials = None,
    timeout: o.Timeout = None,
    workers: o.Workers = None,
    device: o.Device = "cpu",
    data: o.Data = None,
    sets: o.Set = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Go on with a stored study; needs the database and the data alone."""
    from foldtune.cli.run import Request, resume

    request = Request(storage, workers, device, as_json=json, quiet=quiet, verbose=verbose)
    resume(name, request, overrides=o.overrides(sets, trials=trials, timeout=timeout), data=data)


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
    json: o.Json = False,
) -> None:
    """A study's leaderboard and its best configuration."""
    from foldtune.cli.show import show

    show(name, storage, top=top, as_json=json)


@app.command()
def trial(
    name: o.StudyName,
    number: Annotated[int, typer.Argument(help="The trial's number.", min=0, show_default=False)],
    storage: o.Storage = o.STORAGE,
    json: o.Json = False,
) -> None:
    """One trial: its configuration, folds, curve, and why it failed."""
    from foldtune.cli.trial import show_trial

    show_trial(name, number, storage, as_json=json)


@app.command()
def schema() -> None:
    """The JSON Schema of the study file, for editors."""
    from foldtune.cli.schema import print_schema

    print_schema()


@app.command()
def dashboard(
    storage: o.Storage = o.STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.", min=0, max=65535)] = 8080,
) -> None:
    """Watch a database's studies in optuna-dashboard."""
    from foldtune.cli.dashboard import dashboard

    dashboard(storage, host, port)


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
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was stored is kept; `foldtune resume NAME` goes on.", err=True)
        sys.exit(130)


def _fail(error: FoldtuneError, code: int) -> None:
    lines = str(error).splitlines()
    typer.echo("\n".join(f"error: {line}" for line in lines), err=True)
    if len(lines) > 1 and isinstance(error, RequestError):
        typer.echo(f"{len(lines)} problems; nothing was run or written.", err=True)
    sys.exit(code)
