"""The command line on a small study: documents, exit codes, and what is printed where."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from foldtune.cli.list import _row
from foldtune.cli.main import app
from foldtune.search.confirm import Confirmation
from foldtune.search.numbers import number
from foldtune.spec.load import load_spec
from foldtune.store.records import StudySummary
from foldtune.values import TrialState

STUDY = """\
name: small
data: {use: iris}
model: {use: MLP, d_block: {int: [4, 8]}, activation: {choice: [ReLU, Tanh]}}
training: {epochs: 2}
search: {trials: 3}
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a study file and its finished study."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "small.yaml").write_text(STUDY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = invoke("run", "small.yaml", "--workers", "0")
        assert done.exit_code == 0, done.output
        assert "Best: trial" in done.stdout and "foldtune dashboard" in done.stdout
        yield folder


def test_run_again_changes_nothing_and_prints_the_same_document(folder: Path) -> None:
    shown = json.loads(invoke("show", "small", "--json").stdout)
    again = invoke("run", "small.yaml", "--workers", "0", "--json")
    assert again.exit_code == 0 and json.loads(again.stdout) == shown
    assert shown["budget"] == {"trials": 3, "finished": 3}
    assert shown["best"]["value"] == min(trial["value"] for trial in shown["trials"])


def test_resume_takes_the_budget_as_a_total(folder: Path) -> None:
    done = invoke("resume", "small", "--trials", "4", "--workers", "0", "--json")
    assert done.exit_code == 0 and len(json.loads(done.stdout)["trials"]) == 4


def test_resume_refuses_what_may_not_change(folder: Path) -> None:
    from foldtune.errors import ResumeError

    done = invoke("resume", "small", "--set", "training.epochs=3", "--workers", "0")
    assert isinstance(done.exception, ResumeError)
    assert "training.epochs: the stored study has 2, however: 3." in str(done.exception)


def test_fork_starts_another_study(folder: Path) -> None:
    done = invoke("run", "small.yaml", "--fork", "other", "--set", "training.epochs=1", "--workers", "0", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["study"] == "other"
    names = [study["name"] for study in json.loads(invoke("list", "--json").stdout)]
    assert names == ["small", "other"]


def test_list_and_trial_show_what_is_stored(folder: Path) -> None:
    listed = invoke("list").stdout
    best = json.loads(invoke("list", "--json").stdout)[0]["best"]
    assert "small" in listed and "naive best" in listed and number(best) in listed
    document = json.loads(invoke("trial", "small", "0", "--json").stdout)
    assert document["origin"] == "default" and len(document["fold_scores"]) == 5
    assert len(document["curves"]["losses"]) == document["epochs"] == 2
    out = invoke("trial", "small", "0", "--explain").stdout
    assert "exempt from pruning" in out and out.count("Source: ") == 3


def test_scores_of_any_size_are_listed_as_exactly() -> None:
    trials: dict[TrialState, int] = {"complete": 2, "pruned": 0, "failed": 0}
    for best, shown in ((2934.512, "2934.5"), (0.000012, "1.200e-05"), (None, "")):
        assert shown in _row(StudySummary("a", datetime.now(UTC), trials, best, ("minimize",), 9))


def test_show_prints_a_row_for_each_of_the_top(folder: Path) -> None:
    out = invoke("show", "small", "--top", "1").stdout
    assert out.count("complete ") == 1 and "more: foldtune show small --top 0" in out


def test_check_reports_the_study(folder: Path) -> None:
    document = json.loads(invoke("check", "small.yaml", "--json").stdout)
    assert document["rows"] == 150 and document["folds"] == 5
    assert document["parameters"] == ["model.d_block", "model.activation", "optimizer.lr", "optimizer.weight_decay"]
    assert document["net_parameters"]["fewest"] <= document["net_parameters"]["default"]
    out = " ".join(invoke("check", "small.yaml").stdout.split())
    assert "small.yaml is good." in out and "3 classes" in out
    for use, said in (("diabetes", "1 number to predict"), ("linnerud", "3 numbers to predict")):
        done = invoke("check", "small.yaml", "--set", f"data.use={use}", "--set", "validation.use=KFold")
        assert said in " ".join(done.stdout.split()), done.output


def test_schema_accepts_the_study(folder: Path) -> None:
    schema = json.loads(invoke("schema").stdout)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(dict(load_spec(folder / "small.yaml").tree))


def test_set_replaces_a_part_of_the_study(folder: Path) -> None:
    done = invoke("check", "small.yaml", "--set", "model.activation=GELU", "--json")
    assert "model.activation" not in json.loads(done.stdout)["parameters"]


def test_engine_and_cohort_are_options_and_the_engine_is_shown(folder: Path) -> None:
    options = ("--engine", "lockstep", "--cohort", "1", "--trials", "1", "--fork", "plain")
    done = invoke("run", "small.yaml", *options, "--workers", "0", "--json")
    assert done.exit_code == 0, done.output
    assert [trial["engine"] for trial in json.loads(done.stdout)["trials"]] == ["lockstep"]
    again = invoke("run", "small.yaml", "--fork", "plain", "--trials", "1", "--workers", "0", "--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert json.loads(invoke("trial", "plain", "0", "--json").stdout)["engine"] == "lockstep"
    assert " s, lockstep" in " ".join(invoke("trial", "plain", "0").stdout.split())
    refused = invoke("run", "small.yaml", "--fork", "plain", "--cohort", "2", "--trials", "1", "--workers", "0")
    assert "command line: search.cohort: the stored study has 1, however: 2." in str(refused.exception)
    wrong = invoke("run", "small.yaml", "--engine", "fast", "--workers", "0")
    assert "search.engine: this must be 'auto', 'packed' or 'lockstep', however: 'fast'." in str(wrong.exception)


def test_an_interruption_outside_a_search_is_told_and_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("foldtune.cli.check.check", interrupted)
    done = invoke("check", "small.yaml")
    assert done.exit_code == 130
    assert done.stderr == "Interrupted. What was stored is kept; the same command goes on.\n"


def test_an_interrupted_confirmation_is_called_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Confirmation, "run", lambda self: False)
    done = invoke("run", "small.yaml", "--fork", "stopped", "--workers", "0", "--storage", "sqlite:///stopped.db")
    assert done.exit_code == 130
    assert "Interrupted while confirming; 3 of 3 trials are saved." in done.stderr
    shown = CliRunner().invoke(app, ["show", "stopped", "--top", "1", "--storage", "sqlite:///stopped.db"])
    assert "and 2 more: foldtune show stopped --top 0 --storage sqlite:///stopped.db" in shown.stdout
