"""Whole studies with real training: interrupted, killed, moved, and continued to the same numbers."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from foldtune.errors import DataError, ResumeError, SpecError, StoreError
from foldtune.search.loop import Search
from foldtune.search.result import StudyResult, load_curves
from foldtune.search.run import check_device, resume_study, run_study
from foldtune.testing.search_laws import check_same_trials
from foldtune.testing.store_laws import same
from foldtune.train import precision

WAIT_S = 300.0
"""How long a test waits for other processes, which import torch."""

ENDED_S = 60.0
"""How long a process may take to end; an epoch of the test that needs it takes longer."""

TREE: dict[str, Any] = {
    "name": "iris",
    "data": {"use": "iris"},
    "validation": {"use": "StratifiedKFold", "n_splits": 3},
    "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 16]}, "dropout": {"float": [0.0, 0.5]}},
    "optimizer": {
        "choice": [
            {"use": "AdamW", "lr": {"float": [1e-4, 1e-1], "log": True}},
            {"use": "SGD", "lr": {"float": [1e-3, 1.0], "log": True}, "momentum": 0.9},
        ]
    },
    "training": {"epochs": 4, "batch_size": 64},
    "search": {"trials": 7, "cohort": 2, "confirm": 0},
}
YAML = """
name: iris
data: {use: iris}
validation: {use: StratifiedKFold, n_splits: 3}
model: {use: MLP, n_blocks: 1, d_block: {int: [4, 16]}, dropout: {float: [0, 0.5]}}
optimizer:
  choice:
    - {use: AdamW, lr: {float: [1e-4, 1e-1], log: true}}
    - {use: SGD, lr: {float: [1e-3, 1], log: true}, momentum: 0.9}
training: {epochs: 9, batch_size: 16}
search: {trials: 16, cohort: 2, confirm: 0}
"""
SLEEPY = """
import time
import torch

class Sleepy(torch.nn.Module):
    def __init__(self, in_features, out_features, width=1):
        super().__init__()
        self.layer = torch.nn.Linear(in_features, out_features)

    def forward(self, x):
        if x.device.type != "meta":
            print("asleep", flush=True)
            time.sleep(600)
        return self.layer(x)
