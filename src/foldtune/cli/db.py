"""`foldtune db`."""

import typer

from foldtune.store.border import redact
from foldtune.store.migrations.upgrade import upgrade


def upgrade_database(storage: str) -> None:
    """Bring a database's tables to this version, and say what that brought."""
    brought = upgrade(storage)
    if not brought:
        typer.echo(f"{redact(storage)} is of this version already; nothing was changed.")
        return
    typer.echo(f"{redact(storage)} is of this version now. New:")
    for change in brought:
        typer.echo(f"  {change}")
