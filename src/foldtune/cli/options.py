"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foldtune.search.ray_cluster import Cluster

STORAGE = "sqlite:///foldtune.db"


def study_names(incomplete: str) -> list[str]:
    """Names of stored studies, for shell completion; nothing when there is no database."""
    import os

    from foldtune.errors import FoldtuneError
    from foldtune.store.store import Store

    try:
        store = Store(os.environ.get("FOLDTUNE_STORAGE", STORAGE), create=False)
    except FoldtuneError:
        return []
    names = [study.name for study in store.studies()]
    store.close()
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


StudyFile = Annotated[Path, typer.Argument(help="The study file (YAML).", show_default=False)]
StudyName = Annotated[
    str, typer.Argument(help="A stored study's name.", autocompletion=study_names, show_default=False)
]
Storage = Annotated[
    str, typer.Option("--storage", envvar="FOLDTUNE_STORAGE", help="Database, as an SQLAlchemy URL.", metavar="URL")
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        envvar="FOLDTUNE_ARTIFACTS",
        help="Folder or fsspec URL of checkpoints; default foldtune-artifacts beside a SQLite file, else here.",
        metavar="URL",
        show_default=False,
    ),
]
CheckpointEvery = Annotated[
    float, typer.Option(help="Seconds between checkpoints; 0: one after every epoch.", min=0, metavar="SECONDS")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Replace a part of the study, as in search.trials=5. May be repeated.", metavar="PATH=VALUE"
    ),
]
Trials = Annotated[int | None, typer.Option(help="Trials in all, finished ones included.", show_default=False)]
Timeout = Annotated[str | None, typer.Option(help="Time in all: 90, 15m, 2h.", show_default=False)]
Workers = Annotated[
    int | None, typer.Option(help="Training processes; default one per core or GPU, 0: in this process.", min=0)
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Train failed trials again, as they were, before new ones are asked for."),
]
Seed = Annotated[int | None, typer.Option(help="The study's seed.", show_default=False)]
Engine = Annotated[
    str | None,
    typer.Option(
        help="lockstep: each trial trains by itself; packed: those of one structure as one stack; default auto.",
        metavar="auto|packed|lockstep",
        show_default=False,
    ),
]
Cohort = Annotated[
    int | None, typer.Option(help="Trials in training at once; 1: one after the other.", show_default=False)
]
Device = Annotated[str, typer.Option(help="Where nets train, as torch names it: cpu, cuda, cuda:1.")]
Launcher = Annotated[
    str, typer.Option(help="Where search loops run: in this process, or as actors of Ray.", metavar="local|ray")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray: the cluster's address, auto or HOST:PORT; default: one is started on this machine.",
        envvar="RAY_ADDRESS",
        show_default=False,
    ),
]
Replicas = Annotated[int | None, typer.Option(help="Ray: search loops; default 1.", min=1, show_default=False)]
Cpus = Annotated[
    float | None, typer.Option(help="Ray: CPUs of each search loop; default 1.", min=0, show_default=False)
]
Gpus = Annotated[
    float | None,
    typer.Option(help="Ray: GPUs of each search loop, at most 1; default 0.", min=0, max=1, show_default=False),
]
Data = Annotated[
    Path | None, typer.Option(help="Folder where the study's relative data paths now live.", show_default=False)
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        help="Package or module of yours from which a stored study may import. May be repeated.",
        metavar="PREFIX",
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="Say what each number means, and where it comes from.")]
Again = Annotated[
    bool, typer.Option("--again", help="Look once more at rows that were looked at; every look stays visible.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, all else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="A line for every trial that ends.")]


def storage_option(storage: str) -> str:
    """What a printed command needs to find the same database, passwords left out; nothing for the default one.

    Example:
        >>> storage_option(STORAGE), storage_option("sqlite:///my studies.db")
        ('', " --storage 'sqlite:///my studies.db'")
    """
    import shlex

    from foldtune.store.border import redact

    return "" if storage == STORAGE else f" --storage {shlex.quote(redact(storage))}"


def overrides(sets: list[str] | None, **search: int | str | None) -> list[str]:
    """Every option that replaces a part of the study, as `path=value`.

    Args:
        sets: such texts.
        search: keys of the `search` section; None where an option was not given.

    Example:
        >>> overrides(["name=a"], trials=5, seed=None)
        ['name=a', 'search.trials=5']
    """
    return [*(sets or []), *(f"search.{key}={value}" for key, value in search.items() if value is not None)]


def cluster(
    launcher: str, address: str | None, replicas: int | None, cpus: float | None, gpus: float | None
) -> "Cluster | None":
    """Where on a Ray cluster search loops run; None where they run in this process.

    Raises:
        typer.BadParameter: there is no such launcher, or an option is Ray's and the launcher is not.
    """
    given = {"replicas": replicas, "cpus": cpus, "gpus": gpus}
    if launcher not in ("local", "ray"):
        raise typer.BadParameter(f"`--launcher` must be local or ray, however: {launcher}.")
    if launcher == "local":
        if name := next((name for name, value in given.items() if value is not None), None):
            raise typer.BadParameter(f"`--{name}` is Ray's. Add `--launcher ray`.")
        return None
    from foldtune.search.ray_cluster import LOCAL, Cluster

    return Cluster(address or LOCAL, replicas or 1, 1.0 if cpus is None else cpus, gpus or 0.0)


def nested(folds: int | None, launcher: str, *, again: bool) -> int | None:
    """The outer folds of a nested cross-validation, where it can be done.

    Raises:
        typer.BadParameter: it is not what was asked for, or not where it can run.
    """
    if folds is None and again:
        raise typer.BadParameter("`--again` is for `--nested`: which outer folds shall be looked at again?")
    if folds is not None and launcher != "local":
        hint = "Start `foldtune worker --launcher ray` beside it: it takes the inner studies."
        raise typer.BadParameter(f"`--nested` runs in this process. {hint}")
    return folds
