"""Whole studies: copied to another database, and deleted."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from foldtune.errors import Problem, StoreError
from foldtune.store import leases, reading, rows
from foldtune.store.clock import now_s
from foldtune.store.store import Store
from foldtune.store.tables import AnswersRow, Base, LeaseRow, StudyRow
from foldtune.store.transactions import Transactions

_AT_ONCE = 1000
_ANSWERS_AT_ONCE = 4
"""Rows in memory, and rows of answers, which are large."""


def copy_study(name: str, source: Store, target: Store) -> None:
    """Copy a study with all its rows, exactly, in one transaction; its leases stay behind.

    Args:
        name: the study's.
        source: where it is; what is copied is of one moment.
        target: where it shall be.

    Raises:
        StoreError: there is no such study, a search works on it, or the name is taken in the target.
    """
    hint = "Delete that one with `foldtune delete`, or copy to another database."
    taken = Problem((), "a study's name must be new in the database that it is copied to", name, hint)

    def read(reader: Connection) -> None:
        uuid = reading.study(reader, name).uuid
        _check_idle(reader, reading.study_id(reader, uuid), name)
        Transactions(target.engine).write_once(lambda writer: _copy(reader, writer, uuid), taken)

    Transactions(source.engine).read(read)


def delete_study(name: str, store: Store) -> None:
    """Delete all rows of a study. Optuna's copy of it and its checkpoints are not the store's to delete.

    Raises:
        StoreError: there is no such study, or a search works on it.
    """

    def write(connection: Connection) -> None:
        study_id, _ = leases.lock(connection, reading.study(connection, name).uuid)
        _check_idle(connection, study_id, name)
        for table in reversed(_tables_of_studies()):
            connection.execute(delete(table).where(table.c.study_id == study_id))
        connection.execute(delete(StudyRow).where(StudyRow.id == study_id))

    Transactions(store.engine).write_once(write)


def check_idle(name: str, store: Store) -> None:
    """Refuse to go on while a search works on a study.

    Raises:
        StoreError: one does, or there is no such study.
    """

    def read(connection: Connection) -> None:
        _check_idle(connection, reading.study_id(connection, reading.study(connection, name).uuid), name)

    Transactions(store.engine).read(read)


def _check_idle(connection: Connection, study_id: int, name: str) -> None:
    live = select(LeaseRow).where(LeaseRow.study_id == study_id, LeaseRow.expires_at > now_s())
    row: Any = connection.execute(live.order_by(LeaseRow.id)).first()
    if row is not None:
        place = rows.place(row)
        hint = "Stop it first; when it has died, wait until its lease has run out."
        rule = f"no search may be at work on the study {name!r}"
        raise StoreError.of((), rule, f"process {place.pid} on {place.host} is", hint)


def _copy(reader: Connection, writer: Connection, uuid: str) -> None:
    study = dict(reader.execute(select(StudyRow.__table__).where(StudyRow.uuid == uuid)).mappings().one())
    old = study.pop("id")
    stored: Any = writer.execute(insert(StudyRow).values(study))
    new = {"study_id": stored.inserted_primary_key.id}
    for table in _tables_of_studies():
        if table is LeaseRow.__table__:
            continue
        keys = new | ({"lease": None} if "lease" in table.c else {})
        for some in _parts(reader, table, old):
            writer.execute(insert(table), [{**row, **keys} for row in some])


def _parts(reader: Connection, table: Table, study_id: int) -> Iterable[list[dict[str, Any]]]:
    columns = [column for column in table.c if column.name != "id"]
    query = select(*columns).where(table.c.study_id == study_id).order_by(*table.primary_key)
    at_once = _ANSWERS_AT_ONCE if table is AnswersRow.__table__ else _AT_ONCE
    found = reader.execute(query, execution_options={"yield_per": at_once})
    return ([dict(row) for row in some] for some in found.mappings().partitions())


def _tables_of_studies() -> list[Table]:
    """Every table whose rows belong to a study, those that others refer to first."""
    return [table for table in Base.metadata.sorted_tables if "study_id" in table.c]
