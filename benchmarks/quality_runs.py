"""Runs either side in fresh processes and reads from its database when each trial was finished, and how good it is."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmarks import machine, quality_peer
from benchmarks.quality_cases import BATCH_SIZE, SPLIT_SEED, Size, Variant, arrays, study
from foldtune.errors import StoreError
from foldtune.store.records import TrialRecord
from foldtune.store.store import Store
from foldtune.train.stopping import choose_epochs, eligible_epochs, fold_mean
from foldtune.values import Floats

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ROOT = Path(__file__).parents[1]
WORKERS = 2
GRACE_S = 120.0
"""How long a search may take to begin, and to end once it was told to."""

Process = subprocess.Popen[bytes]
Definition = Literal["last", "chosen"]


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Args:
        finished_s: since the first trial of its search began.
        state: complete, pruned or failed.
        last: a complete trial's mean over folds of the log loss after the last epoch.
        chosen: the same at each fold's epoch as the other folds choose it.
    """

    finished_s: float
    state: str
    last: float = float("inf")
    chosen: float = float("inf")


@dataclass(frozen=True)
class Run:
    """One search.

    Args:
        startup_s: from the start of its processes to the beginning of its first trial.
        searched_s: from there to its end.
        trials: those finished, in that order.
        how: engines and cohort, as stored.
        foreign: cores that other processes took meanwhile.
    """

    startup_s: float
    searched_s: float
    trials: tuple[Trial, ...]
    how: str
    foreign: float = 0.0


Enough = Callable[[Run], bool]


def scored(curves: Floats) -> dict[Definition, float]:
    """Both definitions of a complete trial's score, for both sides.

    Args:
        curves: log loss of every epoch and fold, shape (E, K).
    """
    epochs, folds = curves.shape
    chosen = choose_epochs(curves, "minimize", eligible_epochs(epochs, epochs))
    return {"last": fold_mean(curves[-1]), "chosen": fold_mean(curves[chosen - 1, np.arange(folds)])}


def watched(search: Callable[[], Run]) -> Run:
    """A search, with what other processes took of the machine meanwhile."""
    busy, used, began = machine.busy_s(), machine.used_s([os.getpid()]), time.monotonic()
    run = search()
    foreign = (machine.busy_s() - busy) - (machine.used_s([os.getpid()]) - used)
    return replace(run, foreign=max(0.0, foreign / (time.monotonic() - began)))


def run_peer(data_set: str, seed: int, size: Size) -> Run:
    """The usual Optuna script in two processes, until its trials are spent."""
    with TemporaryDirectory() as name:
        folder, url = Path(name), f"sqlite:///{name}/peer.db"
        data = str(_save(data_set, folder))
        job = quality_peer.Job(data, url, seed, **asdict(size), split_seed=SPLIT_SEED, batch_size=BATCH_SIZE)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
        quality_peer.create(url)
        command = [sys.executable, "-m", "benchmarks.quality_peer", f"{name}/job.json"]
        began = time.time()
        with ExitStack() as stack:
            processes = [stack.enter_context(_process([*command, str(i)], folder)) for i in range(WORKERS)]
            for process in processes:
                _check(process.wait(), (0,), folder)
        return read_peer(url, began, size.trials)


def run_foldtune(data_set: str, seed: int, size: Size, variant: Variant, *, budget_s: float, enough: Enough) -> Run:
    """`foldtune run` until it is good enough, or its time is over.

    Args:
        data_set: its name.
        seed: of the study.
        size: its epochs and folds; the number of trials is not limited.
        variant: how it is run.
        budget_s: the most time it gets, after the start-up.
        enough: whether the targets are reached.
    """
    with TemporaryDirectory() as name:
        folder, url = Path(name), f"sqlite:///{name}/foldtune.db"
        file = folder / "study.yaml"
        file.write_text(json.dumps(study(_save(data_set, folder), seed=seed, size=size)))  # JSON is YAML
        sets = [text for override in variant.overrides for text in ("--set", override)]
        foldtune = str(Path(sys.executable).with_name("foldtune"))
        command = [foldtune, "run", str(file), "--storage", url, "--workers", str(WORKERS), "--quiet", *sets]
        began = time.time()
        with _process(command, folder) as process, closing(Reader(url, began)) as reader:
            _watch(process, reader, budget_s, enough)
            process.send_signal(signal.SIGINT)
            _check(process.wait(GRACE_S), (130,), folder)  # interrupted: it never ends by itself
            return _cut(reader.run(), budget_s, enough)


