"""`foldtune check`: doubts are printed with their places, and drift when it is asked for."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from foldtune.cli.main import app
from foldtune.errors import DataError

STUDY = """\
name: checked
data: {table: own.csv, target: y, task: classification, test: test.csv}
model: {use: MLP, n_blocks: 1, d_block: 4}
training: {epochs: 1}
search: {trials: 1}
"""


def table(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.RandomState(seed)
    columns = {"a": random.standard_normal(rows), "b": random.standard_normal(rows) + shift}
    return pd.DataFrame(columns).assign(c=random.choice(["u", "v"], rows), y=np.arange(rows) % 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    table(60, 0).to_csv("own.csv", index=False)
    table(40, 1, shift=3.0).to_csv("test.csv", index=False)
    table(40, 2).drop(columns="y").to_csv("new.csv", index=False)
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", "study.yaml", *arguments])


def test_good_data_give_no_warnings(folder: Path) -> None:
    document = json.loads(check("--json").stdout)
    assert document["warnings"] == [] and document["drift"] is None
    assert "warning" not in check().stdout


def test_warnings_have_a_place_and_say_what_to_do(folder: Path) -> None:
    own = table(60, 0)
    own.assign(paid=own.y).to_csv("own.csv", index=False)
    own.assign(paid=own.y).iloc[:7].to_csv("test.csv", index=False)
    found = json.loads(check("--json").stdout)["warnings"]
    assert [warning["path"] for warning in found] == ["data.target", "data.test"]
    assert "`paid` alone takes away 100.0% of the error" in found[0]["message"]
    printed = " ".join(check().stdout.split())
    assert "warning: study.yaml:2: data.target: no column should tell the target by itself" in printed
    assert "7 of 7 locked rows do, 0 of them with another target. Nets may recall such rows" in printed


def test_drift_of_the_test_file(folder: Path) -> None:
    drift = json.loads(check("--drift", "--json").stdout)["drift"]
    assert drift["auc"] > 0.9 and drift["p_value"] == 0.002 and drift["rows"] == [60, 40]
    assert drift["columns"][0][0] == "b"
    printed = " ".join(check("--drift", "--explain").stdout.split())
    assert "Source: Lopez-Paz and Oquab 2017" in printed and "Source: measured on this machine" in printed
    assert "the 40 other rows can be told from 60 of the study (AUC 0.9" in printed
    assert "most by b (0.9" in printed and "Nothing was left out" in printed


def test_drift_of_another_file_needs_no_target(folder: Path) -> None:
    printed = " ".join(check("--against", "new.csv").stdout.split())
    assert "the 40 other rows cannot be told from 60 of the study" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--against", "gone.csv"), r"--against: the file must exist"),
        (("--against", "study.yaml"), r"--against: "),
        (("--drift", "--set", "data.test=null"), r"data\.test_fraction: rows must be locked away"),
        (("--set", "data.test=new.csv"), r"data\.test: the file must have the columns .* it lacks `y`"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = check(*arguments)
    assert isinstance(result.exception, DataError) and result.exit_code
    with pytest.raises(DataError, match=message):
        raise result.exception
