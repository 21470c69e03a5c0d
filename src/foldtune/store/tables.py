"""The tables `foldtune_*`. No foreign key leads into Optuna's tables: Optuna reuses its ids after a deletion."""

from datetime import datetime
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import BigInteger, Double, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from foldtune.store.records import FindingKind
from foldtune.store.types import Array, Instant, Number, Stored, Tree, Word
from foldtune.values import AnswerKind, Direction, Failure, Floats, Origin, Rows, TrialState

Scalar = str | int | float | bool | None


def _of_trial() -> ForeignKeyConstraint:
    keys = ["foldtune_trials.study_id", "foldtune_trials.number"]
    return ForeignKeyConstraint(["study_id", "trial"], keys, ondelete="CASCADE")


def _rows(*, packed: bool = False) -> Array:
    return Array(("<i8",), 1, packed=packed)


def _scores() -> Array:
    return Array(("<f8",), 2)


class Base(DeclarativeBase):
    """Our tables, apart from any other metadata in the process."""


class StudyRow(Base):
    """A study's definition; `tick` grows by 1 with every write that touches its trials."""

    __tablename__ = "foldtune_studies"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    spec: Mapped[dict[str, Any]] = mapped_column(Tree(dict[str, Any]))
    folder: Mapped[str] = mapped_column(Tree(str))
    file: Mapped[str] = mapped_column(Tree(str))
    seed: Mapped[int] = mapped_column(Tree(int))
    objectives: Mapped[list[str]] = mapped_column(Tree(list[str]))
    directions: Mapped[list[Direction]] = mapped_column(Tree(list[Direction]))
    metrics: Mapped[list[str]] = mapped_column(Tree(list[str]))
    data_fingerprint: Mapped[str] = mapped_column(String(128))
    split_fingerprint: Mapped[str] = mapped_column(String(128))
    n_rows: Mapped[int] = mapped_column(BigInteger)
    locked: Mapped[Rows] = mapped_column(_rows(packed=True))
    versions: Mapped[dict[str, str]] = mapped_column(Tree(dict[str, str]))
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
    train: Mapped[Rows] = mapped_column(_rows(packed=True))
    valid: Mapped[Rows] = mapped_column(_rows(packed=True))


class TrialRow(Base):
    """One trial as it stands; `value` repeats the first of `objective_values` for queries in SQL.

    `lease` is the token of the search loop that has it, or had it last, and `tick` the study's when it was written.
    """

    __tablename__ = "foldtune_trials"
    __table_args__ = (Index("foldtune_trials_tick", "study_id", "tick"),)

    study_id: Mapped[int] = mapped_column(ForeignKey("foldtune_studies.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[TrialState] = mapped_column(Word(TrialState))
    origin: Mapped[Origin] = mapped_column(Word(Origin))
    exempt: Mapped[bool]
    params: Mapped[dict[str, Scalar]] = mapped_column(Tree(dict[str, Scalar]))
    config: Mapped[dict[str, Any]] = mapped_column(Tree(dict[str, Any]))
    attrs: Mapped[dict[str, Any]] = mapped_column(Tree(dict[str, Any]))
    epochs: Mapped[int]
    seconds: Mapped[float] = mapped_column(Number)
    value: Mapped[float] = mapped_column(Number, nullable=True)
    objective_values: Mapped[list[float] | None] = mapped_column(Tree(list[float]))
    scores: Mapped[Floats | None] = mapped_column(_scores())
    chosen: Mapped[Rows | None] = mapped_column(_rows())
    engine: Mapped[str] = mapped_column(String(64))
    failure: Mapped[dict[str, str] | None] = mapped_column(Tree(Failure))
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    lease: Mapped[int | None]
    tick: Mapped[int] = mapped_column(BigInteger, server_default="0")
    n_parameters: Mapped[int | None] = mapped_column(BigInteger)


class CurveRow(Base):
    """All folds at one epoch; `mean` is that of the first metric over the folds, for queries in SQL."""

    __tablename__ = "foldtune_curves"
    __table_args__ = (_of_trial(), {"sqlite_with_rowid": False})

    study_id: Mapped[int] = mapped_column(primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    repeat: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    mean: Mapped[float] = mapped_column(Number, nullable=True)
    losses: Mapped[list[float]] = mapped_column(Tree(list[Any]))
    scores: Mapped[list[list[float]]] = mapped_column(Tree(list[Any]))


class RepeatRow(Base):
    """A finished trial trained once more, on the partition of that number."""

    __tablename__ = "foldtune_repeats"
    __table_args__ = (_of_trial(),)

    study_id: Mapped[int] = mapped_column(primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    repeat: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[TrialState] = mapped_column(Word(TrialState))
    epochs: Mapped[int]
    seconds: Mapped[float] = mapped_column(Number)
    scores: Mapped[Floats | None] = mapped_column(_scores())
    chosen: Mapped[Rows | None] = mapped_column(_rows())
    engine: Mapped[str] = mapped_column(String(64))
    failure: Mapped[dict[str, str] | None] = mapped_column(Tree(Failure))
    finished_at: Mapped[datetime | None] = mapped_column(Instant)


class AnswersRow(Base):
    """A trial's out-of-fold answers on one partition, in the order of its folds' validation rows."""

    __tablename__ = "foldtune_answers"
    __table_args__ = (_of_trial(),)

    study_id: Mapped[int] = mapped_column(primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    repeat: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[AnswerKind] = mapped_column(Word(AnswerKind))
    epochs: Mapped[Rows] = mapped_column(_rows())
    answers: Mapped[NDArray[Any]] = mapped_column(Array(("<f2", "<f4"), 2, packed=True, sent=True))


class FindingRow(Base):
    """Something found out about a study; `tick` is the study's when it was."""

    __tablename__ = "foldtune_findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("foldtune_studies.id", ondelete="CASCADE"))
    kind: Mapped[FindingKind] = mapped_column(Word(FindingKind))
    trial: Mapped[int | None]
    content: Mapped[dict[str, Any]] = mapped_column(Tree(dict[str, Any]))
    tick: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant)


for _table in Base.metadata.tables.values():
    for _column in _table.columns:
        if isinstance(_column.type, Stored):
            _column.type.place = (_table.name, _column.name)
