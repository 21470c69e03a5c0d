"""Every block of the README runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foldtune.cli.main import app
from foldtune.spec.load import load_spec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_study_file_has_the_right_shape(tmp_path: Path) -> None:
    (yaml,) = blocks("yaml")
    (tmp_path / "study.yaml").write_text(yaml, encoding="utf-8")
    assert load_spec(tmp_path / "study.yaml").spec.name == "adult"


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "foldtune.db").exists()


def test_every_command_of_the_table_exists() -> None:
    commands = re.findall(r"^\| `foldtune (\w+)", README, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_picture_exists_and_names_no_host() -> None:
    (picture,) = re.findall(r"!\[.*?\]\((.*?)\)", README)
    text = (ROOT / picture).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_the_command_is_on_the_path() -> None:
    command = shutil.which("foldtune", path=str(Path(sys.executable).parent))
    assert command is not None
    out = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=300).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", out)
