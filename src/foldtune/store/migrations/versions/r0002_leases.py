"""Leases and ticks, with which several search loops share a study; curves with one row for each epoch"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from foldtune.store import codec
from foldtune.store.migrations.steps import add_column, columns, has_table, inspector
from foldtune.store.types import Number

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_NUMBER: "sa.types.TypeEngine[float]" = sa.Double().with_variant(sa.LargeBinary(), "sqlite")
_OLD = "foldtune_curves_0001"


def upgrade() -> None:
    """Every step is left out where it is done: MySQL may have been killed after it."""
    add_column("foldtune_studies", _count("tick"))
    add_column("foldtune_trials", sa.Column("lease", sa.Integer(), nullable=True))
    add_column("foldtune_trials", _count("tick"))
    if not has_table("foldtune_leases"):
        _create_leases()
    if "foldtune_trials_tick" not in {index["name"] for index in inspector().get_indexes("foldtune_trials")}:
        op.create_index("foldtune_trials_tick", "foldtune_trials", ["study_id", "tick"])
    if not has_table(_OLD) and "fold" in columns("foldtune_curves"):
        _set_curves_aside()
    if has_table(_OLD):
        if not has_table("foldtune_curves"):
            _create_curves()
        _copy_curves()
        op.drop_table(_OLD)


def _create_leases() -> None:
    op.create_table(
        "foldtune_leases",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_id", sa.Integer(), sa.ForeignKey("foldtune_studies.id", ondelete="CASCADE"), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("namespace", sa.String(255), nullable=False),
        sa.Column("boot", sa.String(64), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        _count("writes"),
        _count("tick"),
        sqlite_autoincrement=True,
    )


def _set_curves_aside() -> None:
    op.rename_table("foldtune_curves", _OLD)
    if op.get_bind().dialect.name == "postgresql":  # the new table's keys get the names that a new database gives them
        op.drop_constraint("foldtune_curves_study_id_trial_fkey", _OLD)
        op.drop_constraint("foldtune_curves_pkey", _OLD)


def _create_curves() -> None:
    keys = ("study_id", "trial", "repeat", "epoch")
    op.create_table(
        "foldtune_curves",
        *(sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False) for name in keys),
        sa.Column("mean", _NUMBER, nullable=True),
        sa.Column("losses", _TEXT, nullable=False),
        sa.Column("scores", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id", "trial"], ["foldtune_trials.study_id", "foldtune_trials.number"], ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


def _copy_curves() -> None:
    """Each trial's rows, those of an epoch made one."""
    connection = op.get_bind()
    old = sa.table(_OLD, *map(sa.column, ("study_id", "trial", "repeat", "epoch", "fold", "metrics")), _LOSS)
    columns = ("study_id", "trial", "repeat", "epoch", "losses", "scores")
    new = sa.table("foldtune_curves", *map(sa.column, columns), sa.column("mean", Number()))
    connection.execute(sa.delete(new))
    for study, trial in connection.execute(sa.select(old.c.study_id, old.c.trial).distinct()).all():
        rows = sa.select(old).where(old.c.study_id == study, old.c.trial == trial)
        found = connection.execute(rows.order_by(old.c.repeat, old.c.epoch, old.c.fold)).all()
        epochs = groupby(found, key=lambda row: (row.study_id, row.trial, row.repeat, row.epoch))
        connection.execute(sa.insert(new), [_epoch(key, list(folds)) for key, folds in epochs])


def _epoch(key: tuple[int, int, int, int], folds: Sequence[Any]) -> dict[str, Any]:
    study, trial, repeat, epoch = key
    scores = [codec.load(fold.metrics) for fold in folds]
    return {
        "study_id": study,
        "trial": trial,
        "repeat": repeat,
        "epoch": epoch,
        "mean": _mean([first for first, *_ in scores]),
        "losses": codec.dump([fold.loss for fold in folds]),
        "scores": codec.dump(scores),
    }


def _mean(values: Sequence[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):  # a sum beyond the largest double; infinities of both signs
        return sum(value / len(values) for value in values)


_LOSS: "sa.ColumnClause[float]" = sa.column("loss", Number())


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
