"""What is kept of out-of-fold answers, and that losses are those of the objective."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from foldtune.errors import ResumeError, SpecError
from foldtune.search import keeping
from foldtune.search.keeping import resolve
from foldtune.search.plan import make_plan
from foldtune.search.run import resume_study, run_study
from foldtune.spec.load import load_spec
from foldtune.store.store import Store
from foldtune.testing.store_laws import same
from foldtune.train.stopping import fold_mean
from foldtune.values import OutOfFold

TREE: dict[str, Any] = {
    "name": "kept",
    "data": {"use": "iris"},
    "validation": {"use": "StratifiedKFold", "n_splits": 3},
    "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 16]}},
    "training": {"epochs": 3, "batch_size": 64},
    "search": {"trials": 9, "confirm": 1, "sampler": {"use": "RandomSampler"}},
}


def test_answers_of_every_trial_that_ended_and_of_every_repeat_are_stored(sqlite_url: str) -> None:
    result = run_study(TREE, storage=sqlite_url, workers=0)
    states = {trial.number: trial.state for trial in result.trials}
    assert set(states.values()) == {"complete", "pruned"}
    assert all(trial.n_parameters for trial in result.trials)
    with closing(Store(sqlite_url)) as store:
        answers, again = (store.answers(result.record.uuid, repeat) for repeat in (0, 1))
        (repeat,) = store.repeats(result.record.uuid)
    assert list(answers) == list(states) and list(again) == [repeat.trial]
    for trial in result.trials:
        assert same(answers[trial.number].epochs, trial.chosen)
    assert same(again[repeat.trial].epochs, repeat.chosen)
    assert not np.array_equal(again[repeat.trial].answers, answers[repeat.trial].answers)


@pytest.mark.parametrize(
    ("data", "objective", "loss"),
    [
        ("iris", "log_loss", None),
        ("breast_cancer", "brier_score_loss", "BCEWithLogitsLoss"),
        ("diabetes", "mean_squared_error", None),
        ("make_multilabel_classification", "hamming_loss", None),
    ],
)
def test_the_folds_means_of_losses_are_the_objective(
    sqlite_url: str, data: str, objective: str, loss: str | None
) -> None:
    tree = {**TREE, "data": {"use": data}, "validation": None, "objective": objective, "loss": loss}
    search = {"trials": 2, "out_of_fold": "losses"}
    result = run_study({**tree, "search": search}, storage=sqlite_url, workers=0)
    with closing(Store(sqlite_url)) as store:
        answers = store.answers(result.record.uuid)
    ends = np.cumsum([len(fold.valid) for fold in result.record.folds])[:-1]
    for trial in result.trials:
        kept = answers[trial.number]
        assert (kept.kind, kept.answers.dtype.name, kept.answers.shape[1]) == ("losses", "float32", 1)
        means = [float(part.mean(dtype=np.float64)) for part in np.split(kept.answers, ends)]
        assert trial.values and fold_mean(np.array(means)) == pytest.approx(trial.values[0], rel=2e-3)  # of float16


def test_nothing_is_kept_where_nothing_is_asked_for(sqlite_url: str) -> None:
    tree = {**TREE, "search": {"trials": 1, "out_of_fold": "none"}}
    result = run_study(tree, storage=sqlite_url, workers=0)
    with closing(Store(sqlite_url)) as store:
        assert store.answers(result.record.uuid) == {}


def test_what_is_kept_is_fixed_when_the_study_is_created(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {**TREE, "search": {"trials": 1}}
    run_study(tree, storage=sqlite_url, workers=0)
    monkeypatch.setattr(keeping, "MOST_BYTES", 1)
    result = resume_study("kept", storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    with closing(Store(sqlite_url)) as store:
        kept: list[OutOfFold] = list(store.answers(result.record.uuid).values())
    assert [one.kind for one in kept] == ["logits", "logits"]
    with pytest.raises(ResumeError, match=r"search\.out_of_fold: the stored study has \"answers\""):
        run_study({**TREE, "search": {"trials": 3, "out_of_fold": "losses"}}, storage=sqlite_url, workers=0)


@pytest.mark.parametrize(
    ("objective", "most", "kept"),
    [("log_loss", 150 * 3 * 2, "answers"), ("log_loss", 150 * 3 * 2 - 1, "losses"), ("f1", 10, "none")],
)
def test_answers_are_kept_while_they_are_small(
    objective: str, most: int, kept: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "MOST_BYTES", most)
    plan = make_plan(load_spec({**TREE, "objective": objective}))
    found = resolve("auto", objective=plan.metric_nodes[0], dataset=plan.dataset, folds=plan.folds)
    assert found == kept
    said = [record.getMessage() for record in caplog.records]
    rule = "out-of-fold answers take 0 MB a trial, and `f1` is no mean over rows: none are kept (search.out_of_fold)"
    assert said == [rule] * (kept == "none")


@pytest.mark.parametrize("objective", ["roc_auc", "root_mean_squared_error", {"use": "log_loss", "normalize": False}])
def test_losses_of_what_is_no_mean_over_rows_are_refused(objective: object) -> None:
    data = {"use": "diabetes" if objective == "root_mean_squared_error" else "breast_cancer"}
    tree = {**TREE, "data": data, "validation": None, "objective": objective, "search": {"out_of_fold": "losses"}}
    with pytest.raises(SpecError, match=r"search\.out_of_fold: losses need an objective that is a mean over rows"):
        make_plan(load_spec(tree))
