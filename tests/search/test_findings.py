"""What a search leaves behind when it ends: stored once, with the trial it is about."""

from typing import Any

import numpy as np
import pytest

from foldtune.search import findings
from foldtune.search.latency import latency
from foldtune.search.plan import make_plan
from foldtune.search.run import run_study
from foldtune.spec.load import load_spec
from foldtune.store.store import Store
from tests.report.test_score import shown


def study_of(**sections: Any) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(60, 3))
    return {
        "name": "made",
        "data": {"arrays": {"X": x, "y": x.sum(axis=1) + 0.1 * x[:, 0] ** 2}, "task": "regression"},
        "model": {"use": "MLP", "d_block": {"int": [2, 40]}},
        "training": {"epochs": 2},
        **sections,
    }


def test_a_regression_has_an_interval_of_its_values_and_the_quickest_net(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = study_of(search={"trials": 10, "confirm": 1, "prefer": "latency"})
    result = run_study(tree, storage=sqlite_url, workers=0)
    confirmed, calibrated = (result.finding(kind) for kind in ("confirmation", "calibration"))
    assert confirmed is not None and calibrated is not None
    preferred, ranked = confirmed.content["preferred"], confirmed.content["ranked"]
    assert preferred["by"] == "latency" and set(preferred["costs"]) == {str(one["number"]) for one in ranked}
    assert all(0 < cost < 1 for cost in preferred["costs"].values())
    assert calibrated.trial == confirmed.content["winner"] and calibrated.content["half_width"][0] > 0
    out = shown(result)
    assert "prefer latency" in out and "90% of values" in out and "only the interval counts" in out.lower()

    def again(*_: object) -> float:
        raise AssertionError("measured again")

    monkeypatch.setattr(findings, "latency", again)
    assert run_study(tree, storage=sqlite_url, workers=0).findings == result.findings


def test_answers_that_memory_does_not_hold_are_not_read(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MOST_BYTES", 2 * 60 * 8 - 1)
    score = run_study(study_of(search={"trials": 2}), storage=sqlite_url, workers=0).finding("score")
    assert score is not None and score.content["method"] == "fold correction"
    assert "GiB of memory" in score.content["reason"]


def test_answers_are_read_again_only_where_something_has_changed(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    read = Store.answers

    def noted(store: Store, uuid: str, repeat: int = 0, *, trial: int | None = None) -> Any:
        asked.append(trial)
        return read(store, uuid, repeat, trial=trial)

    monkeypatch.setattr(Store, "answers", noted)
    tree = study_of(search={"trials": 2, "confirm": 0})
    first = run_study(tree, storage=sqlite_url, workers=0)
    best = first.best
    assert best is not None and asked == [best.number, None]
    asked.clear()
    assert run_study(tree, storage=sqlite_url, workers=0).findings == first.findings
    assert asked == []
    more = run_study(study_of(search={"trials": 3, "confirm": 0}), storage=sqlite_url, workers=0)
    score, calibrated = more.finding("score"), more.finding("calibration")
    assert score is not None and calibrated is not None and more.best is not None
    assert asked[-1] is None and score.content["n_trials"] == 3 and calibrated.trial == more.best.number


def test_several_objectives_say_why_they_have_no_score(sqlite_url: str) -> None:
    tree = study_of(objective=["mean_squared_error", "mean_absolute_error"], search={"trials": 2})
    result = run_study(tree, storage=sqlite_url, workers=0)
    assert [finding.kind for finding in result.findings] == ["score"] and result.to_dict()["score"] is None
    assert "There is no honest score: a study of several objectives" in shown(result)


def test_a_large_net_takes_longer() -> None:
    plan = make_plan(load_spec(study_of(model={"use": "MLP", "d_block": {"int": [2, 2000]}})))
    small, large = ({"use": "MLP", "d_block": size} for size in (2, 2000))
    rest = {"loss": {"use": "MSELoss"}, "optimizer": {"use": "AdamW"}}
    assert latency(plan, {"model": small, **rest}) < latency(plan, {"model": large, **rest})
