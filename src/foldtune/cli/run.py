"""`foldtune run` and `foldtune resume`."""

import json
import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.logging import RichHandler

from foldtune.cli.options import STORAGE
from foldtune.cli.progress import Progress
from foldtune.report.leaderboard import next_steps, summary
from foldtune.search import run as searching
from foldtune.search.result import StudyResult
from foldtune.search.run import Watch
from foldtune.spec.load import read_spec
from foldtune.store.border import redact

ENDINGS = {
    "budget": "all trials are done",
    "patience": "no better trial for as long as `search.patience` says",
    "timeout": "the time of `search.timeout` is over",
    "exhausted": "the sampler has nothing left to try",
}


@dataclass(frozen=True)
class Request:
    """How a study is run, whatever it is."""

    storage: str
    workers: int | None
    device: str
    as_json: bool
    quiet: bool
    verbose: int


def run(study: Path, request: Request, *, overrides: list[str], data: Path | None, fork: str | None) -> None:
    """Run a study file."""
    file = read_spec(study, overrides=overrides, folder=data)
    file = file if fork is None else searching.fork(file, fork)
    arguments = {"storage": request.storage, "workers": request.workers, "device": request.device}
    _report(request, lambda watch: searching.run_study(file, watch=watch, **arguments))  # type: ignore[arg-type]


def resume(name: str, request: Request, *, overrides: list[str], data: Path | None) -> None:
    """Go on with a stored study."""
    arguments = {"storage": request.storage, "workers": request.workers, "device": request.device, "data": data}
    _report(
        request,
        lambda watch: searching.resume_study(name, overrides=overrides, watch=watch, **arguments),  # type: ignore[arg-type]
    )


def _report(request: Request, search: Callable[[Watch], StudyResult]) -> None:
    """Search with progress on stderr, then print the outcome on stdout."""
    stderr = Console(stderr=True)
    handler = RichHandler(console=stderr, show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")
    logging.getLogger("foldtune").setLevel(logging.WARNING if request.quiet else logging.INFO)
    with Progress(stderr, live=not request.quiet, verbose=request.verbose > 0) as progress:
        result = search(progress)
    if request.as_json:
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        Console().print(summary(result))
    if result.ending == "interrupted":
        again = f"foldtune resume {shlex.quote(result.name)}{_storage_option(request.storage)}"
        stderr.print(f"\nInterrupted; {result.finished} of {result.budget} trials are saved. Go on with: {again}")
        sys.exit(130)
    if not request.as_json:
        Console().print()
        Console().print(next_steps(result, redact(request.storage), STORAGE))
    if result.best is None and result.finished:
        stderr.print(f"\nNo trial was completed. See why: foldtune trial {shlex.quote(result.name)} 0")
        sys.exit(1)
    stderr.print(f"\nEnded: {ENDINGS[result.ending or 'budget']}.", style="dim")


def _storage_option(storage: str) -> str:
    return "" if storage == STORAGE else f" --storage {shlex.quote(redact(storage))}"
