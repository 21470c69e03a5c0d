"""Nested cross-validation: searches that never see the rows that they are scored on, and go on where they stopped."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldtune.errors import DataError, ResumeError, SpecError
from foldtune.search import locked_test
from foldtune.search import nested as nested_search
from foldtune.search.locked_test import run_test
from foldtune.search.nested import Cost, inner_file, nested_cost, run_nested
from foldtune.search.plan import Plan, make_plan
from foldtune.search.result import StudyResult, load_study
from foldtune.search.run import Session, resume_study
from foldtune.spec.load import StudyFile, load_spec
from foldtune.testing.search_laws import check_same_trials
from tests.search.audits import N_ROWS, noise, study

WAIT_S = 120.0

YAML = """
name: killed
data: {use: make_classification, n_samples: 200, n_features: 5, random_state: 0}
validation: {use: StratifiedKFold, n_splits: 3}
model: {use: MLP, n_blocks: 1, d_block: {int: [4, 16]}}
training: {epochs: 8, batch_size: 16}
search: {trials: 3, cohort: 1, confirm: 0}
"""


def session(url: str, **options: Any) -> Session:
    return Session(url, 0, "cpu", None, 10.0, options.pop("watch", None), **options)


def file(**sections: Any) -> StudyFile:
    return load_spec(study(**sections))


def nested(url: str, given: StudyFile, folds: int = 3, **options: Any) -> Mapping[str, Any]:
    """The finding."""
    return run_nested(given, session(url), folds, **options).audits[-1].content


def inner(result: StudyResult, url: str, folds: int) -> list[StudyResult]:
    return [load_study(f"{result.name}.nested-{fold + 1}-of-{folds}", storage=url) for fold in range(folds)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one nested study."""
    database = tmp_path_factory.mktemp("finished") / "study.db"
    run_nested(file(), session(f"sqlite:///{database}"), 2)
    return database


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> str:
    """The URL of a copy of it."""
    return f"sqlite:///{shutil.copy(finished, tmp_path / 'study.db')}"


@pytest.mark.slow
def test_noise_stays_noise(sqlite_url: str) -> None:
    data = {"arrays": noise(300)}
    result = run_nested(file(data=data, training={"epochs": 6, "batch_size": 32}), session(sqlite_url), 3)
    content = result.audits[-1].content
    assert content["n_rows"] == 300 and len(content["fold_scores"]) == content["J"] == 3
    assert abs(content["mean"] - 0.5) < 2 * 0.5 / np.sqrt(300)
    assert content["mean"] == pytest.approx(np.mean(content["fold_scores"])) == content["scores"]["accuracy"]
    low, high = content["interval"]
    assert low < 0.5 < high and content["void"] is None and content["looks"] == 1
    assert result.best is not None and result.best.values is not None and result.best.values[0] > 0.5


