"""Trials trained once more, out-of-fold answers, what was found out about a study, and sizes of models"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from foldtune.store.migrations.steps import add_column, has_table

revision = "0003"
down_revision = "0002"

_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_NUMBER: "sa.types.TypeEngine[float]" = sa.Double().with_variant(sa.LargeBinary(), "sqlite")
_INSTANT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Every step is left out where it is done: MySQL may have been killed after it."""
    add_column("foldtune_trials", sa.Column("n_parameters", sa.BigInteger(), nullable=True))
    _create_of_trial(
        "foldtune_repeats",
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("seconds", _NUMBER, nullable=False),
        sa.Column("scores", _BYTES, nullable=True),
        sa.Column("chosen", _BYTES, nullable=True),
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("failure", _TEXT, nullable=True),
        sa.Column("finished_at", _INSTANT, nullable=True),
    )
    _create_of_trial(
        "foldtune_answers",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("epochs", _BYTES, nullable=False),
        sa.Column("answers", _BYTES, nullable=False),
    )
    if not has_table("foldtune_findings"):
        _create_findings()


def _create_of_trial(table: str, *columns: "sa.Column[Any]") -> None:
    """A table with a row for each trial and repeat."""
    if has_table(table):
        return
    op.create_table(
        table,
        *(sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False) for name in _KEYS),
        *columns,
        sa.ForeignKeyConstraint(
            ["study_id", "trial"], ["foldtune_trials.study_id", "foldtune_trials.number"], ondelete="CASCADE"
        ),
    )


def _create_findings() -> None:
    op.create_table(
        "foldtune_findings",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_id", sa.Integer(), sa.ForeignKey("foldtune_studies.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=True),
        sa.Column("content", _TEXT, nullable=False),
        sa.Column("tick", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
    )


_KEYS = ("study_id", "trial", "repeat")
