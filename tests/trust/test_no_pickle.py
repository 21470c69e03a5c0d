"""No pickle is ever loaded: none of our sources can, and one that is planted where something is read does not run.

The one exception are the pipes of `multiprocessing` between a search and the training processes that it started itself:
both ends are our own, and nothing that was read from a file or a database crosses them as a pickle.
"""

import ast
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foldtune as package
from foldtune.errors import StoreError
from foldtune.store import codec
from tests.conftest import Command
from tests.trust.conftest import Database

SOURCES = sorted(Path(package.__file__).parent.rglob("*.py"))

MODULES = frozenset(
    "pickle cPickle _pickle dill cloudpickle marshal shelve joblib copyreg jsonpickle pandas.io.pickle".split()
)
FUNCTIONS = frozenset("read_pickle to_pickle load_inline unsafe_load full_load".split())
BUILT_IN = frozenset("eval exec compile __import__".split())
MUST_SAY = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
NEVER = frozenset({"yaml.load", "yaml.load_all", "joblib.load", "torch.hub.load", "torch.jit.load", "torch.package"})


class Bomb:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.canary,)


def faults(source: str) -> Iterator[str]:
    """What of a module could load a pickle, or run a text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            above = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name for name in [*names, *above, *(f"{up}.{name}" for up in above for name in names)]}
            yield from (f"import {name}" for name in found if name in MODULES or name.partition(".")[0] in MODULES)
            yield from (
                f"import {name}" for name in names if above and name in FUNCTIONS | {"load"} and _is_risky(above)
            )
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.rpartition(".")[2] in FUNCTIONS or name.removeprefix("builtins.") in BUILT_IN:
                yield name
            if name in NEVER or (name in MUST_SAY and MUST_SAY[name] not in _said(node)):
                yield name


def _is_risky(above: list[str]) -> bool:
    return above[0].partition(".")[0] in ("torch", "numpy", "yaml", "joblib")


def _said(call: ast.Call) -> list[tuple[str | None, Any]]:
    return [(key.arg, key.value.value) for key in call.keywords if isinstance(key.value, ast.Constant)]


@pytest.mark.parametrize("file", SOURCES, ids=[str(file.relative_to(SOURCES[0].parents[0])) for file in SOURCES])
def test_no_source_can_load_a_pickle(file: Path) -> None:
    assert list(faults(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "def f():\n    import dill.source",
        "from pandas.io import pickle",
        "import joblib",
        "from torch import load",
        "from numpy import load",
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "import torch\ntorch.load(f, weights_only=flag)",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "pd.read_pickle(f)",
        "exec(text)",
        "eval(text)",
        "__import__(name)",
    ],
)
def test_the_walk_sees_it(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source", ["torch.load(f, weights_only=True)", "np.load(f, allow_pickle=False)", "json.loads(t)"]
)
def test_the_walk_lets_go(source: str) -> None:
    assert not list(faults(source))


def hostile_arrays(canary: Path) -> dict[str, bytes]:
    """Files that NumPy would unpickle if it were allowed to, by name."""
    bombs = np.empty(150, dtype=object)
    bombs[:] = [Bomb(canary)] * 150
    lone, packed = io.BytesIO(), io.BytesIO()
    np.save(lone, bombs, allow_pickle=True)
    np.savez(packed, X=bombs, y=bombs)
    return {"a.npy": lone.getvalue(), "a.npz": packed.getvalue(), "b.npz": pickle.dumps(Bomb(canary))}


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "b.npz"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_pickled_data_do_not_run(foldtune: Command, canary: Path, command: str, name: str) -> None:
    for file, content in hostile_arrays(canary).items():
        Path(file).write_bytes(content)
    target = "target: a.npy, " if name == "a.npy" else ""
    Path("study.yaml").write_text(f"name: a\ndata: {{arrays: {name}, {target}task: regression}}\nmodel: MLP\n")
    code, err, _ = foldtune(command, "study.yaml")
    assert code == 2 and "study.yaml:2: data" in err and "pickle" in err
    assert not canary.exists()


def test_a_pickled_table_is_no_table(foldtune: Command, canary: Path) -> None:
    for name in ("t.csv", "t.parquet", "t.pkl", "t.csv.gz"):
        Path(name).write_bytes(pickle.dumps(Bomb(canary)))
        Path("study.yaml").write_text(f"name: a\ndata: {{table: {name}, target: y}}\nmodel: MLP\n")
        code, err, _ = foldtune("check", "study.yaml")
        assert code == 2 and "data.ta" in err
    assert not canary.exists()


@pytest.mark.parametrize(("table", "column"), [("studies", "locked"), ("folds", "train"), ("folds", "valid")])
@pytest.mark.parametrize("command", ["resume", "show"])
def test_pickled_rows_of_a_study_do_not_run(
    database: Database, foldtune: Command, canary: Path, table: str, column: str, command: str
) -> None:
    database.write(table, column, pickle.dumps(Bomb(canary)))
    code, err, _ = foldtune(command, "victim")
    assert code == 2 and "a stored array must be whole" in err
    assert not canary.exists()


@pytest.mark.parametrize("column", ["scores", "chosen"])
@pytest.mark.parametrize("command", [("resume", "victim"), ("show", "victim"), ("trial", "victim", "0")])
def test_pickled_rows_of_a_trial_do_not_run(
    database: Database, foldtune: Command, canary: Path, column: str, command: tuple[str, ...]
) -> None:
    database.write("trials", column, pickle.dumps(Bomb(canary)))
    code, err, _ = foldtune(*command)
    assert code == 2 and "a stored array must be whole" in err
    assert not canary.exists()


@pytest.mark.parametrize(
    ("table", "column"),
    [("studies", "spec"), ("studies", "versions"), ("trials", "config"), ("trials", "attrs"), ("trials", "failure")],
)
def test_a_pickle_in_place_of_a_tree_does_not_run(
    database: Database, foldtune: Command, canary: Path, table: str, column: str
) -> None:
    for text in (pickle.dumps(Bomb(canary), protocol=0).decode("latin-1"), pickle.dumps(Bomb(canary)).hex()):
        database.write(table, column, text)
        code, err, _ = foldtune("resume", "victim", "--trials", "3", "--workers", "0")
        assert code == 2 and "stored JSON must be whole" in err
    assert not canary.exists()


@pytest.mark.parametrize("key", ["cma:optimizer:0", "sepcma:optimizer:0", "cmawm:optimizer:0"])
def test_what_cma_es_would_unpickle_is_refused(database: Database, foldtune: Command, canary: Path, key: str) -> None:
    database.plant("search", "sampler", value={"use": "CmaEsSampler", "n_startup_trials": 1})
    database.plant(key, value=pickle.dumps(Bomb(canary)).hex(), table="trials", column="attrs")
    code, err, _ = foldtune("resume", "victim", "--trials", "4", "--workers", "0")
    assert code == 2 and f"and no pickle, however: {key}." in err
    assert not canary.exists()


def test_arrays_of_objects_cannot_even_be_stored(canary: Path) -> None:
    with pytest.raises(StoreError, match="a stored array must be one of"):
        codec.encode(np.array([Bomb(canary)], dtype=object))
    blob = codec.encode(np.zeros(1)).replace(b"<f8", b"|O\0")
    with pytest.raises(StoreError, match="a stored array must be whole"):
        codec.decode(blob)


def test_the_bomb_is_one(canary: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(canary)))
    assert canary.exists()