class Reader:
    """Follows the database of a foldtune search from outside.

    Args:
        url: of the database.
        began: when its process was started, in seconds since 1970.
    """

    def __init__(self, url: str, began: float) -> None:
        self.url, self.began = url, began
        self.store: Store | None = None
        self.scores: dict[int, dict[Definition, float]] = {}

    def run(self) -> Run:
        """What is stored by now.

        Raises:
            StoreError: the study is not stored yet.
        """
        store = self.store = self.store or Store(self.url, create=False)
        record = store.study(quality_peer.STUDY)
        trials = store.trials(record.uuid)
        first = min((trial.started_at.timestamp() for trial in trials if trial.started_at), default=time.time())
        for trial in trials:
            if trial.state == "complete" and trial.number not in self.scores:
                self.scores[trial.number] = scored(store.curves(record.uuid, trial.number).scores[:, :, 0])
        finished = [self._trial(trial, first) for trial in trials if trial.finished_at]
        engines = " and ".join(sorted({trial.engine for trial in trials if trial.epochs}))
        how = f"{engines}, cohort {record.spec['search'].get('cohort', 'by default')}"
        return Run(first - self.began, time.time() - first, tuple(sorted(finished, key=_when)), how)

    def close(self) -> None:
        """Give the database's connections back."""
        if self.store is not None:
            self.store.close()

    def _trial(self, trial: TrialRecord, first: float) -> Trial:
        assert trial.finished_at is not None
        return Trial(trial.finished_at.timestamp() - first, trial.state, **self.scores.get(trial.number, {}))


def read_peer(url: str, began: float, n_trials: int) -> Run:
    """The peer's search up to the trial that spent its budget.

    Args:
        url: of its database.
        began: when its processes were started, in seconds since 1970.
        n_trials: the budget; the other process finishes one more.
    """
    import optuna

    trials = optuna.load_study(study_name=quality_peer.STUDY, storage=quality_peer.storage(url)).trials
    first = min(trial.datetime_start.timestamp() for trial in trials if trial.datetime_start)
    finished = sorted((_peer_trial(trial, first) for trial in trials if trial.state.is_finished()), key=_when)[
        :n_trials
    ]
    return Run(first - began, finished[-1].finished_s, tuple(finished), f"optuna {optuna.__version__}")


def _peer_trial(trial: "FrozenTrial", first: float) -> Trial:
    assert trial.datetime_complete is not None
    state = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
    scores = scored(np.array(trial.user_attrs["curves"]).T) if state == "complete" else {}
    return Trial(trial.datetime_complete.timestamp() - first, state, **scores)


def _when(trial: Trial) -> float:
    return trial.finished_s


def _watch(process: Process, reader: Reader, budget_s: float, enough: Enough) -> None:
    """Wait until the search is good enough or its time is over; reading it takes 5 % of one core at most.

    Raises:
        StoreError: it has not begun in time, or has died before.
    """
    given_up = time.time() + GRACE_S
    while True:
        began = time.perf_counter()
        try:
            run = reader.run()
        except StoreError:
            if time.time() > given_up or process.poll() is not None:
                raise
        else:
            if run.searched_s > budget_s or process.poll() is not None or enough(run):
                return
        time.sleep(max(0.2, 20 * (time.perf_counter() - began)))


def _cut(run: Run, budget_s: float, enough: Enough) -> Run:
    """The search up to the trial that made it good enough, else up to its time."""
    inside = tuple(trial for trial in run.trials if trial.finished_s <= budget_s)
    for count in range(1, len(inside) + 1):
        shorter = replace(run, searched_s=inside[count - 1].finished_s, trials=inside[:count])
        if enough(shorter):
            return shorter
    return replace(run, searched_s=budget_s, trials=inside)


def _save(data_set: str, folder: Path) -> Path:
    inputs, target = arrays(data_set)
    np.savez(folder / "data.npz", X=inputs, y=target)
    return folder / "data.npz"


@contextmanager
def _process(command: Sequence[str], folder: Path) -> Iterator[Process]:
    """A process whose words go to a file; it does not outlive the block."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _check(code: int, expected: Sequence[int], folder: Path) -> None:
    if code not in expected:
        words = (folder / "log").read_text()[-2000:]
        raise RuntimeError(f"a search ended with exit code {code}, not {expected}. Its last words:\n{words}")
