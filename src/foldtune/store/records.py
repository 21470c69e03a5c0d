"""What the store holds, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from foldtune.values import Direction, EpochReport, Failure, Floats, Fold, Origin, OutOfFold, Rows, TrialState

AuditKind = Literal["test", "nested"]
FindingKind = Literal["warnings", "score", "confirmation", "calibration", AuditKind]


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """A study's definition: all that `resume` needs beside the data.

    Args:
        uuid: 32 hexadecimal digits; the key of all its rows.
        name: the study's name, of its own in a database.
        spec: the study file, a JSON tree.
        folder: the folder that its data paths are relative to.
        file: the study file; "" for a Python dict. Modules beside it are found there.
        seed: the study's seed.
        objectives: labels of the metrics that are optimized.
        directions: one per objective.
        metrics: labels of all metrics, objectives first.
        data_fingerprint: of the data when the study was created, at most 128 characters.
        split_fingerprint: of the folds and the locked rows, at most 128 characters.
        n_rows: rows of the data.
        folds: the K folds.
        locked: rows of the data that the search must not see.
        versions: of the libraries that created the study.
        created_at: with a time zone; comes back in UTC.
    """

    uuid: str
    name: str
    spec: dict[str, Any]
    folder: str
    file: str
    seed: int
    objectives: tuple[str, ...]
    directions: tuple[Direction, ...]
    metrics: tuple[str, ...]
    data_fingerprint: str
    split_fingerprint: str
    n_rows: int
    folds: tuple[Fold, ...]
    locked: Rows
    versions: dict[str, str]
    created_at: datetime


@dataclass(frozen=True, eq=False)
class TrialRecord:
    """One trial as it stands.

    Args:
        number: from 0, given by the search.
        state: where it is in its life.
        origin: where its parameters came from.
        exempt: whether it may not be pruned.
        params: Optuna's parameters, name to scalar.
        config: the configuration they resolve to.
        attrs: what Optuna's sampler and pruner noted, a JSON tree.
        epochs: epochs trained.
        seconds: time spent training and scoring.
        values: one per objective, once the trial is complete.
        scores: every metric of each fold at its chosen epoch, shape (K, n_metrics).
        chosen: the epoch whose score counts, per fold, shape (K,).
        engine: the engine that trains it.
        failure: why it failed.
        started_at: with a time zone; comes back in UTC.
        finished_at: the same.
        lease: token of the lease that it belongs to, or did last; as read, never written.
        n_parameters: of one of its models, once it has ended; None where that is not known.
    """

    number: int
    state: TrialState
    origin: Origin
    exempt: bool
    params: dict[str, str | int | float | bool | None]
    config: dict[str, Any]
    attrs: dict[str, Any]
    epochs: int = 0
    seconds: float = 0.0
    values: tuple[float, ...] | None = None
    scores: Floats | None = None
    chosen: Rows | None = None
    engine: str = "lockstep"
    failure: Failure | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease: int | None = None
    n_parameters: int | None = None


@dataclass(frozen=True, eq=False)
class RepeatRecord:
    """A finished trial trained once more, on a fresh partition.

    Args:
        trial: its number.
        repeat: the partition, from 1.
        state: running, complete or failed; pruned before it began where the partition does not suit the data.
        epochs: epochs trained.
        seconds: time spent training and scoring.
        scores: every metric of each fold at its chosen epoch, shape (K, n_metrics).
        chosen: the epoch whose score counts, per fold, shape (K,).
        engine: the engine that trains it.
        failure: why it failed, or was not begun.
        finished_at: with a time zone; comes back in UTC.
    """

    trial: int
    repeat: int
    state: TrialState = "running"
    epochs: int = 0
    seconds: float = 0.0
    scores: Floats | None = None
    chosen: Rows | None = None
    engine: str = "lockstep"
    failure: Failure | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """Out-of-fold answers of a trial, on one partition.

    Args:
        trial: its number.
        repeat: the partition; 0 is the study's own.
        out_of_fold: the answers.
    """

    trial: int
    repeat: int
    out_of_fold: OutOfFold


@dataclass(frozen=True)
class Finding:
    """What was found out about a study: what is doubtful, its honest score, what confirmation said, an audit.

    Args:
        kind: audits stay beside each other; any other replaces the one before.
        trial: the trial that it is about, if it is about one.
        content: a JSON tree.
        tick: the study's when it was computed: later writes are not in it.
        created_at: with a time zone; comes back in UTC.
    """

    kind: FindingKind
    trial: int | None
    content: dict[str, Any]
    tick: int
    created_at: datetime


@dataclass(frozen=True, eq=False)
class Curves:
    """What one trial reported, epoch by epoch.

    Args:
        epochs: ascending from 1, shape (E,) int64.
        losses: mean training loss of each fold, shape (E, K).
        scores: every metric of each fold, shape (E, K, n_metrics).
    """

    epochs: Rows
    losses: Floats
    scores: Floats


@dataclass(frozen=True, eq=False)
class Barrier:
    """What is stored at once after an epoch, or not at all.

    Args:
        reports: new points of the curves.
        trials: the new state of the trials that it touches.
        asked: new trials, which fill reserved numbers.
        seconds: time that the search spent since the last barrier.
        repeats: the new state of trials that are trained once more.
        kept: out-of-fold answers of what has ended.
    """

    reports: tuple[EpochReport, ...] = ()
    trials: tuple[TrialRecord, ...] = ()
    asked: tuple[TrialRecord, ...] = ()
    seconds: float = 0.0
    repeats: tuple[RepeatRecord, ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a search loop runs.

    Args:
        host: the machine's name.
        namespace: of the process id; containers of one host have their own.
        boot: an id that the machine gets anew whenever it starts.
        pid: process id.
        started: when the process started, so that a process id that is used again is told apart.
    """

    host: str
    namespace: str
    boot: str
    pid: int
    started: str


@dataclass(frozen=True)
class Lease:
    """A search loop's right to write to a study, for one thread.

    Args:
        token: greater than that of every lease given before, in the whole database.
        study: the study's uuid.
    """

    token: int
    study: str


@dataclass(frozen=True, eq=False)
class Changes:
    """What has happened to a study since a tick.

    Args:
        tick: the study's, when this was read: the next question's `since`.
        trials: all that were written since, as they stand, by number.
        means: of their stored epochs: trial number -> epoch -> the first metric's mean over the folds.
    """

    tick: int
    trials: tuple[TrialRecord, ...]
    means: Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class StudySummary:
    """One line of `foldtune list`.

    Args:
        name: the study's name.
        created_at: in UTC.
        trials: how many are in each state, every state named.
        best: the best value of its complete trials; None without one, and for several objectives.
        directions: one per objective.
        budget: trials it may have in all; None when its stored definition does not say.
    """

    name: str
    created_at: datetime
    trials: Mapping[TrialState, int]
    best: float | None
    directions: tuple[Direction, ...]
    budget: int | None
