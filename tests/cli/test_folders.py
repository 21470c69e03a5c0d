"""A study's own folder, the folder of its data, and the working folder may be three."""

import sys
from pathlib import Path

import pytest

from tests.conftest import Command

STUDY = """\
name: apart
data: {table: rows.csv, target: y}
model: {use: "my_net:Net", width: {int: [2, 4]}}
training: {epochs: 1}
search: {trials: 1, enqueue: first.yaml}
"""

NET = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self, in_features: int, out_features: int, width: int) -> None:
        super().__init__(nn.Linear(in_features, width), nn.Linear(width, out_features))
"""


def test_modules_stand_beside_the_study_file_and_data_wherever_the_user_says(
    tmp_path: Path, foldtune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        """A command in the working folder that knows nothing of those before."""
        sys.modules.pop("my_net", None)
        with monkeypatch.context() as own:
            own.setattr(sys, "path", list(sys.path))
            return foldtune(*arguments, "--workers", "0")

    home, data, work = (tmp_path / name for name in ("home", "data", "work"))
    for folder in (home, data, work):
        folder.mkdir()
    (home / "study.yaml").write_text(STUDY, encoding="utf-8")
    (home / "my_net.py").write_text(NET, encoding="utf-8")
    (home / "first.yaml").write_text("- {model.width: 4}\n", encoding="utf-8")
    rows = "".join(f"{n},{n % 7},{'ab'[n % 2]}\n" for n in range(40))
    (data / "rows.csv").write_text(f"u,v,y\n{rows}", encoding="utf-8")
    monkeypatch.chdir(work)

    code, err, _ = run("run", "../home/study.yaml", "--data", "../data")
    assert code == 0, err
    (home / "study.yaml").unlink()
    assert "`--allow-import my_net`" in " ".join(run("resume", "apart", "--trials", "2")[1].split())
    mine = ("--allow-import", "my_net")
    code, err, out = run("resume", "apart", "--trials", "2", *mine)
    assert code == 0, err
    assert "2 of 2 trials" in out
    moved = data.rename(tmp_path / "moved")
    refused = run("resume", "apart", "--trials", "3", *mine)[1]
    assert "`--data DIR` names another folder" in " ".join(refused.split())
    code, err, _ = run("resume", "apart", "--trials", "3", "--data", str(moved), *mine)
    assert code == 0, err
