"""A study's own folder, the folder of its data, and the working folder may be three."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def foldtune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from foldtune.cli.main import main; main()"
    command = [sys.executable, "-c", code, *arguments, "--workers", "0"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_modules_stand_beside_the_study_file_and_data_wherever_the_user_says(tmp_path: Path) -> None:
    home, data, work = (tmp_path / name for name in ("home", "data", "work"))
    for folder in (home, data, work):
        folder.mkdir()
    (home / "study.yaml").write_text(STUDY, encoding="utf-8")
    (home / "my_net.py").write_text(NET, encoding="utf-8")
    (home / "first.yaml").write_text("- {model.width: 4}\n", encoding="utf-8")
    rows = "".join(f"{n},{n % 7},{'ab'[n % 2]}\n" for n in range(40))
    (data / "rows.csv").write_text(f"u,v,y\n{rows}", encoding="utf-8")

    run = foldtune(work, "run", "../home/study.yaml", "--data", "../data")
    assert run.returncode == 0, run.stderr
    (home / "study.yaml").unlink()
    assert "`--allow-import my_net`" in foldtune(work, "resume", "apart", "--trials", "2").stderr
    mine = ("--allow-import", "my_net")
    resume = foldtune(work, "resume", "apart", "--trials", "2", *mine)
    assert resume.returncode == 0, resume.stderr
    assert "2 of 2 trials" in resume.stdout
    moved = data.rename(tmp_path / "moved")
    assert "`--data DIR` names another folder" in foldtune(work, "resume", "apart", "--trials", "3", *mine).stderr
    resume = foldtune(work, "resume", "apart", "--trials", "3", "--data", str(moved), *mine)
    assert resume.returncode == 0, resume.stderr
