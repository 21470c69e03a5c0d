"""The benchmark of storage: it makes the studies that it says, counts what goes wrong, and writes its page."""

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks import storage, storage_load
from benchmarks.storage import LOAD_COLUMNS, QUICK, SCALE_COLUMNS, document
from benchmarks.storage_fill import fill, make_study
from benchmarks.storage_load import Load, Outcome
from benchmarks.storage_scale import Scale
from foldtune.search.loop import Search
from foldtune.search.study import open_study
from foldtune.store.store import Store


def scale(**changes: Any) -> Scale:
    figures = dict.fromkeys(Scale.__annotations__, 0.25) | {"trials": 7, "dashboard_bytes": 2500, "own_bytes": 3000}
    return Scale(**(figures | changes))


def test_a_study_that_was_filled_can_be_searched_on(sqlite_url: str, tmp_path: Path) -> None:
    plan = make_study(8, epochs=3)
    fill(sqlite_url, plan, 3)
    fill(sqlite_url, plan, 6)
    with closing(Store(sqlite_url)) as store:
        with closing(open_study(plan, store, workers=1, artifacts=str(tmp_path))) as study:
            assert [trial.epochs for trial in study.trials.values()] == [3] * 6
            Search(study, storage_load.NoPool(plan)).run()
        trials = store.trials(store.study(plan.spec.name).uuid)
        assert len({tuple(trial.params.items()) for trial in trials}) == 8
        assert {(trial.state, trial.epochs) for trial in trials} == {("complete", 3)}
        for trial in trials:
            assert store.curves(store.study(plan.spec.name).uuid, trial.number).scores.shape == (3, 5, 3)


def test_the_page_holds_every_figure() -> None:
    load = Load("postgresql", workers=32, trials=100)
    rounds: Mapping[Any, Any] = {
        "foldtune": [Outcome(2.0, 1.0, 100, 0), Outcome(6.0, 1.0, 100, 1)],
        "Optuna": [Outcome(4.0, 2.0, 100, 0), Outcome(8.0, 2.0, 50, 3)],
    }
    text = document([scale()], [(load, rounds)], 50, "the command")
    assert "| 7 | 250.0 | 250.0 | 250.0 | 250.0 | 250.0 | 0.25 | 0.25 | 250 | 250 | 2 | 3.0 | 0.0 |" in text
    assert "| postgresql | 32 | RandomSampler | 100 | foldtune | 33.3 | 40.0 | 10.0 | 0.44 | 1 |" in text
    assert "| postgresql | 32 | RandomSampler | 100 | Optuna | 15.6 | 100.0 | 30.0 | 1.00 | 3 |" in text
    assert "- Command: `the command`" in text


def test_rows_that_are_missing_are_no_figure(sqlite_url: str) -> None:
    load = Load("sqlite", workers=1, trials=3)
    fill(sqlite_url, load.plan(), 2)
    with pytest.raises(RuntimeError, match="2 of 3 trials"):
        storage_load._check(load, sqlite_url)


def test_it_runs(tmp_path: Path) -> None:
    page = tmp_path / "STORAGE.md"
    storage.main(["--quick", "--output", str(page)])
    text = page.read_text(encoding="utf-8")
    assert f"| {' | '.join(SCALE_COLUMNS)} |" in text and f"| {' | '.join(LOAD_COLUMNS)} |" in text
    assert re.findall(r"^\| (\d+) \| \d+\.\d \|", text, re.MULTILINE) == ["4", "8"]
    (load,) = QUICK
    rows = re.findall(r"^\| sqlite \| 2 \| RandomSampler \| 8 \| (.*?) \| .* \| (\d+) \|$", text, re.MULTILINE)
    assert rows == [(who, "0") for who in load.contenders]
