"""Studies and trials made by hand."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from foldtune.search.result import StudyResult
from foldtune.store.records import StudyRecord, TrialRecord
from foldtune.values import Failure, TrialState

MOMENT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def trial(number: int, state: TrialState = "complete", score: float = 0.5, **changes: Any) -> TrialRecord:
    """A trial of two folds whose first metric is `score` +- 0.1 and whose second is 1 - score."""
    scored = state in ("complete", "pruned")
    fields: dict[str, Any] = {
        "number": number,
        "state": state,
        "origin": "sampled",
        "exempt": False,
        "params": {"optimizer.lr": 0.1 * (number + 1), "model": "MLP"},
        "config": {"model": {"use": "MLP"}, "training": {"epochs": 9, "batch_size": 8}},
        "attrs": {},
        "epochs": 9 if state == "complete" else 3,
        "seconds": 1.5,
        "values": (score,) if state == "complete" else None,
        "scores": np.array([[score - 0.1, 1 - score], [score + 0.1, 1 - score]]) if scored else None,
        "chosen": np.array([9, 9]) if scored else None,
        "failure": Failure("diverged", "fold 0 is not finite", "Traceback ...") if state == "failed" else None,
        "started_at": MOMENT,
        "finished_at": None if state in ("running", "waiting") else MOMENT,
    }
    return TrialRecord(**{**fields, **changes})


def study(*trials: TrialRecord) -> StudyResult:
    """A study of two metrics, the first to be minimized."""
    record = StudyRecord(
        uuid="0" * 32,
        name="demo",
        spec={"name": "demo", "data": {"use": "iris"}, "model": {"use": "MLP"}, "search": {"trials": 10, "cohort": 1}},
        folder="",
        file="demo.yaml",
        seed=0,
        objectives=("log_loss",),
        directions=("minimize",),
        metrics=("log_loss", "accuracy"),
        data_fingerprint="d",
        split_fingerprint="s",
        n_rows=150,
        folds=(),
        locked=np.arange(0),
        versions={},
        created_at=MOMENT,
    )
    return StudyResult(record, trials)
