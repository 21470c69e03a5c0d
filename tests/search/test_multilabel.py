"""Several labels for each row: searched, scored honestly, calibrated and tested as classes are."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.datasets import make_multilabel_classification

from foldtune.errors import RequestError
from foldtune.search.calibration import calibration
from foldtune.search.locked_test import run_test
from foldtune.search.out_of_fold import DrawnMetric, metric_scorer, places
from foldtune.search.plan import Plan
from foldtune.search.run import run_study
from foldtune.selection.answers import predictions
from foldtune.store.store import Store
from foldtune.values import Floats, OutOfFold

from .scored import answers, noise, plan_of, trial
from .test_score import score_of

LABELS = ["sea", "sun", "sand"]
TREE: dict[str, Any] = {
    "name": "labels",
    "data": {"table": "rows.csv", "target": LABELS, "test_fraction": 0.2},
    "metrics": ["hamming_loss", "accuracy", {"use": "f1", "average": "micro"}],
    "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 16]}},
    "optimizer": {"use": "AdamW", "lr": {"float": [1e-3, 1e-1], "log": True}},
    "training": {"epochs": 6, "batch_size": 32},
    "search": {"trials": 8, "cohort": 3, "confirm": 1, "sampler": {"use": "RandomSampler"}},
}


def log_loss(y_true: Any, y_pred: Any) -> float:
    columns = zip(y_true.T, y_pred.T, strict=True)
    return float(np.mean([metrics.log_loss(truth, chance, labels=[0, 1]) for truth, chance in columns]))


def of_labels(function: Callable[..., float]) -> Callable[[Any, Any], float]:
    return lambda y_true, y_pred: float(function(y_true, y_pred > 0.5))


SKLEARN: dict[str, Callable[[Any, Any], float]] = {
    "log_loss": log_loss,
    "hamming_loss": of_labels(metrics.hamming_loss),
    "accuracy": of_labels(metrics.accuracy_score),
    "f1": of_labels(partial(metrics.f1_score, average="macro")),
    "f1_micro": of_labels(partial(metrics.f1_score, average="micro")),
    "roc_auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
}


def fold_scores(plan: Plan, found: OutOfFold, name: str) -> Floats:
    """A metric of each fold as scikit-learn computes it, (K,)."""
    where, made = places(plan.folds), predictions(found)
    rows = [where.fold == fold for fold in range(len(plan.folds))]
    return np.array([SKLEARN[name](plan.dataset.target[where.row[each]], made[each]) for each in rows])


def labels_of(n_rows: int = 120, share: tuple[float, ...] = (0.5, 0.3), **sections: Any) -> Plan:
    """A plan for labels of noise."""
    generator = np.random.default_rng(0)
    y = np.stack([generator.permutation(n_rows) < one * n_rows for one in share], axis=1)
    return plan_of(data={"arrays": {"X": generator.normal(size=(n_rows, 2)), "y": y.astype(int)}}, **sections)


def test_a_study_of_labels_from_its_rows_to_its_locked_test(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    features, labels = make_multilabel_classification(200, n_features=6, n_classes=3, random_state=1)
    frame = pd.DataFrame(features, columns=list("abcdef")).join(pd.DataFrame(labels.astype(bool), columns=LABELS))
    frame.to_csv("rows.csv", index=False)
    result = run_study(TREE, storage=sqlite_url, workers=0)
    spec = result.record.spec
    assert spec["loss"] == {"use": "BCEWithLogitsLoss"} and spec["validation"]["use"].endswith(
        "MultilabelStratifiedKFold"
    )
    assert result.record.metrics == ("log_loss", "hamming_loss", "accuracy", "f1_micro")
    assert {trial.state for trial in result.trials} == {"complete", "pruned"}
    score, confirmed, calibrated = (result.finding(kind) for kind in ("score", "confirmation", "calibration"))
    assert score and score.content["method"] == "BBC" and score.content["draws"] == 1000
    assert confirmed and calibrated and calibrated.content["kind"] == "temperature"
    rows = np.setdiff1d(np.arange(200), result.record.locked)
    share = labels[rows].mean(axis=0)
    guessing = -(share * np.log(share) + (1 - share) * np.log(1 - share)).mean()
    assert score.content["corrected"] < 0.9 * guessing
    found = run_test("labels", storage=sqlite_url)
    assert found.content["n_rows"] == 40 and found.content["scores"]["log_loss"] < guessing
    assert found.content["interval"][0] < found.content["scores"]["log_loss"] < found.content["interval"][1]
    with closing(Store(sqlite_url)) as store:
        kept = store.answers(result.record.uuid)
    folds = result.record.folds
    best = result.best
    assert best is not None and best.scores is not None and kept[best.number].kind == "label logits"
    truth, made = labels[rows], predictions(kept[best.number])
    ends = np.cumsum([len(fold.valid) for fold in folds])[:-1]
    for fold, part, scores in zip(folds, np.split(made, ends), best.scores, strict=True):
        expected = [SKLEARN[name](truth[fold.valid], part) for name in result.record.metrics]
        np.testing.assert_allclose(scores, expected, rtol=2e-3)  # logits are kept in float16


@pytest.mark.parametrize("objective", ["log_loss", "hamming_loss", "accuracy", "f1", "roc_auc", "average_precision"])
def test_on_all_rows_a_trial_has_the_score_that_it_has(objective: str) -> None:
    plan = labels_of(objective=objective)
    found = noise(plan, 3)
    where = places(plan.folds)
    scorer = metric_scorer(plan.metrics[0], plan.metric_nodes[0], plan.dataset, where, list(found.values()))
    expected = [fold_scores(plan, one, objective).mean() for one in found.values()]
    np.testing.assert_allclose(scorer.every(np.ones((1, len(where.row))))[0], expected, rtol=1e-9)
    assert isinstance(scorer, DrawnMetric) == (objective in ("f1", "roc_auc", "average_precision"))


@pytest.mark.parametrize("objective", ["log_loss", "roc_auc"])
def test_the_best_of_noise_is_corrected(objective: str) -> None:
    plan = labels_of(objective=objective)
    found = noise(plan, 12)
    trials = [trial(number, fold_scores(plan, one, objective)) for number, one in found.items()]
    said = score_of(plan, found, trials)
    assert said["method"] == "BBC" and said["optimism"] > 0 and said["headline"] == "score"


def test_few_rows_with_a_label_have_an_interval_alone() -> None:
    plan = labels_of(share=(0.5, 0.05), objective="log_loss")
    found = noise(plan, 3)
    trials = [trial(number, fold_scores(plan, one, "log_loss")) for number, one in found.items()]
    assert score_of(plan, found, trials)["headline"] == "interval"


def test_all_labels_share_a_temperature() -> None:
    plan = labels_of(1000, (0.5, 0.5, 0.5))
    where = places(plan.folds)
    logits = np.random.default_rng(0).normal(size=(1000, 3))
    plan.dataset.target[:] = np.random.default_rng(1).random((1000, 3)) < 1 / (1 + np.exp(-logits))
    said: Any = calibration(plan.dataset, where, answers(plan, 2 * logits[where.row]))
    assert said["kept"] and said["temperature"] == pytest.approx(2, rel=0.15)  # of 3000 labels
    few = labels_of(120)
    said = calibration(few.dataset, places(few.folds), answers(few, np.zeros((120, 2))))
    assert (said["kept"], said["reason"]) == (False, "fewer than 200 rows")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"objective": "matthews_corrcoef"}, r"^objective: `matthews_corrcoef` is a classification metric"),
        ({"metrics": ["balanced_accuracy"]}, r"^metrics\.0: `balanced_accuracy` is a classification metric"),
        ({"loss": "CrossEntropyLoss"}, r"^loss: a multilabel target needs one of BCEWithLogitsLoss, BCELoss"),
        ({"loss": {"use": "BCEWithLogitsLoss", "pos_weight": [1, 2, 3]}}, r"^loss: .* must accept the answers"),
        ({"validation": "StratifiedKFold"}, r"^validation: `StratifiedKFold` needs classes to stratify by"),
        ({"objective": "roc_auc", "validation": {"use": "KFold", "n_splits": 60}}, r"none of class `y\d` = [01]"),
        ({"objective": "f1", "validation": "LeaveOneOut"}, r"the mean of `f1` over single rows is another number"),
    ],
)
def test_what_has_no_meaning_for_labels_is_refused_before_training(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        labels_of(**sections)
