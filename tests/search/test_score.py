"""The honest score: of noise, of pruned trials, of any metric and partition, and where there can be none."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from foldtune.search import out_of_fold
from foldtune.search.candidates import Ladder
from foldtune.search.out_of_fold import DrawnMetric, metric_scorer, places, units_of
from foldtune.search.plan import Plan
from foldtune.search.score import honest_score
from foldtune.selection.answers import predictions
from foldtune.selection.resampling import draw_counts
from foldtune.selection.scorers import RowMeans
from foldtune.store.records import TrialRecord
from foldtune.values import Floats, OutOfFold

from .scored import answers, noise, plan_of, trial

RANDOM = {"sampler": "RandomSampler"}


def fold_scores(plan: Plan, found: OutOfFold) -> Floats:
    """The objective of each fold as scikit-learn computes it, (K,)."""
    where, made = places(plan.folds), predictions(found)
    function: Any = {
        "log_loss": lambda y, p: metrics.log_loss(y, p, labels=[0, 1]),
        "accuracy": lambda y, p: metrics.accuracy_score(y, p.argmax(axis=1)),
        "roc_auc": lambda y, p: metrics.roc_auc_score(y, p[:, 1]),
        "f1": lambda y, p: metrics.f1_score(y, p.argmax(axis=1)),
        "mean_squared_error": metrics.mean_squared_error,
        "root_mean_squared_error": metrics.root_mean_squared_error,
        "median_absolute_error": metrics.median_absolute_error,
    }[plan.metrics[0].label]
    rows = [(where.row[where.fold == fold], made[where.fold == fold]) for fold in range(len(plan.folds))]
    return np.array([function(plan.dataset.target[row], guess) for row, guess in rows])


def searched(plan: Plan, found: Mapping[int, OutOfFold]) -> list[TrialRecord]:
    return [trial(number, fold_scores(plan, one)) for number, one in found.items()]


def score_of(plan: Plan, found: Mapping[int, OutOfFold], trials: list[TrialRecord] | None = None) -> dict[str, Any]:
    trials = searched(plan, found) if trials is None else trials
    means = {one.number: {4: one.values[0]} if one.values else {} for one in trials}
    said: dict[str, Any] = honest_score(plan, trials, found, means)
    return said


@pytest.mark.parametrize("objective", ["log_loss", "accuracy", "roc_auc", "f1"])
@pytest.mark.parametrize("validation", ["StratifiedKFold", {"use": "RepeatedStratifiedKFold", "n_splits": 3}])
def test_on_all_rows_a_trial_has_the_score_that_it_has(objective: str, validation: Any) -> None:
    plan = plan_of(90, objective=objective, validation=validation)
    found = noise(plan, 3)
    scorer = metric_scorer(
        plan.metrics[0], plan.metric_nodes[0], plan.dataset, places(plan.folds), list(found.values())
    )
    everything = np.ones((1, len(places(plan.folds).row)))
    expected = [fold_scores(plan, one).mean() for one in found.values()]
    np.testing.assert_allclose(scorer.every(everything)[0], expected, rtol=1e-9)  # the order of summation
    assert isinstance(scorer, DrawnMetric) == (objective == "f1")


@pytest.mark.parametrize("objective", ["root_mean_squared_error", "median_absolute_error"])
def test_a_time_series_is_scored_on_the_rows_that_are_validated(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_fold, "CALLS", 1600)  # 100 draws
    plan = plan_of(90, classes=0, objective=objective, validation={"use": "TimeSeriesSplit", "n_splits": 4})
    found = noise(plan, 4)
    said = score_of(plan, found)
    best = min(fold_scores(plan, one).mean() for one in found.values())
    few = objective == "median_absolute_error"
    assert said["draws"] == (100 if few else 1000) and ("instead of 1000" in str(said["cautions"])) == few
    assert (said["n_rows"], said["method"]) == (72, "BBC") and said["naive"] == pytest.approx(best)


def test_a_row_that_is_validated_several_times_is_drawn_with_all_its_answers() -> None:
    plan = plan_of(30, validation={"use": "RepeatedKFold", "n_splits": 3, "n_repeats": 4})
    row = places(plan.folds).row
    counts = draw_counts(units_of(plan.dataset, row), 20, np.random.default_rng(0))
    for one in range(30):
        assert len(row[row == one]) == 4 and (counts[:, row == one] == counts[:, row == one][:, :1]).all()
    assert (counts.sum(axis=1) == len(row)).all() and (counts == 0).any()


def test_a_selection_from_noise_is_corrected_to_chance_and_claims_nothing() -> None:
    plan = plan_of(200, objective="accuracy", search=RANDOM)
    said = score_of(plan, noise(plan, 100))
    assert said["naive"] > 0.57 and 0.47 < said["corrected"] < 0.53
    assert said["optimism"] == pytest.approx(said["naive"] - said["corrected"])
    low, high = said["interval"]
    assert low < 0.5 < high and said["headline"] == "score" and said["draws"] == 1000
    assert said["label"] == "corrected for selection; residual optimism possible"
    low, high = said["gain"]["interval"]
    assert low < 0 < high and said["gain"]["verdict"] == "cannot tell"


def test_an_effect_that_is_there_is_put_into_words_only_where_nothing_of_the_optimism_is_left() -> None:
    enqueued = {"enqueue": [{"model.d_block": 3}]}
    for search, splitter, verdict in (
        (RANDOM, "StratifiedKFold", "leaning better"),  # one partition
        (RANDOM, "RepeatedStratifiedKFold", "better"),
        ({"sampler": "TPESampler"}, "RepeatedStratifiedKFold", None),
        (RANDOM | enqueued, "RepeatedStratifiedKFold", None),
    ):
        plan = plan_of(600, objective="accuracy", search=search, validation={"use": splitter, "n_splits": 2})
        truth = 4.0 * np.eye(2)[plan.dataset.target[places(plan.folds).row]]
        said = score_of(plan, noise(plan, 5) | {5: answers(plan, truth)})
        gain = said["gain"]
        assert gain["interval"][0] > 0.3 and gain["over"] == 0 and gain["verdict"] == verdict
        assert ("not for how enqueued parameters were found" in said["label"]) == ("enqueue" in search)


def test_pruned_trials_count_as_much_as_if_they_had_gained_what_exempt_ones_did() -> None:
    plan = plan_of(200, objective="accuracy", search=RANDOM)
    found = noise(plan, 60)
    trials = searched(plan, found)
    whole = score_of(plan, found, trials)
    scores = {number: fold_scores(plan, one) for number, one in found.items()}
    means = {number: {2: one.mean() - 0.2, 4: one.mean()} for number, one in scores.items()}
    for number in range(20, 60):  # dropped after epoch 2, when all were worse by 0.2
        trials[number] = trial(number, scores[number] - 0.2, "pruned", epochs=2)
        found[number] = spoilt(plan, found[number], number)
    said = honest_score(plan, trials, found, means)
    assert said["n_trials"] == 60 and said["cautions"] == []
    assert said["corrected"] == pytest.approx(whole["corrected"], abs=0.02)  # which rows are spoilt is chance
    assert said["naive"] < whole["naive"]  # the best of those that ended


def test_a_pruned_trial_stands_where_exempt_ones_got_to_from_there() -> None:
    plan = plan_of(120, classes=0)
    epochs = [4, 4, 2, 2]
    found = {number: answers(plan, np.zeros((120, 1)), epoch) for number, epoch in enumerate(epochs)}
    ended = [trial(0, np.full(5, 0.5)), trial(1, np.full(5, 0.7))]
    pruned = [trial(number, np.full(5, 1.0), "pruned", epochs=2) for number in (2, 3)]
    ladder = Ladder.of([*ended, *pruned], found, {0: {2: 1.0, 4: 0.5}, 1: {2: 1.0, 4: 0.7}})
    own = np.array([0.5, 0.7, 1.2, 0.8])
    scorer = RowMeans(np.tile(own, (120, 1)), places(plan.folds).fold)
    units = units_of(plan.dataset, places(plan.folds).row)
    aligned = ladder.candidates(scorer, "minimize", units, 0).alignment(own)
    assert aligned == pytest.approx([0.5, 0.7, 0.72, 0.5])  # three fifths of its loss; of 0.8, no better than the best


def test_trials_pruned_before_they_could_learn_pass_no_perfect_score() -> None:
    plan = plan_of(200, classes=0, objective="mean_squared_error", search=RANDOM)
    target = plan.dataset.target[places(plan.folds).row]
    generator = np.random.default_rng(0)
    found = {number: answers(plan, target + generator.normal(size=target.shape)) for number in range(10)}
    trials = searched(plan, found)
    means = {number: {1: 3.0 + 30.0 * number, 4: 1.0} for number in range(10)}  # they gain from 2 to 272
    for number in range(5, 10):  # as bad as trial 3 was
        found[number] = answers(plan, target + 93**0.5 * generator.normal(size=target.shape), epoch=1)
        trials[number] = trial(number, np.full(5, 93.0), "pruned", epochs=1)
    said = honest_score(plan, trials, found, means)
    assert said["cautions"] == []
    assert said["naive"] < said["corrected"] < 1.2 and said["interval"][0] > 0  # 1 is true


def spoilt(plan: Plan, found: OutOfFold, seed: int) -> OutOfFold:
    """The same answers after epoch 2, a fifth of all rows wrong in addition."""
    target = plan.dataset.target[places(plan.folds).row]
    right = np.flatnonzero(found.answers.argmax(axis=1) == target)
    lost = np.random.default_rng(seed).choice(right, len(target) // 5, replace=False)
    made = found.answers.copy()
    made[lost] = made[lost][:, ::-1]
    return OutOfFold("logits", made, np.full(len(plan.folds), 2))


def test_losses_stand_for_answers() -> None:
    plan = plan_of(120, search=RANDOM)
    found = noise(plan, 8)
    target = plan.dataset.target[places(plan.folds).row]
    losses = {
        number: OutOfFold("losses", -np.log(predictions(one)[np.arange(120), target])[:, None].astype("f4"), one.epochs)
        for number, one in found.items()
    }
    full, less = score_of(plan, found), score_of(plan, losses, searched(plan, found))
    assert less["corrected"] == pytest.approx(full["corrected"], abs=1e-6)  # float32
    assert less["interval"] == pytest.approx(full["interval"], abs=1e-6)


def test_without_answers_the_fold_correction_says_what_it_is() -> None:
    plan = plan_of(120)
    said = score_of(plan, {}, searched(plan, noise(plan, 8)))
    assert said["method"] == "fold correction" and said["interval"] is None
    assert said["label"].startswith(
        "fold correction, from fold scores alone; corrected for selection, not for adaptive"
    )
    assert said["corrected"] > said["naive"] and said["cautions"] == [f"No interval: {said['reason']}."]
    default = searched(plan, noise(plan, 8))[0].values
    assert default is not None and said["gain"]["mean"] == pytest.approx(default[0] - said["corrected"])
    assert said["gain"]["interval"] is None and said["gain"]["verdict"] is None


@pytest.mark.parametrize(("n_rows", "rare"), [(90, 45), (200, 9)])
def test_few_rows_or_a_rare_class_leave_the_interval_alone(n_rows: int, rare: int) -> None:
    y = (np.arange(n_rows) < rare).astype(int)
    plan = plan_of(data={"arrays": {"X": np.zeros((n_rows, 1)) + y[:, None], "y": y}})
    said = score_of(plan, noise(plan, 4))
    assert said["label"].startswith("only the interval counts, below 100 rows or 10 of the rarest class; corrected")
    assert said["headline"] == "interval" and said["interval"][0] < said["interval"][1]


def test_a_single_trial_is_not_corrected() -> None:
    plan = plan_of(120)
    said = score_of(plan, noise(plan, 1))
    assert said["naive"] is not None and said["corrected"] is None and said["label"].startswith("not corrected")


def test_several_objectives_have_no_score_and_the_reason() -> None:
    plan = plan_of(120, objective=["log_loss", "accuracy"])
    said = score_of(plan, {}, [trial(0, np.array([0.5, 0.6, 0.5, 0.5, 0.5]))])
    assert said["naive"] is None and "several objectives" in said["reason"]


def stubborn(y_true: Any, y_pred: Any) -> float:
    """Wants whole folds."""
    if len(y_true) != 24:
        raise ValueError("I want 24 rows")
    return float(np.mean(y_true == y_pred))


def test_a_metric_that_refuses_drawn_rows_is_told_and_folds_are_corrected() -> None:
    plan = plan_of(120, objective={"use": f"{__name__}:stubborn", "direction": "maximize"})
    made = [trial(number, np.random.default_rng(number).random(5)) for number in range(4)]
    said = score_of(plan, noise(plan, 4), made)
    assert said["method"] == "fold correction" and "I want 24 rows" in said["reason"]


def test_a_metric_that_would_take_minutes_is_told_and_folds_are_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_fold, "MOST_CALLS", 1000)
    plan = plan_of(120, objective="zero_one_loss")
    made = [trial(number, np.random.default_rng(number).random(5)) for number in range(4)]
    said = score_of(plan, noise(plan, 4), made)
    assert said["method"] == "fold correction" and "draw by draw" in said["reason"]


def test_groups_are_drawn_whole_and_few_are_told() -> None:
    y, group = np.arange(120) % 2, np.arange(120) // 10
    frame = pd.DataFrame({"x": np.random.default_rng(0).random(120), "y": y, "g": group})
    plan = plan_of(data={"table": frame, "target": "y", "group": "g"})
    said = score_of(plan, noise(plan, 4))
    assert said["cautions"] == ["Only 12 groups could be resampled: the interval is rough."]


def test_answers_that_are_not_whole_are_as_none() -> None:
    plan = plan_of(120)
    found = noise(plan, 6)
    trials = searched(plan, found)
    found[2] = OutOfFold("logits", found[2].answers[:-1], found[2].epochs)
    found[3] = OutOfFold("logits", np.zeros((120, 3), np.float16), found[3].epochs)
    found[4] = OutOfFold("losses", np.zeros((120, 1), np.float32), found[4].epochs)
    assert score_of(plan, found, trials)["cautions"][0].startswith("3 of 6 trials have no out-of-fold predictions")


def test_trials_without_answers_are_told() -> None:
    plan = plan_of(120)
    found = noise(plan, 6)
    trials = searched(plan, found)
    del found[3]
    said = score_of(plan, found, trials)
    assert said["cautions"][0].startswith("1 of 6 trials have no out-of-fold predictions")
