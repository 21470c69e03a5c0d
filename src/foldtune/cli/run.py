"""`foldtune run`, `foldtune resume` and `foldtune worker`."""

import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.logging import RichHandler

from foldtune.cli.options import storage_option
from foldtune.cli.progress import BEGINNING, Progress
from foldtune.report.leaderboard import next_steps, summary
from foldtune.report.terminal import console
from foldtune.report.text import duration
from foldtune.search import ray_workers
from foldtune.search import run as searching
from foldtune.search.ray_cluster import Cluster
from foldtune.search.result import StudyResult
from foldtune.search.run import Session
from foldtune.search.work import work
from foldtune.spec.load import read_spec

if TYPE_CHECKING:
    from foldtune.search.nested import Cost

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
    nested: int | None,
    again: bool,
) -> None:
    """Run a study file, and with `nested` its whole search inside so many outer folds."""
    file = read_spec(study, overrides=overrides, folder=data)
    file = file if fork is None else searching.fork(file, fork)
    if nested is None:
        run_study: Any = ray_workers.run_study if request.cluster else searching.run_study
        _report(request, lambda watch: run_study(file, retry_failed=retry_failed, watch=watch, **request.where))
        return
    from foldtune.search.nested import run_nested  # which imports torch

    def search(watch: Progress) -> StudyResult:
        session = Session(**request.where, retry_failed=retry_failed, watch=watch)
        return run_nested(file, session, nested, again=again, say=lambda cost: _say_cost(nested, cost, watch))

    _report(request, search, go_on="the same command")


def _say_cost(folds: int, cost: "Cost", progress: Progress) -> None:
    seconds = f"{'' if cost.measured else 'at most '}{duration(cost.seconds)}"
    line = f"Nested: {folds} searches beside this one, about {folds} x the search: {seconds}"
    progress.console.print(line, highlight=False)


def resume(name: str, request: Request, **options: Any) -> None:
    """Go on with a stored study; `options` are those of `resume_study`."""
    resume_study: Any = ray_workers.resume_study if request.cluster else searching.resume_study
    _report(request, lambda watch: resume_study(name, watch=watch, **options, **request.where))


def worker(request: Request, **options: Any) -> None:
    """Work on the open studies of a database; `options` are those of `foldtune.search.work.work`."""
    work_on: Any = ray_workers.work if request.cluster else work
    with _shown(request, "looking for a study with trials left ...") as progress:
        work_on(watch=progress, **options, **request.where)


def _report(request: Request, search: Callable[[Progress], StudyResult], go_on: str | None = None) -> None:
    """Search with progress on stderr, then print the outcome on stdout.

    Args:
        request: how.
        search: what.
        go_on: what does so after an interruption, where `foldtune resume` does not.
    """
    with _shown(request) as progress:
        result = search(progress)
    stderr, option = progress.console, storage_option(request.storage)
    if request.as_json:
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        console().print(summary(result, option=option))
    if result.ending == "interrupted":
        go_on = go_on or f"foldtune resume {shlex.quote(result.name)}{option}"
        when = " while confirming" if result.finished >= result.budget else ""
        stderr.print(f"\nInterrupted{when}; {result.finished} of {result.budget} trials are saved. Go on with: {go_on}")
        sys.exit(130)
    if not request.as_json:
        console().print()
        console().print(next_steps(result, option))
    if result.best is None and result.finished:
        stderr.print(f"\nNo trial was completed. See why: foldtune trial {shlex.quote(result.name)} 0{option}")
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
