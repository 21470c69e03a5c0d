"""What is said before training about data, folds and metrics that make scores say less than they seem to."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.errors import DataError
from foldtune.search.doubts import documents, doubts
from foldtune.search.plan import Plan, make_plan
from foldtune.search.run import run_study
from foldtune.spec.load import read_spec


def frame(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Noise, to which tests add what is doubtful."""
    random = np.random.RandomState(seed)
    table = pd.DataFrame(random.standard_normal((rows, 2)), columns=["a", "b"])
    return table.assign(y=random.permutation(np.arange(rows) % 2))


def plan(table: pd.DataFrame, data: Any = (), folder: Path | None = None, **sections: Any) -> Plan:
    tree = {
        "name": "doubts",
        "data": {"table": table, "target": "y", "task": "classification", **dict(data)},
        "model": {"use": "MLP", "n_blocks": 1, "d_block": 4},
        "training": {"epochs": 1},
    }
    return make_plan(read_spec({**tree, **sections}, folder=folder))


def said(*arguments: Any, **sections: Any) -> dict[str, str]:
    """Doubts by path."""
    return {".".join(map(str, doubt.path)): doubt.text() for doubt in doubts(plan(*arguments, **sections))}


def test_of_plain_data_nothing_is_said() -> None:
    assert said(frame()) == {}


def test_a_time_splitter_asks_for_the_time() -> None:
    split = {"validation": {"use": "TimeSeriesSplit", "n_splits": 3}}
    told = said(frame(), **split)["validation"]
    assert "a time splitter should know when the rows are from, however: no `data.time` column." in told
    assert said(frame().assign(t=range(60)), {"time": "t"}, **split) == {}


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes", "own_module"])
def test_nothing_is_said_of_the_bundled_studies(name: str) -> None:
    studies = Path(__file__).parents[2] / "studies"
    assert doubts(make_plan(read_spec(studies / f"{name}.yaml"))) == []


def test_repeated_rows_are_counted_by_their_numbers_in_the_file() -> None:
    table, locked = frame(), {"test_fraction": 0.2}
    before = plan(table, locked, validation={"use": "KFold", "shuffle": False})
    rows = np.setdiff1d(np.arange(60), before.locked)
    twins = [rows[4], rows[-4]]  # in the first fold and in the last
    table.loc[twins[0], ["a", "b"]] = table.loc[twins[1], ["a", "b"]]
    table.loc[twins, "y"] = [1, 0]
    after = plan(table, locked, validation={"use": "KFold", "shuffle": False})
    rows = np.setdiff1d(np.arange(60), after.locked)
    there = [row in rows for row in twins]
    found = said(table, locked, validation={"use": "KFold", "shuffle": False})
    assert all(there) and set(found) == {"validation"}
    assert "2 of 48 rows do, 2 of them with another target" in found["validation"]
    assert f"such as rows {twins[0]} and {twins[1]} (counted from 0)" in found["validation"]


def test_a_leaking_column_is_named() -> None:
    table = frame(200)
    found = said(table.assign(paid=np.where(table.y == 1, "yes", "no")))
    assert set(found) == {"data.target"}
    assert "`paid` alone takes away 100.0% of the error" in found["data.target"]
    assert "leave it out with `data.drop`" in found["data.target"]
    assert said(table.assign(paid=np.where(table.y == 1, "yes", "no")), {"drop": ["paid"]}) == {}


def test_few_groups_are_doubtful() -> None:
    table = frame(80)
    few = said(table.assign(g=np.arange(80) % 8), {"group": "g"}, validation={"use": "GroupKFold", "n_splits": 4})
    assert "20 groups or more, and two or more in every fold, however: 8 groups in 4 folds" in few["data.group"]
    many = table.assign(g=np.arange(80) // 2)
    assert said(many, {"group": "g"}) == {}
    assert "data.group" in said(many, {"group": "g"}, validation={"use": "GroupKFold", "n_splits": 25})
    assert "data.group" not in said(many, {"group": "g"}, validation="LeaveOneGroupOut")


def test_a_test_file_with_development_rows_is_doubtful(tmp_path: Path) -> None:
    table = frame().assign(g=np.arange(60) // 2)
    test = pd.concat([table.iloc[:3], frame(5, seed=1).assign(g=99)])
    test.to_csv(tmp_path / "test.csv", index=False, float_format="%.17g")
    found = said(table, {"test": "test.csv", "group": "g"}, tmp_path)
    assert set(found) == {"data.test"} and "2 groups have both" in found["data.test"]
    found = said(table, {"test": "test.csv", "drop": ["g"]}, tmp_path)
    assert "3 of 8 locked rows do, 0 of them with another target" in found["data.test"]


def test_a_test_file_before_the_other_rows_is_doubtful(tmp_path: Path) -> None:
    frame(6, seed=1).assign(t=range(57, 63)).to_csv(tmp_path / "test.csv", index=False)
    found = said(frame().assign(t=range(60)), {"test": "test.csv", "time": "t"}, tmp_path)
    assert "2 of 6 locked rows do not" in found["data.test"]


def test_metrics_that_are_only_recorded_may_be_undefined() -> None:
    found = [doubt.text() for doubt in doubts(plan(frame(40), validation="LeaveOneOut"))]
    assert len(found) == 2 and "`roc_auc` must be defined" in found[1] and "the mean of `balanced_accuracy`" in found[0]


def test_a_study_says_it_once_when_it_begins_and_keeps_it(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    table = frame(60)
    study = plan(table.assign(copy=table.y)).file
    for trials in (1, 2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "foldtune"):
            result = run_study({**study.tree, "search": {"trials": trials}}, storage=sqlite_url, workers=0)
        lines = [record.message for record in caplog.records if "`copy` alone takes away 100.0%" in record.message]
        assert len(lines) == (1 if trials == 1 else 0)
        assert result.to_dict()["warnings"] == documents(doubts(plan(table.assign(copy=table.y))))
        assert [warning["path"] for warning in result.warnings] == ["data.target"]


def test_a_wrong_test_file_is_found_before_training(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "test.csv").write_text("a,y\n1,0\n")
    file = plan(frame(), {"test": "test.csv"}, tmp_path).file
    with pytest.raises(DataError, match=r"data\.test: .* it lacks `b`"):
        run_study(file, storage=sqlite_url, workers=0)
