"""One study under attack: its file, its processes, and what they trained as seen from outside."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from foldtune.search.plan import Plan, make_plan
from foldtune.search.study import open_study
from foldtune.spec.load import read_spec
from foldtune.store.store import Store

WAIT_S = 600.0
"""How long anything is waited for: processes import torch, and machines are busy."""

ACTIVITY = """
SELECT pid, client_port, state, wait_event_type, wait_event, now() - state_change AS since,
    pg_blocking_pids(pid) AS behind, query
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
ROOT = Path(__file__).parents[2]
MAIN = "from foldtune.cli.main import script; script()"
STUDY = """
name: chaos
data: {{use: iris}}
validation: {{use: StratifiedKFold, n_splits: 3}}
metrics: [log_loss, {{use: "tests.chaos.witness:hits", direction: maximize}}]
model: {{use: MLP, n_blocks: 1, d_block: {{int: [4, 16]}}, dropout: {{float: [0, 0.5]}}}}
optimizer:
  choice:
    - {{use: AdamW, lr: {{float: [1e-4, 1e-1], log: true}}}}
    - {{use: SGD, lr: {{float: [1e-3, 1], log: true}}, momentum: 0.9}}
training: {{epochs: {epochs}, batch_size: 64}}
search: {{trials: {trials}, cohort: {cohort}, engine: {engine}, seed: {seed}, confirm: {confirm}}}
"""


@dataclass(eq=False)
class Arena:
    """A study, its database, and its processes, which end with the block.

    Args:
        folder: of the study's file, the log and the witness's notes.
        url: the database.
        trials: how many the study has.
        epochs: how many each has, unless it is pruned.
        cohort: trials at once in each search loop.
        engine: what trains them.
        seed: the study's, and that of the moments of faults.
        confirm: fresh partitions for its best trials.
        sleep_s: how long an epoch takes at least.
        every_s: seconds between checkpoints.
        artifacts: where checkpoints go.
    """

    folder: Path
    url: str
    trials: int = 12
    epochs: int = 9
    cohort: int = 4
    engine: str = "packed"
    seed: int = 0
    confirm: int = 0
    sleep_s: float = 0.05
    every_s: float = 0.0
    artifacts: Path | None = None
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list, init=False)
    faults: list[int] = field(default_factory=list, init=False)  # lines of the witness before each

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log, self.notes, self.file = (self.folder / name for name in ("log", "epochs", "study.yaml"))
        self.log.touch()
        self.notes.touch()
        sizes = {"epochs": self.epochs, "trials": self.trials, "cohort": self.cohort, "confirm": self.confirm}
        self.file.write_text(STUDY.format(engine=self.engine, seed=self.seed, **sizes))
        self.artifacts = self.artifacts or self.folder / "artifacts"

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            error.add_note(f"The log ends:\n{self.log.read_text()[-5000:]}\n{activity(self.url)}")
        for process in self.processes:
            if process.poll() is None:
                signal_group(process, signal.SIGKILL)
                process.wait()

    def plan(self) -> Plan:
        return make_plan(read_spec(self.file))

    def create(self) -> None:
        """Store the study without training anything."""
        with closing(Store(self.url)) as store:
            open_study(self.plan(), store, workers=1, artifacts=str(self.artifacts)).close()

    def search(self, *command: str, workers: int = 2, main: str = MAIN, **env: str) -> "subprocess.Popen[bytes]":
        """`foldtune run`, `resume` or `worker` in a process group of its own.

        Args:
            command: one of these with its own arguments; by default `resume` or `run`, as it comes.
            workers: training processes.
            main: a Python program that runs the command line.
            env: more of its environment.
        """
        allowed = ("--allow-import", "tests.chaos.witness")
        command = command or self.rng.choice([("run", str(self.file)), ("resume", "chaos", *allowed)])
        if command[0] == "worker":
            command = (*command, *allowed)
        where = ("--storage", self.url, "--artifacts", str(self.artifacts), "--workers", str(workers))
        arguments = [*command, *where, "--checkpoint-every", str(self.every_s)]
        paths = [str(ROOT), str(ROOT / "src")]
        own = {"CHAOS_EPOCHS": str(self.notes), "CHAOS_SLEEP_S": str(self.sleep_s), "PYTHONPATH": ":".join(paths)}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", main, *arguments],
                cwd=self.folder,
                env={**os.environ, **own, **env, "OMP_NUM_THREADS": "1", "COLUMNS": "400"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def trained(self) -> list[tuple[int, int, int]]:
        """Trial, repeat and epoch of every epoch that was trained to its end."""
        lines = self.notes.read_text().splitlines()
        return [(int(trial), int(repeat), int(epoch)) for trial, repeat, epoch in map(str.split, lines)]

    def wait_for_epochs(self, more: int, *processes: "subprocess.Popen[bytes]") -> bool:
        """Wait until so many more epochs are trained; False when the processes ended before."""
        goal = self.count() + more
        wait_until(lambda: self.count() >= goal or all(process.poll() is not None for process in processes))
        return any(process.poll() is None for process in processes)

    def count(self) -> int:
        """Epochs trained so far."""
        return self.notes.read_bytes().count(b"\n")

    def wait_a_moment(self) -> None:
        """Until somewhere in the next epoch, or in what is stored before it."""
        time.sleep(self.rng.choice([0.01, 0.2, 1.0]) * self.rng.uniform(0, 2 * self.sleep_s))

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """SIGKILL for a search loop and all its processes, and wait for their end."""
        signal_group(process, signal.SIGKILL)
        process.wait()
        self.faults.append(self.count())

    def kill_training(self, process: "subprocess.Popen[bytes]") -> bool:
        """SIGKILL for one of its training processes; False where it has none yet."""
        found = [inner for child in children(process.pid) for inner in children(child)]
        if not found:
            return False
        os.kill(self.rng.choice(found), signal.SIGKILL)
        self.faults.append(self.count())
        return True

    def redone(self) -> int:
        """Epochs trained more than once."""
        trained = self.trained()
        return len(trained) - len(set(trained))

    def most_redone(self) -> int:
        """The most epochs that one trial was trained again between two faults, on one partition."""
        seen: set[tuple[int, int, int]] = set()
        again: Counter[tuple[int, int, int]] = Counter()  # by fault, trial and repeat
        for line, epoch in enumerate(self.trained()):
            if epoch in seen:
                again[sum(fault <= line for fault in self.faults), epoch[0], epoch[1]] += 1
            seen.add(epoch)
        return max(again.values(), default=0)


def signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to a process and all that it started."""
    os.killpg(process.pid, number)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def activity(url: str) -> str:
    """What the connections to a PostgreSQL database do, who keeps whom waiting among them; "" of another kind."""
    if not url.startswith("postgresql"):
        return ""
    engine = create_engine(url, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            lines = ["\t".join(map(str, row)) for row in connection.execute(text(ACTIVITY))]
    except OperationalError as error:
        return f"The server does not answer: {error.orig}"
    finally:
        engine.dispose()
    return "\n".join(["What its connections do:", *lines])


def wait_until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
