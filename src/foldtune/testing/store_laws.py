"""Laws of a store, for any database: call each with the URL of a database that is empty or holds a store.

A law makes a study of its own, so that many can share a database. It raises `AssertionError` when it is broken.
"""

import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from threading import Barrier as StartingLine
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import event, select

from foldtune.errors import StoreError
from foldtune.store import rows
from foldtune.store.records import Barrier, Lease, Place, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.store.tables import Base, StudyRow
from foldtune.values import EpochReport, Failure, Fold

K = 3
METRICS = ("log_loss", "roc_auc")
LONG_S = 600.0
"""A lease that no law sees end."""

START_S = 60.0
"""How long a law waits for a process that it starts."""


def make_study(name: str | None = None) -> StudyRecord:
    """A study of 9 rows in 3 folds, with a name of its own when none is given."""
    uuid = uuid4().hex
    numbers = np.arange(9, dtype=np.int64)
    return StudyRecord(
        uuid=uuid,
        name=name or f"study-{uuid}",
        spec={"name": "étude", "search": {"trials": 7}, "model": {"use": "MLP", "$dropout": [0.0, -0.0, float("inf")]}},
        folder="/data/\udcff",
        file="adult.yaml",
        seed=2**70,
        objectives=METRICS[:1],
        directions=("minimize",),
        metrics=METRICS,
        data_fingerprint="d" * 64,
        split_fingerprint="s" * 64,
        n_rows=12,
        folds=tuple(Fold(numbers[numbers % K != fold], numbers[numbers % K == fold]) for fold in range(K)),
        locked=np.array([9, 10, 11]),
        versions={"torch": "2.11.0"},
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=-7))),
    )


def make_trial(number: int, **changes: Any) -> TrialRecord:
    """A running trial without epochs, with changes."""
    params: dict[str, str | int | float | bool | None] = {"optimizer.lr": 0.1, "model.norm": None, "model.n": number}
    config = {"optimizer": {"use": "SGD", "lr": 0.1}, "model": {"layers": [1, 2.0, True, "a\x00b"]}}
    trial = TrialRecord(number, "running", "sampled", exempt=False, params=params, config=config, attrs={})
    return replace(trial, **changes)


def make_finished(number: int, value: float) -> TrialRecord:
    """A complete trial with that value in every place that holds one."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    return make_trial(
        number,
        state="complete",
        attrs={"noted": [value, "nan", {"$float": value}]},
        epochs=4,
        seconds=1e-300,
        values=(value,),
        scores=np.full((K, len(METRICS)), value),
        chosen=np.array([1, 4, 2]),
        engine="packed",
        started_at=moment,
        finished_at=moment + timedelta(microseconds=1),
    )


def make_place(pid: int = 1) -> Place:
    """A place where nothing runs."""
    return Place(host="station", namespace="pid:[4026531836]", boot="b" * 36, pid=pid, started="12345678")


def make_report(trial: int, epoch: int, value: float = 0.5) -> EpochReport:
    """The report of one epoch, with that value in every place that holds one."""
    return EpochReport(trial, epoch, losses=np.full(K, value), scores=np.full((K, len(METRICS)), value), seconds=0.1)


def same(left: object, right: object) -> bool:
    """Whether two records are equal to the last bit and in type; a NaN equals any NaN, 0.0 is not -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return (left.dtype, left.shape) == (right.dtype, right.shape) and _bits(left) == _bits(right)
    if is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    if isinstance(left, dict) and isinstance(right, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)


def check_study_survives(url: str) -> None:
    """A study comes back as it was, its time in UTC; a new definition replaces the old one alone."""
    study = make_study()
    with opened(url) as store:
        store.create_study(study)
        found = store.study(study.name)
        assert found.created_at.tzinfo is UTC
        assert same(found, replace(study, created_at=study.created_at.astimezone(UTC)))
        store.update_spec(study.uuid, {"search": {"trials": 9}})
        assert same(store.study(study.name), replace(found, spec={"search": {"trials": 9}}))


def check_trials_survive(url: str, value: float = 0.1) -> None:
    """Trials come back in number order and as they were, whatever floats they hold."""
    failure = Failure("user code", "x\x00\udcff", "Traceback ...")
    trials = [make_trial(2, failure=failure, state="failed"), make_trial(0), make_finished(1, value)]
    with opened(url) as store:
        lease = create(store, *trials)
        owned = [replace(trial, lease=lease.token) for trial in sorted(trials, key=lambda trial: trial.number)]
        assert same(store.trials(lease.study), owned)
        assert same(store.trial(lease.study, 1), owned[1])


