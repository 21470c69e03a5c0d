"""The tables of release 0.1.0: studies, folds, trials, and curves with a row for each fold of each epoch"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_NUMBER: "sa.types.TypeEngine[float]" = sa.Double().with_variant(sa.LargeBinary(), "sqlite")
_INSTANT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "foldtune_studies",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("uuid", sa.String(32), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        *_columns(_TEXT, "spec folder file seed objectives directions metrics"),
        *_columns(sa.String(128), "data_fingerprint split_fingerprint"),
        *_columns(sa.BigInteger(), "n_rows"),
        *_columns(_BYTES, "locked"),
        *_columns(_TEXT, "versions"),
        *_columns(_INSTANT, "created_at"),
        *_columns(_NUMBER, "seconds"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "foldtune_folds",
        *_keys("study_id repeat fold"),
        *_columns(_BYTES, "train valid"),
        sa.ForeignKeyConstraint(["study_id"], ["foldtune_studies.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "foldtune_trials",
        *_keys("study_id number"),
        *_columns(sa.String(16), "state origin"),
        *_columns(sa.Boolean(), "exempt"),
        *_columns(_TEXT, "params config attrs"),
        *_columns(sa.Integer(), "epochs"),
        *_columns(_NUMBER, "seconds"),
        *_columns(_NUMBER, "value", nullable=True),
        *_columns(_TEXT, "objective_values", nullable=True),
        *_columns(_BYTES, "scores chosen", nullable=True),
        *_columns(sa.String(64), "engine"),
        *_columns(_TEXT, "failure", nullable=True),
        *_columns(_INSTANT, "started_at finished_at", nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["foldtune_studies.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "foldtune_curves",
        *_keys("study_id trial repeat epoch fold"),
        *_columns(_NUMBER, "loss score", nullable=True),
        *_columns(_TEXT, "metrics"),
        sa.ForeignKeyConstraint(
            ["study_id", "trial"], ["foldtune_trials.study_id", "foldtune_trials.number"], ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


def _keys(names: str) -> list["sa.Column[int]"]:
    return [sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False) for name in names.split()]


def _columns(kind: "sa.types.TypeEngine[Any]", names: str, nullable: bool = False) -> list["sa.Column[Any]"]:
    return [sa.Column(name, kind, nullable=nullable) for name in names.split()]