"""


def test_a_study_runs_and_continues_from_the_database_alone(sqlite_url: str, tmp_path: Path) -> None:
    whole = run_study(_renamed("whole"), storage=sqlite_url, workers=0)
    assert (whole.ending, whole.finished) == ("budget", 7)
    file = tmp_path / "study.yaml"
    file.write_text(
        YAML.replace("epochs: 9, batch_size: 16", "epochs: 4, batch_size: 64").replace("trials: 16", "trials: 3")
    )
    first = run_study(file, storage=sqlite_url, workers=0)
    assert (first.ending, first.finished) == ("budget", 3)
    file.unlink()
    parts = resume_study("iris", storage=sqlite_url, workers=0, overrides=["search.trials=7"])
    assert (parts.ending, parts.budget) == ("budget", 7)
    check_same_trials(whole.trials, parts.trials)
    check_same_curves(whole, parts, sqlite_url, sqlite_url)


def test_an_enqueue_file_is_not_needed_again(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("- {model.d_block: 7}\n- {model.d_block: 8}\n")
    tree = YAML.replace("cohort: 2", "cohort: 1, enqueue: first.yaml")
    (tmp_path / "study.yaml").write_text(tree)
    run_study(tmp_path / "study.yaml", storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    again = run_study(tmp_path / "study.yaml", storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    assert again.finished == 2
    (tmp_path / "first.yaml").unlink()
    result = resume_study("iris", storage=sqlite_url, workers=0, overrides=["search.trials=4"])
    assert [trial.params["model.d_block"] for trial in result.trials[1:3]] == [7, 8]
    assert [trial.origin for trial in result.trials] == ["default", "enqueued", "enqueued", "sampled"]


def test_a_table_of_python_is_given_again(sqlite_url: str) -> None:
    frame = _frame()
    tree = {**TREE, "data": {"table": frame, "target": "y"}}
    run_study(tree, storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    with pytest.raises(
        ResumeError, match=r"data.table: .* not stored, however: <DataFrame 60 x 3>\. Call `resume_study"
    ):
        resume_study("iris", storage=sqlite_url, workers=0)
    with pytest.raises(ResumeError, match="data: the stored study was made on other data"):
        resume_study("iris", storage=sqlite_url, workers=0, data=frame.assign(a=frame["a"] + 1))
    assert resume_study("iris", storage=sqlite_url, workers=0, overrides=["search.trials=3"], data=frame).finished == 3


def test_arrays_of_python_are_given_again(sqlite_url: str) -> None:
    frame = _frame()
    arrays = {"X": frame[["a", "b"]].to_numpy(), "y": frame["y"].to_numpy()}
    tree = {**TREE, "data": {"arrays": arrays}}
    run_study(tree, storage=sqlite_url, workers=0, overrides=["search.trials=1"])
    with pytest.raises(ResumeError, match=r"data.arrays: .* not stored, however: <ndarray 60 x 2>"):
        resume_study("iris", storage=sqlite_url, workers=0)
    assert resume_study("iris", storage=sqlite_url, workers=0, overrides=["search.trials=2"], data=arrays).finished == 2


def test_data_that_moved_are_found_and_data_that_changed_are_refused(sqlite_url: str, tmp_path: Path) -> None:
    (old := tmp_path / "old").mkdir()
    _frame().to_csv(old / "rows.csv", index=False)
    tree = YAML.replace("{use: iris}", "{table: rows.csv, target: y}")
    (old / "study.yaml").write_text(tree)
    run_study(old / "study.yaml", storage=sqlite_url, workers=0, overrides=["search.trials=1"])
    old.rename(new := tmp_path / "new")
    with pytest.raises(DataError, match=r"rows\.csv"):
        resume_study("iris", storage=sqlite_url, workers=0)
    more = ["search.trials=2"]
    assert resume_study("iris", storage=sqlite_url, workers=0, overrides=more, data=new).finished == 2
    _frame().iloc[:-1].to_csv(new / "rows.csv", index=False)
    before = _trial_rows(sqlite_url)
    with pytest.raises(ResumeError, match=r"other data \(60 rows, sha256 \w+\), however: 59 rows"):
        resume_study("iris", storage=sqlite_url, workers=0, overrides=["search.trials=3"], data=str(new))
    assert _trial_rows(sqlite_url) == before


def test_anything_else_than_the_budget_is_refused_on_resume(sqlite_url: str) -> None:
    run_study(TREE, storage=sqlite_url, workers=0, overrides=["search.trials=1"])
    with pytest.raises(ResumeError, match=r"training\.epochs: the stored study has 4, however: 5"):
        resume_study("iris", storage=sqlite_url, workers=0, overrides=["training.epochs=5", "search.trials=2"])


def test_a_study_that_is_not_there_is_not_resumed(sqlite_url: str) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        resume_study("iris", storage=sqlite_url, workers=0)
    run_study(TREE, storage=sqlite_url, workers=0, overrides=["search.trials=1"])
    with pytest.raises(StoreError, match=r"there is no study 'irsi' .* Did you mean iris\?"):
        resume_study("irsi", storage=sqlite_url, workers=0)


def test_a_wrong_study_writes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        run_study({**TREE, "optimizer": {"use": "AdmaW"}}, storage=sqlite_url, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_refused() -> None:
    check_device("cpu")
    with pytest.raises(SpecError, match=r"the device `nonsense` must be usable here, however: .* Try --device cpu"):
        check_device("nonsense")


@pytest.mark.parametrize("wanted", ["bf16-mixed", {"choice": ["32-true", "bf16-mixed"]}], ids=str)
def test_a_precision_that_the_device_imitates_is_refused(
    wanted: object, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    tree = {**TREE, "training": {**TREE["training"], "precision": wanted}}
    with pytest.raises(SpecError, match="`cpu` must have bfloat16 in hardware"):
        run_study(tree, storage=sqlite_url, workers=0)


@pytest.mark.parametrize("sampler", [None, {"use": "NSGAIISampler", "population_size": 4}], ids=["default", "NSGA-II"])
def test_several_objectives_are_searched_without_pruning(sqlite_url: str, sampler: Mapping[str, Any] | None) -> None:
    tree = {**TREE, "objective": ["log_loss", "accuracy"], "search": {**TREE["search"], "sampler": sampler}}
    result = run_study(tree, storage=sqlite_url, workers=0)
    assert result.record.directions == ("minimize", "maximize")
    assert [trial.state for trial in result.trials] == ["complete"] * 7
    for trial in result.trials:
        assert trial.values is not None and trial.scores is not None
        assert trial.values == pytest.approx(trial.scores[:, :2].mean(axis=0))
        assert 0 <= trial.values[1] <= 1
    document = result.to_dict()
    assert document["objective"] == ["log_loss", "accuracy"]
    assert [len(trial["values"]) for trial in document["trials"]] == [2] * 7
    import optuna

    storage = optuna.storages.RDBStorage(sqlite_url)
    study = optuna.load_study(study_name="iris", storage=storage)
    assert [trial.values for trial in study.trials] == [list(trial.values or ()) for trial in result.trials]
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    storage.remove_session()
    storage.engine.dispose()


def test_a_first_interrupt_ends_after_the_epoch_and_a_second_at_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def press(status: object) -> None:
        seen.append(len(seen))
        if len(seen) == 5:
            signal.raise_signal(signal.SIGINT)

    def press_twice(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    result = run_study(TREE, storage=sqlite_url, workers=0, watch=press)
    assert result.ending == "interrupted" and len(seen) == 6  # the epoch that had begun is trained to its end
    assert signal.getsignal(signal.SIGINT) is before
    with monkeypatch.context() as patched:
        patched.setattr(Search, "_save", press_twice)
        with pytest.raises(KeyboardInterrupt):
            run_study(TREE, storage=sqlite_url, workers=0)
    assert signal.getsignal(signal.SIGINT) is before
    whole = run_study(_renamed("whole"), storage=sqlite_url, workers=0)
    parts = run_study(TREE, storage=sqlite_url, workers=0)
    check_same_trials(whole.trials, parts.trials)


@pytest.mark.parametrize("engine", ["lockstep", "packed"])
def test_what_trains_at_once_does_not_change_a_trial(sqlite_url: str, engine: str) -> None:
    suggested = {
        **TREE["search"],
        "engine": engine,
        "sampler": {"use": "RandomSampler"},
        "pruner": {"use": "NopPruner"},
    }
    results = {
        cohort: run_study(
            {**_renamed(f"at-once-{cohort}"), "search": {**suggested, "cohort": cohort}}, storage=sqlite_url, workers=0
        )
        for cohort in (1, 4)
    }
    check_same_trials(results[1].trials, results[4].trials)


def test_a_packed_search_one_by_one_gives_the_trials_of_the_unpacked_one(sqlite_url: str) -> None:
    live: list[int] = []
    model = {**TREE["model"], "dropout": 0.0}  # engines draw their masks each in its own way
    results = [
        run_study(
            {**_renamed(engine), "model": model, "search": {**TREE["search"], "engine": engine, "cohort": 1}},
            storage=sqlite_url,
            workers=0,
            watch=lambda status: live.append(len(status.running)),
        )
        for engine in ("lockstep", "packed")
    ]
    assert set(live) <= {0, 1}
    assert {trial.engine for trial in results[0].trials} == {"lockstep"}
    for plain, packed in zip(*(result.trials for result in results), strict=True):
        assert (plain.params, plain.state, plain.epochs) == (packed.params, packed.state, packed.epochs)
        assert plain.scores is not None and packed.scores is not None
        assert packed.scores == pytest.approx(plain.scores, rel=1e-3)  # float32, in another order of sums


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    urls = {workers: f"sqlite:///{tmp_path}/{workers}.db" for workers in (0, 3)}
    results = {workers: run_study(TREE, storage=url, workers=workers) for workers, url in urls.items()}
    check_same_trials(results[0].trials, results[3].trials)
    check_same_curves(results[0], results[3], urls[0], urls[3])


@pytest.mark.slow
def test_killed_again_and_again_it_comes_to_the_same_trials(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(YAML)
    whole_url, url = f"sqlite:///{tmp_path}/whole.db", f"sqlite:///{tmp_path}/killed.db"
    whole = run_study(tmp_path / "study.yaml", storage=whole_url, workers=0)
    n_epochs = sum(trial.epochs for trial in whole.trials)
    rng = random.Random(0)
    for life, workers in enumerate((2, 0)):
        wanted = n_epochs * (life + 1) // 3
        command = ("run", "study.yaml") if life == 0 else ("resume", "iris")
        process = _start(tmp_path, *command, "--storage", url, "--workers", str(workers), "-q")
        _wait_until(lambda wanted=wanted: _epochs(tmp_path / "killed.db") >= wanted)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.05))
        children = _children(process.pid)
        assert len(children) >= workers + 2 * (workers > 0)  # and what starts and tidies up after them
        process.kill()
        process.communicate()
        _wait_until(lambda children=children: not any(map(_lives, children)), 5.0)  # type: ignore[misc]
        assert 0 < _epochs(tmp_path / "killed.db") < n_epochs
    parts = resume_study("iris", storage=url, workers=0)
    check_same_trials(whole.trials, parts.trials)
    check_same_curves(whole, parts, whole_url, url)
    assert whole.best is not None and parts.best is not None and whole.best.number == parts.best.number


@pytest.mark.slow
def test_ctrl_c_saves_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(YAML)
    process = _start(tmp_path, "run", "study.yaml", "--workers", "2", "-q", "--trials", "500")
    _wait_until(lambda: _epochs(tmp_path / "foldtune.db") > 20)
    children = _children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "trials are saved. Go on with: foldtune resume iris" in " ".join(stderr.split())
    assert "Traceback" not in stderr
    _wait_until(lambda: not any(map(_lives, children)), 5.0)


@pytest.mark.slow
def test_no_process_outlives_the_search_not_even_within_a_long_epoch(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    tree = YAML.replace(
        "model: {use: MLP, n_blocks: 1, d_block: {int: [4, 16]}, dropout: {float: [0, 0.5]}}",
        "model: {use: 'sleepy:Sleepy', width: {int: [1, 9]}}",
    )
    (tmp_path / "study.yaml").write_text(tree)
    for how in ("kill", "interrupt twice"):
        process = _start(tmp_path, "run", "study.yaml", "--workers", "1", "-q")
        assert process.stdout is not None and process.stdout.readline() == "asleep\n"
        children = _children(process.pid)
        began = time.monotonic()
        if how == "kill":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.5)
            assert process.poll() is None  # a first one waits for the epoch
            os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=ENDED_S)
        assert process.returncode == (-9 if how == "kill" else 130)
        _wait_until(lambda children=children: not any(map(_lives, children)), ENDED_S)  # type: ignore[misc]
        assert time.monotonic() - began < ENDED_S


def check_same_curves(left: StudyResult, right: StudyResult, left_url: str, right_url: str) -> None:
    for one, other in zip(left.trials, right.trials, strict=True):
        curves = load_curves(left.name, one.number, storage=left_url)
        assert same(curves, load_curves(right.name, other.number, storage=right_url))


def _renamed(name: str) -> dict[str, Any]:
    return {**TREE, "name": name}


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 30)
    return pd.DataFrame({"a": rng.standard_normal(60) + (y == "a"), "b": rng.standard_normal(60), "y": y})


def _trial_rows(url: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return connection.execute("SELECT * FROM foldtune_trials").fetchall()


def _epochs(file: Path) -> int:
    """Epochs that a database holds, while others write to it."""
    if not file.exists():
        return 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM foldtune_curves").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def _start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command line in a process group of its own."""
    command = [sys.executable, "-c", "from foldtune.cli.main import main; main()", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def _children(pid: int) -> list[int]:
    """Its processes, and theirs."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(inner for child in children for inner in _children(child))]


def _lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def _wait_until(true: Callable[[], bool], timeout: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
