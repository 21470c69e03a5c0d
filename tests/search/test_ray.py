"""Search loops on a Ray cluster: a node is killed, the search is interrupted, and what cannot work is refused."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from foldtune.cli.main import app
from foldtune.cli.options import cluster as asked_for
from foldtune.errors import FoldtuneError, SpecError, StoreError
from foldtune.search import ray_actors, ray_cluster, ray_workers
from foldtune.search.interrupts import interrupted_by, interruptible
from foldtune.search.ray_actors import SearchLoop, drive
from foldtune.search.ray_cluster import OBJECT_STORE_BYTES, Cluster
from foldtune.search.result import load_study
from foldtune.search.run import run_study
from foldtune.search.spectator import Spectator
from foldtune.search.status import Status
from foldtune.store.store import Store

WAIT_S = 300.0
"""How long a test waits for processes that import torch, on a machine that does other things too."""

SECRET = "s3cret-of-ray"

SLOW = "slow"
"""While this file is there, a trial takes twelve seconds."""

STUDY = """\
name: slow
data: {use: iris}
validation: {use: StratifiedKFold, n_splits: 2}
model: {use: 'slow_net:Net', width: {int: [1, 9]}}
training: {epochs: 6, batch_size: 150}
search: {trials: 8, cohort: 1, engine: lockstep, pruner: {use: NopPruner}, confirm: 0}
"""
NET = """\
import pathlib
import time

import torch

SLOW = pathlib.Path(__file__).with_name("slow")


