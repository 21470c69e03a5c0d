"""The forecast trains a small part of the rows, whatever their order."""

from typing import Any

import numpy as np
import pytest

from foldtune.errors import TrainingError
from foldtune.search.forecast import ROWS, forecast
from foldtune.search.plan import Plan, make_plan
from foldtune.spec.load import load_spec


def _plan(rows: int, **changes: Any) -> Plan:
    arrays = {"X": np.random.default_rng(0).standard_normal((rows, 4)), "y": np.repeat([0, 1, 2], rows // 3)}
    tree = {
        "name": "sorted",
        "data": {"arrays": arrays},
        "model": {"use": "MLP", "d_block": 8},
        "training": {"epochs": 5, "batch_size": 64},
        "search": {"trials": 10},
    }
    return make_plan(load_spec({**tree, **changes}))


@pytest.mark.parametrize(("changes", "trainings"), [({"search": {"trials": 10, "confirm": 0}}, 10), ({}, 14)], ids=str)
def test_a_study_takes_its_trials_and_confirmations_times_its_epochs(changes: dict[str, Any], trainings: int) -> None:
    found = forecast(_plan(300, **changes), workers=2)
    assert found.trial_s == 5 * found.epoch_s > 0
    assert found.study_s == trainings * found.trial_s / 2


def test_many_rows_sorted_by_class_are_timed_by_a_part_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []

    def noted(engine: object, job: object) -> None:
        seen.append(set(engine.setup.dataset.target.tolist()))  # type: ignore[attr-defined]
        assert engine.setup.dataset.n_rows <= ROWS  # type: ignore[attr-defined]

    monkeypatch.setattr("foldtune.search.forecast._train", noted)
    forecast(_plan(9000), workers=1)
    assert seen == [{0, 1, 2}] * 2


def test_a_net_that_does_not_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(300)
    monkeypatch.setattr("foldtune.train.fold_trainer.FoldTrainer.train_epoch", lambda self, epoch: 1 / 0)
    with pytest.raises(TrainingError, match="trial 0 cannot be trained: ZeroDivisionError: division by zero"):
        forecast(plan, workers=1)
