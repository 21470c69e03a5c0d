"""From a reference to a metric, and what is said about a wrong one."""

import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch

from foldtune.errors import SpecError
from foldtune.metrics import Metric, build_metric, default_metrics, default_objective
from foldtune.testing.metric_laws import classification_sample
from foldtune.values import Task


def build(node: Any, task: Task = "classification", n_classes: int = 3) -> Metric:
    return build_metric(node, task=task, n_classes=n_classes, path=("objective",))


@pytest.mark.parametrize(
    ("node", "label", "direction", "needs"),
    [
        ("log_loss", "log_loss", "minimize", "probabilities"),
        ({"use": "f1", "average": "macro"}, "f1_macro", "maximize", "labels"),
        ({"use": "fbeta", "beta": 0.5, "average": "micro"}, "fbeta_0.5_micro", "maximize", "labels"),
        ({"use": "f1", "labels": [0, 2], "average": "macro"}, "f1_0_2_macro", "maximize", "labels"),
        ("brier_score_loss", "brier_score_loss", "minimize", "probabilities"),
        ("zero_one_loss", "zero_one_loss", "minimize", "labels"),
    ],
)
def test_label_direction_and_needs(node: Any, label: str, direction: str, needs: str) -> None:
    metric = build(node)
    assert (metric.label, metric.direction, metric.needs) == (label, direction, needs)


@pytest.mark.parametrize(
    ("node", "task", "message"),
    [
        (
            "acuracy",
            "classification",
            r"objective: there is no classification metric `acuracy`\. Did you mean accuracy",
        ),
        ("mean_square_error", "regression", r"Did you mean mean_squared_error"),
        ("nonsense", "regression", r"named like scikit-learn's function without `_score`"),
        ("roc_auc", "regression", r"objective: `roc_auc` is a classification metric, however: task=regression\."),
        ("r2", "classification", r"objective: `r2` is a regression metric, however: task=classification\."),
        ("f1_score", "classification", r"Write f1\."),
        ("neg_log_loss", "classification", r"Write log_loss\."),
        ("f1_macro", "classification", r"Write \{use: f1, average: macro\}\."),
        ("roc_auc_ovo", "classification", r"Write \{use: roc_auc, multi_class: ovo\}\."),
        ("confusion_matrix", "classification", r"there is no classification metric `confusion_matrix`"),
        ("silhouette", "classification", r"there is no classification metric `silhouette`"),
        (
            {"use": "f1", "averge": "macro"},
            "classification",
            r"objective\.averge: `f1` takes no `averge`\. .*average\?",
        ),
        ({"use": "f1", "sample_weight": 1}, "classification", r"`f1` takes no `sample_weight`\. It takes labels, pos_"),
        ({"use": "f1", "average": "makro"}, "classification", r"must give one number .*Got 'makro' instead\.$"),
        ({"use": "f1", "average": "binary"}, "classification", r"Target is multiclass but average='binary'"),
        ({"use": "f1", "average": None}, "classification", r"objective: the metric must give one number"),
        ("fbeta", "classification", r"objective: `fbeta` needs the argument `beta`\."),
        ({"use": "top_k_accuracy", "k": 3}, "classification", r"'k' \(3\) greater than or equal to 'n_classes' \(3\)"),
        ({"use": "r2", "multioutput": "raw_values"}, "regression", r"must give one number"),
        ("max_error", "regression", r"Multioutput not supported in max_error\.$"),
        (3, "classification", r"a metric is a function's name or a mapping with `use`, however: 3\."),
        ({"use": ["f1"]}, "classification", r"a metric is a function's name or a mapping with `use`"),
        ({"name": "f1"}, "classification", r"a metric is a function's name or a mapping with `use`"),
    ],
)
def test_problems_are_named(node: Any, task: Task, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(node, task)


def test_all_argument_problems_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        build({"use": "fbeta", "bta": 2, "averge": "macro"})
    assert [problem.path for problem in caught.value.problems] == [
        ("objective", "bta"),
        ("objective", "averge"),
        ("objective",),
    ]


@pytest.mark.parametrize("node", ["roc_auc", {"use": "f1", "average": "macro"}, {"use": "fbeta", "beta": 2}])
def test_metrics_travel_to_other_processes(node: Any) -> None:
    sample = classification_sample(0, n_classes=3)
    metric = build(node)
    rows = (sample.target, sample.prediction, sample.mask)
    torch.testing.assert_close(pickle.loads(pickle.dumps(metric))(*rows), metric(*rows), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("task", "n_classes"), [("classification", 2), ("classification", 5), ("multilabel", 3), ("regression", 2)]
)
def test_defaults_can_be_built(task: Task, n_classes: int) -> None:
    assert build(default_objective(task), task, n_classes).direction == "minimize"
    names = default_metrics(task, n_classes)
    assert [build(name, task, n_classes).label for name in names] == list(names)


def test_common_metrics_leave_sklearn_unimported() -> None:
    program = """
import sys
from foldtune.metrics import build_metric
build_metric("roc_auc", task="classification", n_classes=2, path=())
sys.exit("sklearn.metrics" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
