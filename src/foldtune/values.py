"""Frozen values that cross layers.

Dimensions have one letter each, everywhere: `J` jobs (trials in training), `K` folds, `M = J * K` models, `N` rows,
`B` rows of a batch, `C` classes or outputs, `F` features, `Q` categorical columns, `E` epochs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "multilabel", "regression"]
Direction = Literal["minimize", "maximize"]
TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]
FailureKind = Literal["diverged", "out of memory", "user code", "data", "lost worker"]
Origin = Literal["default", "enqueued", "sampled"]
AnswerKind = Literal["logits", "label logits", "values", "losses"]

Config = Mapping[str, Any]
"""A trial's configuration: the searchable sections of the study file with every domain replaced by a plain value."""

Rows = NDArray[np.int64]
"""Row numbers, shape (n,), ascending."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold: the rows it trains on and the rows it is scored on, disjoint."""

    train: Rows
    valid: Rows


@dataclass(frozen=True)
class DataShape:
    """What a model reads and answers.

    Args:
        features: shape of one row's numeric part: `(F,)` for tables, `(channels, height, width)` for images.
        cardinalities: number of codes of each of the Q categorical columns.
        outputs: numbers the model answers per row.
    """

    features: tuple[int, ...]
    cardinalities: tuple[int, ...]
    outputs: int


@dataclass(frozen=True, eq=False)
class Job:
    """One trial's configuration, to be trained on its folds.

    Args:
        trial: trial number; no two jobs of a run have the same.
        config: its configuration.
        folds: what it trains on, and is scored on.
        repeat: 0 for the study's own partition, from 1 for fresh ones, whose seeds are fresh, too.
        guide: the objective's mean, epoch by epoch, that schedules read instead of the job's own scores, where those
            rows must decide on nothing; its last value stands for all later epochs, and early stopping is off.
    """

    trial: int
    config: Config
    folds: tuple[Fold, ...]
    repeat: int = 0
    guide: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Failure:
    """Why a trial failed."""

    kind: FailureKind
    message: str
    traceback: str


@dataclass(frozen=True, eq=False)
class EpochReport:
    """What one epoch of one job gave.

    Args:
        trial: the job's trial number.
        epoch: epochs trained so far, from 1.
        losses: mean training loss of each fold, shape (K,).
        scores: every metric on each fold's validation rows, shape (K, n_metrics), objectives first.
        seconds: time spent training and scoring.
        done: no epoch is left: the planned ones are trained, or early stopping says so.
        failure: set when the job cannot go on; `losses` and `scores` are then NaN.
        engine: the engine that trained the job.
        reason: in a job's first report, why that engine, where there was a choice.
        notes: what the user is to know of how the job trains from now on.
        repeat: the job's.
    """

    trial: int
    epoch: int
    losses: Floats
    scores: Floats
    seconds: float
    done: bool = False
    failure: Failure | None = None
    engine: str = "lockstep"
    reason: str | None = None
    notes: tuple[str, ...] = ()
    repeat: int = 0


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a job's models answer for the rows that they did not train on.

    Args:
        kind: "logits" in float16, as nets give them before softmax or sigmoid (one per row where the loss takes a
            single logit); "label logits" in float16, one before its sigmoid for each of several labels; "values" in
            original units and float32; or "losses", the objective row by row in float32, where the answers themselves
            are too large to be kept. Logits and values beyond their dtype are clipped to the largest that it has: 65504
            in float16.
        answers: those of fold 0's validation rows, ascending, then fold 1's, and so on: (n, C); (n, 1) for losses.
        epochs: the epoch of each fold's answers, from 1, shape (K,).
    """

    kind: AnswerKind
    answers: NDArray[np.float16] | NDArray[np.float32]
    epochs: Rows


@dataclass(frozen=True, eq=False)
class TrialResult:
    """A trial's outcome.

    Args:
        trial: trial number.
        epochs: epochs trained.
        chosen: the epoch whose score counts, per fold, from 1, shape (K,).
        scores: every metric of each fold at its chosen epoch, shape (K, n_metrics), objectives first.
        out_of_fold: the answers at those epochs; None where they are not kept.
        n_parameters: of one of its models.
    """

    trial: int
    epochs: int
    chosen: Rows
    scores: Floats
    out_of_fold: OutOfFold | None = None
    n_parameters: int | None = None
