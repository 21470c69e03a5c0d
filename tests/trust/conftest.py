"""A study in a database that an attacker can write."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from foldtune.search.run import run_study
from tests.conftest import Command

TREE = {
    "name": "victim",
    "data": {"use": "iris"},
    "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 8]}},
    "training": {"epochs": 2},
    "search": {"trials": 2},
}


class Database(NamedTuple):
    """A SQLite file with the study `victim`, and ways to write into it behind foldtune's back."""

    file: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    def write(self, table: str, column: str, value: Any) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(f"UPDATE foldtune_{table} SET {column} = ?", (value,))

    def read(self, table: str, column: str) -> Any:
        with closing(sqlite3.connect(self.file)) as connection:
            return connection.execute(f"SELECT {column} FROM foldtune_{table}").fetchone()[0]

    def plant(self, *path: str | int, value: Any, table: str = "studies", column: str = "spec") -> None:
        """Put a value into a stored tree."""
        tree = json.loads(self.read(table, column))
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        node[path[-1]] = value
        self.write(table, column, json.dumps(tree))


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "study.db"
    run_study(TREE, storage=f"sqlite:///{file}", workers=0)
    return file


@pytest.fixture
def database(_template: Path, tmp_path: Path) -> Database:
    return Database(Path(shutil.copy(_template, tmp_path / "study.db")))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that hostile code would create."""
    return tmp_path / "canary"


@pytest.fixture
def foldtune(foldtune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command line in the database's folder."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("FOLDTUNE_STORAGE", f"sqlite:///{tmp_path / 'study.db'}")
    return foldtune