class Net(torch.nn.Linear):
    def __init__(self, in_features, out_features, width=1):
        super().__init__(in_features, out_features)

    def forward(self, x):
        time.sleep(0.5 if x.device.type != "meta" and SLOW.exists() else 0.0)
        return super().forward(x)
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of Ray on this machine; the second is there to be killed."""
    from ray.cluster_utils import Cluster as Nodes

    small = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    nodes: Any = Nodes(initialize_head=True, head_node_args={"num_cpus": 2, **small})
    yield nodes
    nodes.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_node_that_is_killed_costs_no_trial(nodes: Any, postgres_url: str, tmp_path: Path) -> None:
    url = postgres_url.replace("postgres@", f"postgres:{SECRET}@")
    node = nodes.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
    process = _start(tmp_path, "run", "study.yaml", "-v", "--address", nodes.address, storage=url)
    raylet = node.all_processes["raylet"][0].process.pid
    _wait_until(lambda: len(_loops(url)) == len(_trained(url)) == 2, process)
    before = _loops(url)
    assert len(before.intersection(_children(raylet))) == 1
    nodes.remove_node(node, False)  # kill -9 of all its processes
    _wait_until(lambda: bool(_loops(url) - before), process)  # Ray has started it again elsewhere
    (tmp_path / SLOW).unlink()
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, stderr
    assert "8 of 8 trials (8 complete)" in stdout and "Ended: all trials are done." in stderr
    assert sorted(line.split()[1] for line in stderr.splitlines() if line.startswith("trial ")) == list("01234567")
    trials = load_study("slow", storage=postgres_url).trials
    assert [(trial.number, trial.state, trial.epochs) for trial in trials] == [(n, "complete", 6) for n in range(8)]
    assert _loops(url) == set()
    assert SECRET not in stdout + stderr
    logs = [file for file in Path(nodes.head_node.get_session_dir_path()).rglob("*") if file.is_file()]
    assert len(logs) > 10 and not [file for file in logs if SECRET.encode() in file.read_bytes()]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ctrl_c_ends_the_actors_with_everything_saved(nodes: Any, postgres_url: str, tmp_path: Path) -> None:
    process = _start(tmp_path, "run", "study.yaml", "-q", "--address", nodes.address, storage=postgres_url)
    _wait_until(lambda: len(_trained(postgres_url)) == 2, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, stderr
    assert "trials are saved. Go on with: foldtune resume slow" in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert _loops(postgres_url) == set()
    trials = load_study("slow", storage=postgres_url).trials
    assert "failed" not in {trial.state for trial in trials}
    assert any(trial.state == "running" for trial in trials)
    saved = [file for file in (tmp_path / "foldtune-artifacts").rglob("*") if file.is_file()]
    assert len(saved) >= sum(trial.state == "running" and trial.epochs > 0 for trial in trials)
    options = ("--idle-exit", "0", "--allow-import", "slow_net", "--address", nodes.address)
    process = _start(tmp_path, "worker", *options, storage=postgres_url, slow=False, replicas=1)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, stderr
    assert [trial.state for trial in load_study("slow", storage=postgres_url).trials] == ["complete"] * 8


def test_the_first_end_ends_all_and_nobody_waits_for_an_actor_without_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actors, "ANSWER_S", 1.0)
    turns = iter(range(3))

    def task() -> str:
        if next(turns) == 0:
            return "patience"
        with interruptible() as interrupted:
            _wait(interrupted)
        return "interrupted"

    looks = list[int]()
    assert drive(InThreads(places=2), Cluster(replicas=4), task, lambda: looks.append(1)) == "patience"
    assert len(looks) >= 2


def test_a_loop_that_fails_is_left_to_the_others_and_the_last_failure_is_raised() -> None:
    turns = iter(range(3))

    def task() -> str:
        if (turn := next(turns)) < 2:
            raise StoreError.of((), "a rule", turn)
        return "budget"

    assert drive(threads := InThreads(), Cluster(replicas=3), task, lambda: None) == "budget"
    assert threads.killed == 3
    turns = iter(range(2))
    with pytest.raises(StoreError, match=r"a rule, however: [01]"):
        drive(InThreads(), Cluster(replicas=2), task, lambda: None)


def test_sigterm_ends_the_actors() -> None:
    def task() -> str:
        with interruptible() as interrupted:
            _wait(interrupted)
        return "interrupted"

    sent = iter([True])
    look = lambda: signal.raise_signal(signal.SIGTERM) if next(sent, False) else None  # noqa: E731
    assert drive(InThreads(), Cluster(replicas=2), task, look) == "interrupted"


def test_sqlite_serves_the_nodes_of_one_machine() -> None:
    def nodes(*hosts: str) -> Any:
        return SimpleNamespace(nodes=lambda: [{"NodeManagerHostname": host, "Alive": host != "dead"} for host in hosts])

    here = socket.gethostname()
    ray_cluster._check_database(nodes(here, here, "dead"), "sqlite:///a.db")
    ray_cluster._check_database(nodes(here, "b"), "postgresql+psycopg://ann:pw@db/a")
    with pytest.raises(StoreError, match=r"serves one machine, .* however: sqlite:///a\.db and b, c\. Name a Postg"):
        ray_cluster._check_database(nodes("c", here, "b"), "sqlite:///a.db")


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, sqlite_url: str, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match=r"`--launcher ray` needs the package ray, .* `pip install 'foldtune\[ray\]'"):
        ray_workers.run_study(
            {"name": "x", "data": {"use": "iris"}, "model": "MLP"}, cluster=Cluster(), storage=sqlite_url
        )
    assert list(tmp_path.iterdir()) == []


def test_ray_is_imported_only_when_asked_for() -> None:
    code = "import sys, foldtune, foldtune.cli.run; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--launcher", "dask"), "must be local or ray, however: dask"),
        (("--replicas", "2"), "`--replicas` is Ray's. Add `--launcher ray`"),
        (("--gpus", "0"), "`--gpus` is Ray's"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], message: str) -> None:
    for command in (["run", "study.yaml"], ["resume", "slow"], ["worker"]):
        done = CliRunner().invoke(app, [*command, *options], env={"COLUMNS": "200"})
        assert done.exit_code == 2 and message in " ".join(done.output.split())


def test_what_is_left_out_has_small_defaults() -> None:
    assert asked_for("local", "auto", None, None, None) is None  # RAY_ADDRESS may be set for others
    assert asked_for("ray", None, None, None, None) == Cluster("local", 1, 1.0, 0.0)
    assert asked_for("ray", "auto", 3, 0.0, 0.5) == Cluster("auto", 3, 0.0, 0.5)
    assert ray_workers._session(Cluster(cpus=3), {"storage": "sqlite:///a.db"}).workers == 3
    with_gpu = ray_workers._session(Cluster(cpus=8, gpus=1), {"workers": None})
    assert (with_gpu.workers, with_gpu.device) == (1, "cuda")


def test_a_task_does_not_show_the_database() -> None:
    task = ray_workers._Work(f"postgresql://ann:{SECRET}@db/a", {})
    session = ray_workers._session(Cluster(), {"storage": task.storage})
    assert SECRET not in f"{task!r}{session!r}"


def test_in_a_thread_a_search_asks_what_it_is_told_to_ask() -> None:
    answers, seen = iter([False, True]), list[bool]()

    def search() -> None:
        with interrupted_by(lambda: next(answers)), interruptible() as outer, interruptible() as inner:
            seen.extend((outer(), inner()))

    (thread := Thread(target=search)).start()
    thread.join()
    assert seen == [False, True]
    with interruptible() as interrupted:
        assert not interrupted()


def test_a_spectator_sees_what_the_search_shows(sqlite_url: str) -> None:
    shown, seen = list[Status](), list[Status]()
    tree = {"name": "x", "data": {"use": "iris"}, "model": {"use": "MLP", "d_block": {"int": [2, 9]}}}
    tree |= {"training": {"epochs": 2}, "search": {"trials": 5, "cohort": 2, "confirm": 1}}
    with closing(Store(sqlite_url)) as store:
        spectators = list[Spectator]()

        def watch(status: Status) -> None:
            spectators.extend([] if spectators else [Spectator(store, "x")])
            shown.append(status)
            seen.append(spectators[0].look())

        run_study(tree, storage=sqlite_url, workers=0, watch=watch)
        last = spectators[0].look()
    assert (last.study, last.objective, last.budget, last.counts) == ("x", "log_loss", 5, {"complete": 5})
    assert last.best == shown[-1].best and last.running == ()
    assert [line for status in seen for line in status.news] == [line for status in shown for line in status.news]
    without = [{replace(trial, value=None) for status in each for trial in status.running} for each in (seen, shown)]
    assert without[0] <= without[1] and {trial.repeat for trial in without[0]} == {0, 1}
    assert {status.confirming for status in seen} == {None, (0, 1), (1, 1)}


class InThreads:
    """As much of Ray as the driver needs, with actors that are threads.

    Args:
        places: how many actors run; the others wait for ever, as where a cluster is full.
    """

    def __init__(self, places: int = 9) -> None:
        self.places, self.killed = places, 0
        self.exceptions = ray.exceptions

    def remote(self, kind: Callable[[str], SearchLoop]) -> Any:
        def start(folder: str) -> Any:
            self.places -= 1
            return Actor(kind(folder), placed=self.places >= 0)

        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=start))

    def wait(self, futures: "list[Future[Any]]", *, timeout: float) -> tuple["list[Future[Any]]", None]:
        return list(wait(futures, timeout, FIRST_COMPLETED).done)[:1], None

    def get(self, future: "Future[Any]") -> Any:
        try:
            return future.result()
        except FoldtuneError as error:
            failed: Any = ray.exceptions.RayTaskError
            raise failed("run", "", error, "actor", 1, "ip").as_instanceof_cause() from None

    def kill(self, actor: object) -> None:
        self.killed += 1


class Actor:
    """An actor of `InThreads`."""

    def __init__(self, loop: SearchLoop, *, placed: bool) -> None:
        self.loop, self.placed = loop, placed
        self.run, self.end = self._method(loop.run), self._method(loop.end)

    def _method(self, function: Callable[..., Any]) -> Any:
        def remote(*arguments: Any) -> "Future[Any]":
            future = Future[Any]()
            if self.placed:
                Thread(target=lambda: _settle(future, function, arguments), daemon=True).start()
            return future

        return SimpleNamespace(remote=remote)


def _settle(future: "Future[Any]", function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        future.set_result(function(*arguments))
    except FoldtuneError as error:
        future.set_exception(error)


def _start(
    folder: Path, *arguments: str, storage: str, slow: bool = True, replicas: int = 2
) -> "subprocess.Popen[str]":
    """The command line on Ray."""
    (folder / "study.yaml").write_text(STUDY)
    (folder / "slow_net.py").write_text(NET)
    (folder / SLOW).touch() if slow else (folder / SLOW).unlink()
    command = [sys.executable, "-c", "from foldtune.cli.main import main; main()", *arguments]
    command += ["--launcher", "ray", "--replicas", str(replicas)]
    pipe, environment = subprocess.PIPE, {**os.environ, "FOLDTUNE_STORAGE": storage, "COLUMNS": "200"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def _loops(url: str) -> set[int]:
    """Process ids of the search loops that have a lease."""
    return _column(url, "SELECT pid FROM foldtune_leases")


def _trained(url: str) -> set[int]:
    """Leases with a trial in the middle of its training."""
    return _column(url, "SELECT lease FROM foldtune_trials WHERE state = 'running' AND epochs > 0")


def _column(url: str, query: str) -> set[int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        there = connection.scalar(text("SELECT to_regclass('foldtune_leases') IS NOT NULL"))
        found = set(connection.scalars(text(query))) if there else set()
    engine.dispose()
    return found


def _children(pid: int) -> list[int]:
    """Its processes, and theirs."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(child) for file in children for child in file.read_text().split()]
    return [*own, *(inner for child in own for inner in _children(child))]


def _wait(interrupted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not interrupted():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _wait_until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