def check_curves_survive(url: str, value: float = 0.1) -> None:
    """Curves come back as reported, whatever floats they hold; before the first epoch they are empty."""
    with opened(url) as store:
        lease = create(store, make_trial(0), make_trial(1), make_trial(2, state="complete"))
        uuid = lease.study
        empty = store.curves(uuid, 0)
        assert (empty.epochs.shape, empty.losses.shape, empty.scores.shape) == ((0,), (0, K), (0, K, len(METRICS)))
        reports = [make_report(0, epoch, value * epoch) for epoch in (1, 2)]
        store.record(lease, Barrier(reports=(reports[0], make_report(2, 1))))
        store.record(lease, Barrier(reports=(reports[1],)))
        curves = store.curves(uuid, 0)
        assert curves.epochs.tolist() == [1, 2]
        assert same(curves.losses, np.stack([report.losses for report in reports]))
        assert same(curves.scores, np.stack([report.scores for report in reports]))
        assert store.last_epochs(uuid) == {0: 2, 1: 0}
        averages = {epoch: rows.mean([value * epoch] * K) for epoch in (1, 2)}
        if max(abs(average) for average in averages.values()) != sys.float_info.max:  # MySQL's word for infinity
            assert same(store.means(uuid), {0: averages, 2: {1: rows.mean([0.5] * K)}})


def check_summary(url: str) -> None:
    """A study's line counts its trials and knows the best value, NaN apart, of the complete ones."""
    with opened(url) as store:
        study = replace(make_study(), directions=("maximize",))
        failed = replace(make_finished(2, 9.0), state="failed")
        complete = [make_finished(number, value) for number, value in ((0, -2.0), (1, -1.0), (4, float("nan")))]
        create(store, *complete, failed, make_trial(3), study=study)
        line = next(line for line in store.studies() if line.name == study.name)
    assert line.trials == {"waiting": 0, "running": 1, "complete": 3, "pruned": 0, "failed": 1}
    assert (line.best, line.directions, line.budget, line.created_at) == (-1.0, ("maximize",), 7, study.created_at)


def check_names(url: str) -> None:
    """A study's name is taken once; unknown studies and trials are refused, and nothing is written then."""
    with opened(url) as store:
        study = make_study()
        store.create_study(study)
        refused(
            lambda: store.create_study(make_study(study.name)), f"must be new in its database, however: {study.name}"
        )
        refused(lambda: store.study(study.name[:-1]), f"Did you mean {study.name}")
        refused(lambda: store.trials("0" * 32), "there is no study with the uuid '0000")
        refused(lambda: store.update_spec("0" * 32, {}), "there is no study with the uuid '0000")
        refused(lambda: store.trial(study.uuid, 5), "there is no trial 5 in the study")
        refused(lambda: store.curves(study.uuid, 5), "there is no trial 5 in the study")
        refused(lambda: store.acquire("0" * 32, make_place(), LONG_S), "there is no study with the uuid '0000")
        assert store.trials(study.uuid) == []


def check_record_is_whole(url: str) -> None:
    """A barrier that fails, at whichever statement, leaves the previous one."""
    before = Barrier((make_report(0, 1), make_report(1, 1)), (make_trial(0, epochs=1), make_trial(1, epochs=1)))
    trials = make_trial(0, epochs=2), make_trial(1, epochs=2)
    after = Barrier((make_report(0, 2), make_report(1, 2)), trials, (make_trial(2, epochs=7),), seconds=0.5)
    with opened(url) as store:
        lease = create(store, make_trial(0), make_trial(1))
        uuid = lease.study
        store.record(lease, before)
        assert store.reserve(lease, 1, 9) == [2]
        unknown = replace(after, trials=(*after.trials, make_trial(7)))
        refused(lambda: store.record(lease, unknown), "there is no trial 7")
        refused(lambda: store.record(lease, replace(after, reports=before.reports)), "stored once, .* trial 0 epoch 1")
        stood = contents(store, uuid)
        failures = 0
        while not survives(store, lease, after, failures):
            failures += 1
            assert contents(store, uuid) == stood
        assert failures >= 6  # locks, points, trials, ticks
        assert (snapshot(store, uuid), store.seconds(uuid)) == ([(0, 2, 2), (1, 2, 2), (2, 7, 0)], 0.5)


def check_stores_agree(url: str) -> None:
    """What one store has written the other reads at once."""
    with opened(url) as left, opened(url) as right:
        lease = create(left, make_trial(0))
        uuid = lease.study
        right.record(lease, Barrier((make_report(0, 1),), (make_trial(0, epochs=1),), seconds=0.25))
        left.record(lease, Barrier((make_report(0, 2),), (make_trial(0, epochs=2),), seconds=0.5))
        assert snapshot(left, uuid) == snapshot(right, uuid) == [(0, 2, 2)]
        assert left.seconds(uuid) == right.seconds(uuid) == 0.75


