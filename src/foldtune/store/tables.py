"""The tables `foldtune_*`. No foreign key leads into Optuna's tables: Optuna reuses its ids after a deletion."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from foldtune.store.types import Array, Instant, Number, Tree
from foldtune.values import Direction, Floats, Origin, Rows, TrialState


class Base(DeclarativeBase):
    """Our tables, apart from any other metadata in the process."""


class StudyRow(Base):
    """A study's definition; `tick` grows by 1 with every write that touches its trials."""

    __tablename__ = "foldtune_studies"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    spec: Mapped[dict[str, Any]] = mapped_column(Tree)
    folder: Mapped[str] = mapped_column(Tree)
    file: Mapped[str] = mapped_column(Tree)
    seed: Mapped[int] = mapped_column(Tree)
    objectives: Mapped[list[str]] = mapped_column(Tree)
    directions: Mapped[list[Direction]] = mapped_column(Tree)
    metrics: Mapped[list[str]] = mapped_column(Tree)
    data_fingerprint: Mapped[str] = mapped_column(String(128))
    split_fingerprint: Mapped[str] = mapped_column(String(128))
    n_rows: Mapped[int] = mapped_column(BigInteger)
    locked: Mapped[Rows] = mapped_column(Array(packed=True))
    versions: Mapped[dict[str, str]] = mapped_column(Tree)
    created_at: Mapped[datetime] = mapped_column(Instant)
    seconds: Mapped[float] = mapped_column(Number, default=0.0)
    tick: Mapped[int] = mapped_column(BigInteger, server_default="0")


class LeaseRow(Base):
    """A search loop at work on a study; its id is the fencing token, which is never given twice.

    `expires_at` is in seconds since 1970 by the database's clock; `writes` counts the loop's writes, and `tick` is the
    study's at the last of them.
    """

    __tablename__ = "foldtune_leases"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("foldtune_studies.id", ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(String(255))
    namespace: Mapped[str] = mapped_column(String(255))
    boot: Mapped[str] = mapped_column(String(64))
    pid: Mapped[int] = mapped_column(BigInteger)
    started: Mapped[str] = mapped_column(String(64))
    seconds: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
    writes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    tick: Mapped[int] = mapped_column(BigInteger, server_default="0")


class FoldRow(Base):
    """One fold of one partition; repeat 0 is the study's own."""

    __tablename__ = "foldtune_folds"

    study_id: Mapped[int] = mapped_column(ForeignKey("foldtune_studies.id", ondelete="CASCADE"), primary_key=True)
    repeat: Mapped[int] = mapped_column(primary_key=True)
    fold: Mapped[int] = mapped_column(primary_key=True)
    train: Mapped[Rows] = mapped_column(Array(packed=True))
    valid: Mapped[Rows] = mapped_column(Array(packed=True))


class TrialRow(Base):
    """One trial as it stands; `value` repeats the first of `objective_values` for queries in SQL.

    `lease` is the token of the search loop that has it, or had it last, and `tick` the study's when it was written.
    """

    __tablename__ = "foldtune_trials"
    __table_args__ = (Index("foldtune_trials_tick", "study_id", "tick"),)

    study_id: Mapped[int] = mapped_column(ForeignKey("foldtune_studies.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[TrialState] = mapped_column(String(16))
    origin: Mapped[Origin] = mapped_column(String(16))
    exempt: Mapped[bool]
    params: Mapped[dict[str, str | int | float | bool | None]] = mapped_column(Tree)
    config: Mapped[dict[str, Any]] = mapped_column(Tree)
    attrs: Mapped[dict[str, Any]] = mapped_column(Tree)
    epochs: Mapped[int]
    seconds: Mapped[float] = mapped_column(Number)
    value: Mapped[float] = mapped_column(Number, nullable=True)
    objective_values: Mapped[list[float] | None] = mapped_column(Tree)
    scores: Mapped[Floats | None] = mapped_column(Array)
    chosen: Mapped[Rows | None] = mapped_column(Array)
    engine: Mapped[str] = mapped_column(String(64))
    failure: Mapped[dict[str, str] | None] = mapped_column(Tree)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    lease: Mapped[int | None]
    tick: Mapped[int] = mapped_column(BigInteger, server_default="0")


class CurveRow(Base):
    """All folds at one epoch; `mean` is that of the first metric over the folds, for queries in SQL."""

    __tablename__ = "foldtune_curves"
    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "trial"], ["foldtune_trials.study_id", "foldtune_trials.number"], ondelete="CASCADE"
        ),
        {"sqlite_with_rowid": False},
    )

    study_id: Mapped[int] = mapped_column(primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    repeat: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    mean: Mapped[float] = mapped_column(Number, nullable=True)
    losses: Mapped[list[float]] = mapped_column(Tree)
    scores: Mapped[list[list[float]]] = mapped_column(Tree)
