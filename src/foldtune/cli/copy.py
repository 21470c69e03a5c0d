"""`foldtune copy`."""

from contextlib import closing

import typer

from foldtune.store.border import redact
from foldtune.store.copy import check_idle, copy_study
from foldtune.store.store import Store


def copy(name: str, storage: str, to: str) -> None:
    """Copy a study to another database."""
    with closing(Store(storage, create=False)) as source:
        check_idle(name, source)  # before the other database gets its tables
        with closing(Store(to)) as target:
            copy_study(name, source, target)
    typer.echo(f"Copied {name}. Go on there with: foldtune resume {name} --storage {redact(to)}", err=True)
