"""The commands that search, and all their options: `foldtune run`, `resume` and `worker`."""

from typing import Annotated, Any

import typer

from foldtune.cli import options as o


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
    artifacts: o.Artifacts = None,
    checkpoint_every: o.CheckpointEvery = 10.0,
    retry_failed: o.RetryFailed = False,
    data: o.Data = None,
    sets: o.Set = None,
    fork: Annotated[str | None, typer.Option(help="Start a new study of this name from the file.")] = None,
    nested: Annotated[
        int | None,
        typer.Option(
            help="Repeat the whole search inside so many outer folds, each scored on rows it never saw.",
            min=2,
            show_default=False,
            metavar="J",
        ),
    ] = None,
    again: o.Again = False,
    launcher: o.Launcher = "local",
    address: o.Address = None,
    replicas: o.Replicas = None,
    cpus: o.Cpus = None,
    gpus: o.Gpus = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Create the study of a file's name, or go on with it; ends with the leaderboard."""
    from foldtune.cli.run import Request, run

    where = (storage, artifacts, checkpoint_every, workers, device)
    cluster = o.cluster(launcher, address, replicas, cpus, gpus)
    request = Request(*where, cluster=cluster, as_json=json, quiet=quiet, verbose=verbose)
    search: dict[str, int | str | None] = {"trials": trials, "timeout": timeout, "seed": seed}
    overrides = o.overrides(sets, **search, engine=engine, cohort=cohort)
    audit = o.nested(nested, launcher, again=again)
    run(study, request, overrides=overrides, data=data, fork=fork, retry_failed=retry_failed, nested=audit, again=again)


def resume(
    name: o.StudyName,
    storage: o.Storage = o.STORAGE,
    trials: o.Trials = None,
    timeout: o.Timeout = None,
    workers: o.Workers = None,
    device: o.Device = "cpu",
    artifacts: o.Artifacts = None,
    checkpoint_every: o.CheckpointEvery = 10.0,
    retry_failed: o.RetryFailed = False,
    data: o.Data = None,
    allow_import: o.AllowImport = None,
    sets: o.Set = None,
    launcher: o.Launcher = "local",
    address: o.Address = None,
    replicas: o.Replicas = None,
    cpus: o.Cpus = None,
    gpus: o.Gpus = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Go on with a stored study; needs the database and the data alone."""
    from foldtune.cli.run import Request, resume

    where = (storage, artifacts, checkpoint_every, workers, device)
    cluster = o.cluster(launcher, address, replicas, cpus, gpus)
    request = Request(*where, cluster=cluster, as_json=json, quiet=quiet, verbose=verbose)
    overrides = o.overrides(sets, trials=trials, timeout=timeout)
    options: dict[str, Any] = {"data": data, "allow_imports": allow_import or [], "retry_failed": retry_failed}
    resume(name, request, overrides=overrides, **options)


def worker(
    storage: o.Storage = o.STORAGE,
    study: Annotated[str | None, typer.Option(help="Work on this study alone.", show_default=False)] = None,
    workers: o.Workers = None,
    device: o.Device = "cpu",
    artifacts: o.Artifacts = None,
    checkpoint_every: o.CheckpointEvery = 10.0,
    retry_failed: o.RetryFailed = False,
    allow_import: o.AllowImport = None,
    data: o.Data = None,
    idle_exit: Annotated[
        float | None,
        typer.Option(help="Seconds without work after which it ends; default never.", min=0, show_default=False),
    ] = None,
    launcher: o.Launcher = "local",
    address: o.Address = None,
    replicas: o.Replicas = None,
    cpus: o.Cpus = None,
    gpus: o.Gpus = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """One more search loop: works on the open studies of a database until it is stopped."""
    from foldtune.cli.run import Request, worker

    where = (storage, artifacts, checkpoint_every, workers, device)
    cluster = o.cluster(launcher, address, replicas, cpus, gpus)
    request = Request(*where, cluster=cluster, as_json=False, quiet=quiet, verbose=verbose)
    options: dict[str, Any] = {"data": data, "allow_imports": allow_import or [], "retry_failed": retry_failed}
    worker(request, study=study, idle_exit=idle_exit, **options)
