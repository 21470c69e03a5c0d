"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
    return [name for name in names if name.startswith(incomplete)]


StudyFile = Annotated[Path, typer.Argument(help="The study file (YAML).", show_default=False)]
StudyName = Annotated[
    str, typer.Argument(help="A stored study's name.", autocompletion=study_names, show_default=False)
]
Storage = Annotated[
    str, typer.Option("--storage", envvar="FOLDTUNE_STORAGE", help="Database, as an SQLAlchemy URL.", metavar="URL")
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
Data = Annotated[
    Path | None, typer.Option(help="Folder where the study's relative data paths now live.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, all else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="A line for every trial that ends.")]


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
