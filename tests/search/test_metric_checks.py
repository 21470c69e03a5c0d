from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.errors import SpecError
from foldtune.search.plan import Plan, make_plan
from foldtune.spec.load import read_spec


def parity(y_true: Any, y_pred: Any) -> float:
    """A metric of the user's, which no one can judge."""
    return float(len(y_true) % 2)


def plan(validation: Any, objective: Any, data: Any = None) -> Plan:
    tree = {
        "name": "m",
        "data": data or {"use": "make_classification", "n_samples": 40, "n_features": 4},
        "model": {"use": "MLP", "n_blocks": 1, "d_block": 4},
    }
    return make_plan(read_spec({**tree, "validation": validation, "objective": objective}))


NUMBERS = {"use": "make_regression", "n_samples": 30, "n_features": 4, "noise": 1.0}


@pytest.mark.parametrize(
    ("validation", "objective", "data", "message"),
    [
        ("LeaveOneOut", "roc_auc", None, r"^objective: `roc_auc` must be defined .* fold 0 has one row"),
        ("LeaveOneOut", "average_precision", None, r"`average_precision`"),
        ("LeaveOneOut", "balanced_accuracy", None, r"the mean of `balanced_accuracy` over single rows is another"),
        ("LeaveOneOut", "f1", None, r"the mean of `f1` over single rows is another number than `f1`\. Choose"),
        ("LeaveOneOut", "r2", NUMBERS, r"`r2` must be defined .* fold 0 has one row"),
        ("LeaveOneOut", "root_mean_squared_error", NUMBERS, r"the mean of `root_mean_squared_error` over single rows"),
        ({"use": "LeavePOut", "p": 2}, "roc_auc", None, r"fold \d+ has 2 rows, none of class \d"),
        (
            {"use": "PredefinedSplit", "test_fold": [0, 0, *[-1] * 28]},
            "roc_auc",
            {"arrays": {"X": np.eye(30), "y": np.arange(30) // 15}},
            r"`roc_auc` must be defined .* `PredefinedSplit` gives, however: fold 0 has 2 rows, none of class 1",
        ),
    ],
)  # fmt: skip
def test_objectives_that_folds_make_meaningless_are_refused(
    validation: Any, objective: str, data: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        plan(validation, objective, data)


@pytest.mark.parametrize("objective", ["log_loss", "accuracy", "brier_score_loss", "zero_one_loss", "hamming_loss"])
def test_means_over_rows_may_be_left_out_one_by_one(objective: str) -> None:
    assert len(plan("LeaveOneOut", objective).folds) == 40


@pytest.mark.parametrize("objective", ["mean_squared_error", "mean_absolute_error"])
def test_so_may_errors_of_numbers(objective: str) -> None:
    assert len(plan("LeaveOneOut", objective, NUMBERS).folds) == 30


def test_folds_with_enough_rows_take_any_metric() -> None:
    for objective in ("roc_auc", "average_precision", "f1", "matthews_corrcoef"):
        assert len(plan("StratifiedKFold", objective).folds) == 5
    assert len(plan("KFold", "r2", NUMBERS).folds) == 5
    frame = pd.DataFrame({"x": np.arange(30.0), "y": np.random.RandomState(0).rand(30)})
    assert plan("KFold", "mean_squared_log_error", {"table": frame, "target": "y"}).folds


def test_what_a_users_own_metric_needs_is_not_known() -> None:
    own = {"use": f"{__name__}:parity", "direction": "maximize"}
    assert plan("LeaveOneOut", own).folds
