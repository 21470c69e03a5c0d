"""`foldtune delete`."""

import sys
from contextlib import closing

import typer

from foldtune.errors import StoreError
from foldtune.search.inner_names import is_inner
from foldtune.store.artifacts import Artifacts, default_url
from foldtune.store.copy import check_idle, delete_study
from foldtune.store.store import Store


def delete(name: str, storage: str, artifacts: str | None, *, yes: bool) -> None:
    """Delete a study, once that is confirmed: Optuna's copy, its checkpoints, and last its own rows."""
    from foldtune.search.optuna_copy import forget_copy

    with closing(Store(storage, create=False)) as store:
        uuid = store.study(name).uuid
        check_idle(name, store)
        if not yes:
            _confirm(name, len(store.trials(uuid)), store.url)
        forget_copy(store, name)
        Artifacts(artifacts or default_url(storage), uuid).clear()
        delete_study(name, store)
        nested = [study.name for study in store.studies() if is_inner(study.name, name)]
    typer.echo(f"Deleted {name}.", err=True)
    if nested:
        typer.echo(f"Studies of their own, and still there, are its nested searches: {', '.join(nested)}.", err=True)


def _confirm(name: str, n_trials: int, url: str) -> None:
    if not _is_terminal():
        raise StoreError.of((), "deleting a study must be confirmed", name, "Add --yes.")
    typer.confirm(f"Delete the study {name} with its {n_trials} trials from {url}?", abort=True, err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty()
