"""Whether probabilities and intervals keep their word, by out-of-fold answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.search.calibration import calibration
from foldtune.search.out_of_fold import places
from foldtune.values import OutOfFold

from .scored import answers, plan_of


def test_logits_twice_too_large_get_a_temperature_of_two() -> None:
    plan = plan_of(2000, validation={"use": "RepeatedStratifiedKFold", "n_splits": 2, "n_repeats": 3})
    row = places(plan.folds).row
    logits = np.random.default_rng(0).normal(size=2000)
    chance = 1 / (1 + np.exp(-logits))
    plan.dataset.target[:] = np.random.default_rng(1).random(2000) < chance
    made = answers(plan, 2 * logits[row][:, None])
    said: Any = calibration(plan.dataset, places(plan.folds), made)
    assert said["kept"] and said["temperature"] == pytest.approx(2, rel=0.25)  # of 2000 rows
    assert said["error"][1] < said["error"][0] and said["log_loss"][1] < said["log_loss"][0]


def test_few_rows_keep_their_probabilities_and_say_why() -> None:
    plan = plan_of(199)
    said: Any = calibration(plan.dataset, places(plan.folds), answers(plan, np.zeros((199, 2))))
    assert (said["temperature"], said["kept"], said["reason"]) == (1.0, False, "fewer than 200 rows")


def test_a_regression_gets_an_interval_and_what_it_may_claim() -> None:
    plan = plan_of(400, classes=0)
    where = places(plan.folds)
    truth = plan.dataset.target[where.row]
    noise = np.random.default_rng(0).normal(size=truth.shape)
    said: Any = calibration(plan.dataset, where, answers(plan, truth + noise))
    assert said["half_width"][0] == pytest.approx(1.645, abs=0.2)  # of a normal distribution, by 400 rows
    assert 0.86 < said["coverage"][0] < 0.94 and "no guarantee" in said["claim"]


def test_groups_are_promised_nothing() -> None:
    frame = pd.DataFrame({"x": np.arange(60.0), "y": np.random.default_rng(0).random(60), "g": np.arange(60) // 5})
    plan = plan_of(data={"table": frame, "target": "y", "group": "g"})
    said: Any = calibration(plan.dataset, places(plan.folds), answers(plan, np.zeros((60, 1))))
    assert said["claim"].endswith("of other groups or later times it promises nothing.")


def test_losses_tell_nothing() -> None:
    plan = plan_of(120)
    found = OutOfFold("losses", np.zeros((120, 1), np.float32), np.full(5, 4))
    assert calibration(plan.dataset, places(plan.folds), found) is None
