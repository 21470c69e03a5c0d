"""`foldtune db upgrade`: the tables of an older foldtune become this version's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from foldtune.errors import StoreError
from foldtune.store import views
from foldtune.store.border import redact, reported
from foldtune.store.engine import connect
from foldtune.store.schema import REVISIONS, VERSION_TABLE, creating, current

_FOLDER = Path(__file__).parent


def upgrade(url: str) -> list[str]:
    """Bring a database's tables to this version; other processes that want to wait.

    SQLite and PostgreSQL do it in one transaction: killed in the middle, nothing has changed. MySQL and MariaDB commit
    each change of a table: killed in the middle, the database is still an old one, and the next upgrade goes on.

    Args:
        url: an SQLAlchemy URL.

    Returns:
        What each revision has brought, oldest first; nothing where the tables are this version's.

    Raises:
        StoreError: the database holds no tables of foldtune's, or those of a newer version; or it fails.
    """
    engine = connect(url, create=False)
    try:
        with reported(engine.url), creating(engine) as connection:
            before = _known(connection)
            if before != REVISIONS[-1]:
                views.drop(connection)
                migrate(connection)
            return [script.doc for script in _scripts().iterate_revisions(REVISIONS[-1], before)][::-1]
    finally:
        engine.dispose()


def migrate(connection: Connection, to: str = REVISIONS[-1]) -> None:
    """Run the revisions that a database without views lacks; the views come with the newest.

    Args:
        connection: within a transaction.
        to: the last revision to run; from an empty database every one is run.
    """
    before, scripts = current(connection), _scripts()

    def steps(revision: Any, _: MigrationContext) -> Any:
        found = scripts._upgrade_revs(to, revision)
        if to == REVISIONS[-1]:
            found[-1].migration_fn = _with_views(found[-1].migration_fn, connection)
        return found

    options = {"version_table": VERSION_TABLE, "fn": steps, "script": scripts}
    context = MigrationContext.configure(connection, opts=options)
    if before is not None and context.get_current_revision() is None:
        context.stamp(scripts, before)
    with Operations.context(context):
        context.run_migrations()


def _with_views(newest: Callable[..., None], connection: Connection) -> Callable[..., None]:
    """A revision that ends with the views: it counts as done after them."""

    def run(**options: Any) -> None:
        newest(**options)
        views.create(connection)

    return run


def _known(connection: Connection) -> str:
    """The revision of the tables that are there."""
    found, url = current(connection), redact(connection.engine.url)
    if found is None:
        hint = "Check `--storage`; `foldtune run` creates a database of this version."
        raise StoreError.of((), "the database must hold foldtune's tables to be upgraded", url, hint)
    if found not in REVISIONS:
        hint = "Install that version or a newer one."
        raise StoreError.of((), "the database must not be newer than this version of foldtune", url, hint)
    return found


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(_FOLDER, version_locations=[_FOLDER / "versions"])
