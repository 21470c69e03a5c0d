"""`foldtune test` and `run --nested` on the command line: exit codes, documents, and what is said in red."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note
from typer.testing import CliRunner, Result

from foldtune.cli.main import app
from foldtune.errors import RequestError

STUDY = """\
name: {name}
data: {{use: iris{data}}}
validation: {{use: StratifiedKFold, n_splits: 3}}
model: {{use: MLP, d_block: {{int: [4, 8]}}}}
training: {{epochs: 2}}
search: {{trials: 2, confirm: 0{search}}}
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def write(name: str, data: str = "", search: str = "") -> str:
    Path(f"{name}.yaml").write_text(STUDY.format(name=name, data=data, search=search))
    return f"{name}.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished study that has locked rows."""
    folder = tmp_path_factory.mktemp("audits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = invoke("run", write("small", ", test_fraction: 0.2"), "--workers", "0")
        assert done.exit_code == 0 and "foldtune test small" in done.stdout, done.output
        yield folder


def audits(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(invoke("show", name, "--json").stdout)["audits"]
    return found


def note(name: str) -> str:
    """What optuna-dashboard shows of a study."""
    return str(get_note(optuna.load_study(study_name=name, storage="sqlite:///foldtune.db")))


def test_a_test_is_printed_recorded_and_shown(folder: Path) -> None:
    assert audits("small") == []
    done = invoke("test", "small", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["format"], document["study"], document["finding"], document["looks"]) == (1, "small", "test", 1)
    assert document["n_rows"] == 30 and document["n_train"] == 120 and document["void"] is None
    assert audits("small") == [{key: value for key, value in document.items() if key not in ("format", "study")}]
    shown = " ".join(invoke("show", "small").stdout.split())
    assert "Locked test log_loss" in shown and "95% interval" in shown and "at these rows" not in shown
    assert "trained on 120 rows for" in shown and "one seed; scored on 30 rows" in shown
    assert "**locked test**" in note("small")
    refused = invoke("test", "small", "--trial", "0")
    assert isinstance(refused.exception, RequestError) and "Add --again" in str(refused.exception)
    again = invoke("test", "small", "--again", "--explain")
    assert again.exit_code == 0 and "look 2 at these rows" in again.stdout
    assert "It is looked at once; a second look is recorded." in " ".join(again.stdout.split())
    assert [audit["looks"] for audit in audits("small")] == [1, 2]


def test_a_study_without_locked_rows_is_not_tested(folder: Path) -> None:
    assert invoke("run", write("open"), "--workers", "0").exit_code == 0
    refused = invoke("test", "open")
    assert isinstance(refused.exception, RequestError)  # exit code 2
    assert "rows must be locked away for a test. Write `test_fraction: 0.2`" in str(refused.exception)


def test_a_void_test_says_so_and_ends_well(folder: Path) -> None:
    assert invoke("run", write("first"), "--trials", "3", "--workers", "0").exit_code == 0
    (folder / "first.json").write_text(invoke("show", "first", "--json").stdout)
    warm = write("warm", ", test_fraction: 0.2", ", enqueue: first.json")
    assert invoke("run", warm, "--workers", "0").exit_code == 0
    done = CliRunner().invoke(app, ["test", "warm", "--again"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert re.search(r"void: it began with parameters that trial \d of \w+ found on the same rows", done.stdout)


def test_nested_says_its_cost_and_is_shown(folder: Path) -> None:
    done = invoke("run", write("outer"), "--nested", "2", "--workers", "0")
    assert done.exit_code == 0, done.output
    assert "Nested: 2 searches beside this one, about 2 x the search: at most" in done.stderr
    assert "Nested, 2 outer folds log_loss" in " ".join(done.stdout.split())
    again = invoke("run", "outer.yaml", "--nested", "2", "--workers", "0", "--json")
    document = json.loads(again.stdout)
    assert [audit["finding"] for audit in document["audits"]] == ["nested"] and document["audits"] == audits("outer")
    assert document["audits"][0]["n_rows"] == 150 and len(document["audits"][0]["fold_scores"]) == 2
    assert "**nested**" in note("outer") and "**locked test**" in note("outer.nested-1-of-2")
    names = [study["name"] for study in json.loads(invoke("list", "--json").stdout)]
    assert {"outer", "outer.nested-1-of-2", "outer.nested-2-of-2"} <= set(names)


def test_options_that_do_not_go_together_are_refused(folder: Path) -> None:
    for arguments, said in (
        (("--nested", "1"), "Input should be greater than or equal to 2"),
        (("--again",), "`--again` is for `--nested`"),
        (("--nested", "2", "--launcher", "ray"), "`--nested` runs in this process"),
    ):
        done = CliRunner().invoke(app, ["run", "small.yaml", *arguments], env={"COLUMNS": "200"})
        assert done.exit_code == 2 and said in done.stderr, done.stderr
