"""Steps of revisions that are left out where they are done: MySQL may have been killed after them."""

from typing import Any

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: "sa.Column[Any]") -> None:
    """Add a column that is missing."""
    if column.name not in columns(table):
        op.add_column(table, column)


def columns(table: str) -> set[str]:
    """The names of a table's columns."""
    return {column["name"] for column in inspector().get_columns(table)}


def has_table(table: str) -> bool:
    """Whether a table is there."""
    return inspector().has_table(table)


def inspector() -> sa.Inspector:
    """A new one each time: inspectors remember."""
    return sa.inspect(op.get_bind())