@pytest.mark.parametrize("kind", ["classes", "groups", "time"])
def test_no_inner_search_reads_a_row_of_its_outer_fold(
    kind: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = noise()
    data: dict[str, Any] = {"arrays": arrays}
    options: dict[str, Any] = {"validation": {"use": "StratifiedKFold", "n_splits": 3}}
    if kind == "groups":
        arrays["g"] = np.repeat(np.arange(N_ROWS // 4), 4)
        data, options = {**data, "group": "g"}, {"validation": {"use": "GroupKFold", "n_splits": 3}}
    elif kind == "time":
        arrays["t"] = np.random.default_rng(1).permutation(N_ROWS)
        data, options = {**data, "time": "t"}, {"validation": {"use": "TimeSeriesSplit", "n_splits": 3}}
    else:
        data = {**data, "test_fraction": 0.25}
    read: dict[str, set[int]] = {}
    setup = Plan.setup

    def noted(plan: Plan, device: str) -> Any:
        seen = read.setdefault(plan.spec.name, set())
        seen.update(plan.dataset.numeric[:, 0].astype(int).tolist())
        return setup(plan, device)

    monkeypatch.setattr(Plan, "setup", noted)
    result = run_nested(file(data=data, **options), session(sqlite_url), 2)
    scored: list[int] = []
    for fold, one in enumerate(inner(result, sqlite_url, 2)):
        plan = make_plan(inner_file(file(data=data, **options), fold, 2))
        outer = set(plan.tested.tolist())
        seen = read[one.name]
        assert len(seen) == one.record.n_rows - len(one.record.locked)
        assert seen.isdisjoint(outer) and seen.isdisjoint(one.record.locked.tolist())
        assert seen.isdisjoint(result.record.locked.tolist()), "the study's own locked rows stay locked"
        if kind == "groups":
            assert {row // 4 for row in seen}.isdisjoint(row // 4 for row in outer)
        if kind == "time":
            assert arrays["t"][sorted(seen)].max() < arrays["t"][sorted(outer)].min()
        assert one.audits[0].content["n_rows"] == len(outer)
        assert one.audits[0].content["cautions"] or kind == "classes", "few groups: of this fold's own interval alone"
        scored += outer
    assert result.audits[0].content["cautions"] == [], "the interval is of fold scores"
    if kind != "time":
        assert sorted(scored) == sorted(set(range(N_ROWS)) - set(result.record.locked.tolist()))


def test_inner_studies_are_ordinary_studies(done: str) -> None:
    result = load_study("noise", storage=done)
    first, second = inner(result, done, 2)
    assert first.finished == second.finished == result.finished == 3
    assert len({one.record.seed for one in (result, first, second)}) == 3
    assert [trial.params for trial in first.trials[1:]] != [trial.params for trial in second.trials[1:]]
    more = resume_study(first.name, storage=done, workers=0, data=noise(), overrides=["search.trials=4"])
    assert more.finished == 4


def test_the_same_call_again_does_nothing_again(done: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_study("noise", storage=done)
    monkeypatch.setattr("foldtune.search.nested.look", None)
    again = run_nested(file(), session(done), 2)
    assert again.to_dict() == first.to_dict() and len(again.audits) == 1


def test_two_at_once_look_once_at_every_outer_fold(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look = locked_test.look

    def twice(*given: Any, **options: Any) -> Any:
        look(*given, **options)  # as another process does, which came to the same point a little earlier
        return look(*given, **options)

    monkeypatch.setattr(nested_search, "look", twice)
    result = run_nested(file(), session(sqlite_url), 2)
    assert result.audits[0].content["looks"] == 1
    assert [len(one.audits) for one in inner(result, sqlite_url, 2)] == [1, 1]


def test_a_larger_budget_is_asked_for_twice(done: str) -> None:
    more = load_spec(study(), overrides=["search.trials=4"])
    with pytest.raises(ResumeError, match=r"looked at once, however: .* Add --again"):
        run_nested(more, session(done), 2)
    assert load_study("noise", storage=done).finished == 3, "nothing was trained"
    result = run_nested(more, session(done), 2, again=True)
    assert [one.finished for one in (result, *inner(result, done, 2))] == [4, 4, 4]


def test_a_look_by_hand_makes_it_a_second_look(done: str) -> None:
    first = load_study("noise", storage=done)
    one = inner(first, done, 2)[0]
    other = next(trial.number for trial in one.trials if trial.number != one.audits[0].trial)
    run_test(one.name, trial=other, again=True, storage=done, data=noise())
    assert nested(done, file(), 2)["looks"] == 1, "the winner's own look stands"
    with closing(sqlite3.connect(done.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DELETE FROM foldtune_findings WHERE trial = ?", [one.audits[0].trial])
    with pytest.raises(ResumeError, match=rf"looked at once, however: trial {other} of noise.nested-1-of-2 was scored"):
        run_nested(file(), session(done), 2)
    assert nested(done, file(), 2, again=True)["looks"] == 2


def test_enqueued_parameters_found_elsewhere_void_it(sqlite_url: str) -> None:
    from foldtune.search.run import run_study

    params = run_study(study(name="first"), storage=sqlite_url, workers=0).trials[2].params
    search = {**study()["search"], "enqueue": [dict(params)]}
    content = nested(sqlite_url, file(search=search), 2)
    assert content["void"] == "it began with parameters that trial 2 of first found on the same rows"
    fresh = nested(sqlite_url, file(name="own", search={**search, "enqueue": [{"optimizer.lr": 0.0123}]}), 2)
    assert fresh["void"] is None and len(fresh["cautions"]) == 1


def test_the_cost_is_said_before_anything_is_trained(sqlite_url: str, tmp_path: Path) -> None:
    said: list[tuple[Cost, bool]] = []
    given = file()
    run_nested(given, session(sqlite_url), 2, say=lambda cost: said.append((cost, _has_trials(sqlite_url))))
    (guess, trained), (known, _) = said
    assert not trained and not guess.measured and guess.seconds > 0
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        (trained,) = connection.execute("SELECT sum(seconds) FROM foldtune_trials WHERE study_id = 1").fetchone()
    assert known.measured and known.seconds == pytest.approx(2 * trained)
    assert nested_cost(given, session(sqlite_url), 2).seconds < known.seconds, "what is done costs nothing"


def test_time_in_which_nothing_trains_costs_nothing(done: str) -> None:
    with closing(sqlite3.connect(done.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DELETE FROM foldtune_studies WHERE name <> 'noise'")
        connection.execute("UPDATE foldtune_studies SET seconds = 86400")  # it waited for others, most of the time
        connection.execute("UPDATE foldtune_trials SET seconds = 30")
    assert nested_cost(file(), session(done), 5) == Cost(5 * 3 * 30, measured=True)
    assert nested_cost(file(), replace(session(done), workers=2), 5) == Cost(5 * 3 * 30 / 2, measured=True)
    alone = file(search={**study()["search"], "cohort": 1})
    assert nested_cost(alone, replace(session(done), workers=2), 5) == Cost(5 * 3 * 30, measured=True)


def test_what_cannot_be_nested_is_refused_and_nothing_is_written(sqlite_url: str, tmp_path: Path) -> None:
    for validation, error, said in (
        (
            {"use": "PredefinedSplit", "test_fold": [0, 1] * (N_ROWS // 2)},
            SpecError,
            "needs a splitter with `n_splits`",
        ),
        ({"use": "StratifiedKFold", "n_splits": 3}, DataError, r"`n_splits` must be at most the rows of the rarest"),
    ):
        with pytest.raises(error, match=said):
            run_nested(file(validation=validation), session(sqlite_url), 90)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_is_told_and_gone_on_from(sqlite_url: str) -> None:
    pressed: list[str] = []

    def press(status: Any) -> None:
        if status.study == "pressed.nested-1-of-2" and not pressed:
            pressed.append(status.study)
            signal.raise_signal(signal.SIGINT)

    given = file(name="pressed")
    stopped = run_nested(given, replace(session(sqlite_url), watch=press), 2)
    assert stopped.ending == "interrupted" and stopped.audits == ()
    done = run_nested(given, session(sqlite_url), 2)
    assert done.ending == "budget" and len(done.audits) == 1


@pytest.mark.slow
def test_killed_anywhere_the_same_command_comes_to_the_same_finding(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(YAML)
    url = f"sqlite:///{tmp_path}/whole.db"
    whole = run_nested(load_spec(tmp_path / "study.yaml"), session(url), 2)
    process = _start(tmp_path)
    _wait_until(lambda: _finished(tmp_path / "foldtune.db") >= 3 + 3 + 1)  # in the second inner study
    process.kill()
    process.communicate()
    assert _finished(tmp_path / "foldtune.db") < 9
    process = _start(tmp_path)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert document["audits"] == [{**audit, "date": document["audits"][0]["date"]} for audit in _audits(whole)]
    parts = load_study("killed", storage=f"sqlite:///{tmp_path}/foldtune.db")
    for one, other in zip(inner(whole, url, 2), inner(parts, f"sqlite:///{tmp_path}/foldtune.db", 2), strict=True):
        check_same_trials(one.trials, other.trials)
        assert len(other.audits) == 1


def _audits(result: StudyResult) -> list[dict[str, Any]]:
    audits: list[dict[str, Any]] = result.to_dict()["audits"]
    return audits


def _has_trials(url: str) -> bool:
    return Path(url.removeprefix("sqlite:///")).exists()


def _start(folder: Path) -> "subprocess.Popen[str]":
    arguments = ("run", "study.yaml", "--nested", "2", "--workers", "0", "-q", "--json")
    command = [sys.executable, "-c", "from foldtune.cli.main import main; main()", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: sums of two threads differ in the last bit
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _finished(database: Path) -> int:
    """Trials that have ended, of all studies."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            query = "SELECT count(*) FROM foldtune_trials WHERE finished_at IS NOT NULL"
            return int(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
