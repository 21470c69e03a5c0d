"""`foldtune db upgrade`, and what other commands say before it."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from foldtune.cli.main import app
from foldtune.errors import StoreError

RELEASE = Path(__file__).parents[1] / "store" / "data" / "release_0_1_0.db"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_an_old_database_is_refused_upgraded_and_read(tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(RELEASE, tmp_path)}"
    for command in (("list",), ("show", "finished"), ("resume", "finished", "--workers", "0")):
        refused = invoke(*command, "--storage", url)
        assert isinstance(refused.exception, StoreError)
        hint = f"was made by an older foldtune. Run `foldtune db upgrade --storage {url}`."
        assert hint in str(refused.exception)
    done = invoke("db", "upgrade", "--storage", url)
    assert done.exit_code == 0 and f"{url} is of this version now. New:\n  Leases and ticks" in done.stdout
    again = invoke("db", "upgrade", "--storage", url)
    assert again.exit_code == 0 and "of this version already; nothing was changed." in again.stdout
    assert "0.6919" in invoke("show", "finished", "--storage", url).stdout


def test_there_must_be_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = invoke("db", "upgrade")
    assert "there is no database at foldtune.db" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []
