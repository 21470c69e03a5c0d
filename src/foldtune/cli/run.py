"""`foldtune run`, `foldtune resume` and `foldtune worker`."""

import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.logging import RichHandler

from foldtune.cli.options import STORAGE
from foldtune.cli.progress import BEGINNING, Progress
from foldtune.report.leaderboard import next_steps, summary
from foldtune.report.terminal import console
from foldtune.search import ray_workers
from foldtune.search import run as searching
from foldtune.search.ray_workers import Cluster
from foldtune.search.result import StudyResult
from foldtune.search.run import Watch
from foldtune.search.work import work
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
    artifacts: str | None
    checkpoint_every: float
    workers: int | None
    device: str
    cluster: Cluster | None
    as_json: bool
    quiet: bool
    verbose: int

    @property
    def where(self) -> dict[str, Any]:
        """Keywords of `run_study` and its kin."""
        return {
            "storage": self.storage,
            "artifacts": self.artifacts,
            "checkpoint_every": self.checkpoint_every,
            "workers": self.workers,
            "device": self.device,
            **({} if self.cluster is None else {"cluster": self.cluster}),
        }


def run(
    study: Path,
    request: Request,
    *,
    overrides: list[str],
    data: Path | None,
    fork: str | None,
    retry_failed: bool,
) -> None:
    """Run a study file."""
    file = read_spec(study, overrides=overrides, folder=data)
    file = file if fork is None else searching.fork(file, fork)
    run_study: Any = ray_workers.run_study if request.cluster else searching.run_study
    _report(request, lambda watch: run_study(file, retry_failed=retry_failed, watch=watch, **request.where))


def resume(name: str, request: Request, **options: Any) -> None:
    """Go on with a stored study; `options` are those of `resume_study`."""
    resume_study: Any = ray_workers.resume_study if request.cluster else searching.resume_study
    _report(request, lambda watch: resume_study(name, watch=watch, **options, **request.where))


def worker(request: Request, **options: Any) -> None:
    """Work on the open studies of a database; `options` are those of `foldtune.search.work.work`."""
    work_on: Any = ray_workers.work if request.cluster else work
    with _shown(request, "looking for a study with trials left ...") as progress:
        work_on(watch=progress, **options, **request.where)


def _report(request: Request, search: Callable[[Watch], StudyResult]) -> None:
    """Search with progress on stderr, then print the outcome on stdout."""
    with _shown(request) as progress:
        result = search(progress)
    stderr = progress.console
    if request.as_json:
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        console().print(summary(result))
    if result.ending == "interrupted":
        again = f"foldtune resume {shlex.quote(result.name)}{_storage_option(request.storage)}"
        stderr.print(f"\nInterrupted; {result.finished} of {result.budget} trials are saved. Go on with: {again}")
        sys.exit(130)
    if not request.as_json:
        console().print()
        console().print(next_steps(result, redact(request.storage), STORAGE))
    if result.best is None and result.finished:
        stderr.print(f"\nNo trial was completed. See why: foldtune trial {shlex.quote(result.name)} 0")
        sys.exit(1)
    stderr.print(f"\nEnded: {ENDINGS[result.ending or 'budget']}.", style="dim")


@contextmanager
def _shown(request: Request, beginning: str = BEGINNING) -> Iterator[Progress]:
    """Progress and the log on stderr."""
    stderr = console(stderr=True)
    handler = RichHandler(console=stderr, show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")
    logging.getLogger("foldtune").setLevel(logging.WARNING if request.quiet else logging.INFO)
    live, verbose = not request.quiet, request.verbose > 0
    with Progress(stderr, live=live, verbose=verbose, beginning=beginning) as progress:
        yield progress


def _storage_option(storage: str) -> str:
    return "" if storage == STORAGE else f" --storage {shlex.quote(redact(storage))}"
