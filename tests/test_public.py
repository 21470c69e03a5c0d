"""What users may rely on: names, imports, and what importing costs."""

import json
import subprocess
import sys

import pytest

import foldtune

NAMES = [
    "DataError",
    "FoldtuneError",
    "RequestError",
    "ResumeError",
    "SpecError",
    "StoreError",
    "StudyResult",
    "TrainingError",
    "load_spec",
    "load_study",
    "resume_study",
    "run_study",
    "__version__",
]

HEAVY = {"torch", "torchvision", "optuna", "sklearn", "pandas", "sqlalchemy", "numpy", "ruamel"}
"""pydantic is not among them: typer itself imports it for a command's help."""


def imported(*command: str) -> set[str]:
    """Top-level modules that a Python command imports."""
    code = f"""
import json, sys
sys.argv = {list(command)!r}
try:
    from foldtune.cli.main import main
    main()
except SystemExit:
    pass
print()
print(json.dumps(sorted({{module.partition(".")[0] for module in sys.modules}})))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout
    return set(json.loads(out.splitlines()[-1]))


def test_exported_names() -> None:
    assert foldtune.__all__ == NAMES
    assert all(getattr(foldtune, name) is not None for name in NAMES)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run_studi'"):
        foldtune.run_studi  # noqa: B018


@pytest.mark.parametrize("command", [("--help",), ("run", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    assert not imported("foldtune", *command) & HEAVY


def test_looking_at_a_study_needs_no_torch() -> None:
    assert "torch" not in imported("foldtune", "list", "--storage", "sqlite:///missing.db")


def test_importing_foldtune_imports_nothing_heavy() -> None:
    code = "import sys, foldtune; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout
    assert not {name.strip("[]', \n") for name in out.split(",")} & HEAVY
