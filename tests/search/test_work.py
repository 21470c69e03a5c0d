"""`foldtune worker`: finds studies, works on them, ends as it is told."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from foldtune.errors import DatabaseAwayError, StoreError
from foldtune.search.confirm import Confirmation
from foldtune.search.plan import make_plan
from foldtune.search.result import load_study
from foldtune.search.run import run_study
from foldtune.search.status import Status
from foldtune.search.study import open_study
from foldtune.search.work import work
from foldtune.spec.load import load_spec
from foldtune.store.retrying import earlier_failures
from foldtune.store.store import Store

WAIT_S = 300.0
"""How long a test waits for other processes, which import torch."""

TREE: dict[str, Any] = {
    "name": "iris",
    "data": {"use": "iris"},
    "model": {"use": "MLP", "d_block": {"int": [4, 16]}},
    "training": {"epochs": 4},
    "search": {"trials": 5, "cohort": 2, "confirm": 0},
}


def test_a_worker_takes_the_open_studies_of_a_database_and_ends_when_it_is_idle(url: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _create(url, {**TREE, "name": name})
    _create(url, {**TREE, "name": "elsewhere", "data": {"table": "not_here.csv", "target": "y"}}, data=tmp_path)
    work(url, workers=0, artifacts=str(tmp_path), idle_exit=0.0)
    for name in ("one", "two"):
        assert [trial.state for trial in load_study(name, storage=url).trials].count("running") == 0
        assert load_study(name, storage=url).finished == 5
    assert load_study("elsewhere", storage=url).trials == ()


def test_a_worker_keeps_to_the_study_that_it_is_given(sqlite_url: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _create(sqlite_url, {**TREE, "name": name})
    work(sqlite_url, study="two", workers=0, idle_exit=0.0)
    assert [load_study(name, storage=sqlite_url).finished for name in ("one", "two")] == [0, 5]


def test_a_worker_confirms_what_another_search_left_unconfirmed(sqlite_url: str) -> None:
    """A study whose trials have all ended is looked at once, not at every turn."""
    ended = {**TREE, "training": {"epochs": 1}, "search": {**TREE["search"], "confirm": 1}}
    run_study({**TREE, "name": "done", "training": {"epochs": 1}}, storage=sqlite_url, workers=0)
    with patch.object(Confirmation, "run", return_value=False):
        assert run_study(ended, storage=sqlite_url, workers=0).ending == "interrupted"
    told: list[Status] = []
    work(sqlite_url, workers=0, idle_exit=0.0, watch=told.append)
    assert {status.study for status in told} == {"iris"} and told[-1].confirming == (1, 1)
    with closing(Store(sqlite_url)) as store:
        assert [repeat.state for repeat in store.repeats(store.study("iris").uuid)] == ["complete"]


def test_a_worker_trains_failed_trials_again_once(sqlite_url: str, tmp_path: Path) -> None:
    """Here they diverge each time: a worker that tried for ever would not end."""
    tree: dict[str, object] = {**TREE, "optimizer": {"use": "SGD", "lr": 1e300}}
    given: dict[str, Any] = {"workers": 0, "artifacts": str(tmp_path), "idle_exit": 0.0}
    _create(sqlite_url, tree)
    work(sqlite_url, **given)
    work(sqlite_url, **given)
    assert _attempts(sqlite_url) == [1] * 5
    work(sqlite_url, retry_failed=True, **given)
    assert _attempts(sqlite_url) == [2] * 5


def _attempts(url: str) -> list[int]:
    """How often each trial has failed."""
    trials = load_study("iris", storage=url).trials
    return [len(earlier_failures(trial.attrs)) + (trial.state == "failed") for trial in trials]


def test_a_worker_waits_for_a_database(sqlite_url: str) -> None:
    began = time.monotonic()
    work(sqlite_url, workers=0, idle_exit=0.5)
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("sqlite:///{folder}/typo.db", r"there is no database at .*typo\.db\. Check `--storage`"),
        ("postgresql+psycopg://ann:sesame@127.0.0.1:1/d", r"the database must answer, however: .*ann:\*\*\*@.* Check"),
    ],
)
def test_a_worker_says_once_what_it_waits_for(
    storage: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foldtune.search.work.LOOKED_EVERY_S", 0.01)
    work(storage.format(folder=tmp_path), workers=0, idle_exit=0.1)
    (record,) = caplog.records
    assert re.match(rf"waiting for studies: {said}", record.getMessage())


def test_a_worker_for_a_study_that_is_not_there_names_those_that_are(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    _create(sqlite_url, TREE)
    work(sqlite_url, study="irs", workers=0, idle_exit=0.0)
    assert (
        "waiting for studies: there is no study 'irs' in sqlite" in caplog.text and "Did you mean iris?" in caplog.text
    )


def test_a_worker_does_not_wait_for_what_will_not_change(tmp_path: Path) -> None:
    old = shutil.copy(Path(__file__).parents[1] / "store" / "data" / "release_0_1_0.db", tmp_path)
    for url, said in {
        f"sqlite:///{old}": "was made by an older foldtune. Run `foldtune db upgrade",
        "postgress://h/d": "the storage URL's kind of database must be known",
    }.items():
        with pytest.raises(StoreError) as caught:
            work(url, workers=0)
        assert said in str(caught.value)


def test_a_worker_outlasts_a_database_that_goes_away_between_two_looks(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _create(sqlite_url, {**TREE, "training": {"epochs": 1}})
    monkeypatch.setattr("foldtune.search.work.LOOKED_EVERY_S", 0.01)
    tries = iter([DatabaseAwayError.of((), "the database must answer"), StoreError.of((), "the disk must have room")])

    def away(store: Store) -> list[Any]:
        if error := next(tries, None):
            raise error
        return whole(store)

    whole = Store.studies
    monkeypatch.setattr(Store, "studies", away)
    work(sqlite_url, workers=0, idle_exit=0.5)
    said = [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()]
    assert said == ["waiting for studies: the database must answer.", "waiting for studies: the disk must have room."]
    assert load_study("iris", storage=sqlite_url).finished == 5


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_saves_and_gives_back_what_it_trains(sqlite_url: str, tmp_path: Path) -> None:
    _create(sqlite_url, {**TREE, "training": {"epochs": 20_000}})
    command = [sys.executable, "-c", "from foldtune.cli.main import main; main()", "worker", "--storage", sqlite_url]
    worker = subprocess.Popen([*command, "--workers", "1", "-q"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _wait_until(lambda: any(trial.epochs > 2 for trial in load_study("iris", storage=sqlite_url).trials))
    worker.send_signal(signal.SIGTERM)
    _, words = worker.communicate(timeout=WAIT_S)
    assert (worker.returncode, words) == (0, "")
    left = load_study("iris", storage=sqlite_url)
    assert [trial.state for trial in left.trials] == ["running", "running"]
    saved = [int(file.name.split("-")[1]) for file in sorted(tmp_path.rglob("*.ckpt"))]
    assert {trial.epochs for trial in left.trials} <= {*saved}
    with closing(Store(sqlite_url)) as store, store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM foldtune_leases").scalar() == 0


def _create(url: str, tree: dict[str, object], data: Path | None = None) -> None:
    """A study that nobody has worked on."""
    if data is not None:
        (data / "not_here.csv").write_text("a,y\n" + "".join(f"{row},{row % 2}\n" for row in range(40)))
    plan = make_plan(load_spec(tree, folder=data))
    with closing(Store(url)) as store, closing(open_study(plan, store, workers=1)):
        pass
    if data is not None:
        (data / "not_here.csv").unlink()


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