def check_many_start_at_once(url: str, n_processes: int = 8) -> None:
    """Processes that open an empty database at once all succeed, and each one's study is there."""
    names = [f"starter-{uuid4().hex}" for _ in range(n_processes)]
    context = get_context("spawn")
    line = context.Barrier(n_processes)
    processes: list[BaseProcess] = [context.Process(target=_start, args=(url, name, line)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(START_S)
    assert [process.exitcode for process in processes] == [0] * n_processes
    with opened(url) as store:
        assert {study.name for study in store.studies()} >= set(names)


def check_kill_leaves_whole_barriers(url: str, delays_s: Sequence[float] = (0.0, 0.03)) -> None:
    """A writer killed in the middle leaves all trials at one epoch, and the next writer goes on from there."""
    n_trials = 20
    with opened(url) as store:
        lease = create(store, *(make_trial(number) for number in range(n_trials)))
        uuid = lease.study
        for delay_s in delays_s:
            last = store.trial(uuid, 0).epochs
            process = get_context("spawn").Process(target=_record_forever, args=(url, lease, n_trials))
            process.start()
            wait_until(lambda last=last: store.trial(uuid, 0).epochs > last + 3)  # type: ignore[misc]
            sleep(delay_s)
            process.kill()
            process.join(START_S)
            assert process.exitcode == -signal.SIGKILL
            epochs = store.trial(uuid, 0).epochs
            assert snapshot(store, uuid) == [(number, epochs, epochs) for number in range(n_trials)]


LAWS: tuple[Callable[[str], None], ...] = (
    check_study_survives,
    check_trials_survive,
    check_curves_survive,
    check_summary,
    check_names,
    check_record_is_whole,
    check_stores_agree,
    check_many_start_at_once,
    check_kill_leaves_whole_barriers,
)
"""Every law, to be run over a store's databases."""


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """A store that is closed in the end."""
    with closing(Store(url)) as store:
        yield store


def create(store: Store, *trials: TrialRecord, study: StudyRecord | None = None) -> Lease:
    """A new study with these trials, numbered from 0 in any order, and the lease that has them."""
    study = study or make_study()
    store.create_study(study)
    lease = store.acquire(study.uuid, make_place(), LONG_S)
    store.reserve(lease, len(trials), len(trials))
    store.record(lease, Barrier(asked=trials))
    return lease


def snapshot(store: Store, uuid: str) -> list[tuple[int, int, int]]:
    """Each trial's number, its epochs, and the last epoch of its curves."""
    lasts = {trial.number: store.curves(uuid, trial.number).epochs for trial in store.trials(uuid)}
    return [(trial.number, trial.epochs, int(max(lasts[trial.number], default=0))) for trial in store.trials(uuid)]


def contents(store: Store, uuid: str) -> dict[str, list[Any]]:
    """Every row of a study, by table, as it stands."""
    with store.engine.begin() as connection:
        of = select(StudyRow.id).where(StudyRow.uuid == uuid).scalar_subquery()
        found = {}
        for name, table in Base.metadata.tables.items():
            key = table.c.id if name == StudyRow.__tablename__ else table.c.study_id
            stored = connection.execute(select(table).where(key == of).order_by(*table.primary_key))
            found[name] = [repr(row) for row in stored]
        return found


def refused(call: Callable[[], object], message: str, error: type[StoreError] = StoreError) -> None:
    """Check that a call raises that error, with a message in which the pattern occurs."""
    try:
        call()
    except error as raised:
        assert re.search(message, str(raised)), str(raised)
    else:
        raise AssertionError(f"no {error.__name__}: {message}")


def survives(store: Store, lease: Lease, barrier: Barrier, failing: int) -> bool:
    """Record a barrier while its statement number `failing` breaks off; whether it had fewer."""
    count = iter(range(failing + 1_000))

    def break_off(*_: object) -> None:
        if next(count) == failing:
            raise _InjectedError

    event.listen(store.engine, "before_cursor_execute", break_off)
    try:
        store.record(lease, barrier)
    except _InjectedError:
        return False
    finally:
        event.remove(store.engine, "before_cursor_execute", break_off)
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = monotonic() + START_S
    while not condition():
        assert monotonic() < deadline
        sleep(0.002)


def _bits(array: NDArray[Any]) -> bytes:
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.tobytes()


class _InjectedError(Exception):
    """The failure of a statement."""


def _start(url: str, name: str, line: StartingLine) -> None:
    line.wait(START_S)
    with opened(url) as store:
        store.create_study(make_study(name))


def _record_forever(url: str, lease: Lease, n_trials: int) -> None:
    with opened(url) as store:
        epoch = store.trial(lease.study, 0).epochs
        while True:
            epoch += 1
            trials = tuple(make_trial(number, epochs=epoch) for number in range(n_trials))
            reports = tuple(make_report(trial.number, epoch) for trial in trials)
            store.record(lease, Barrier(reports, trials))
