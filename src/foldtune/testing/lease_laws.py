"""Laws of a store's leases, for any database: call each with the URL of a database that is empty or holds a store."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain, cycle
from multiprocessing import get_context
from random import Random
from threading import Barrier as StartingLine
from time import sleep
from typing import Any, Literal
from unittest.mock import patch

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from foldtune.errors import LeaseLostError
from foldtune.store import retry
from foldtune.store.clock import now_s
from foldtune.store.records import Barrier, Changes, Lease, Place, TrialRecord
from foldtune.store.store import Store
from foldtune.store.tables import LeaseRow, TrialRow
from foldtune.testing.repeat_laws import make_answers, make_finding, make_partition, make_repeat, make_repeated
from foldtune.testing.store_laws import (
    LONG_S,
    START_S,
    contents,
    create,
    make_finished,
    make_place,
    make_report,
    make_study,
    make_trial,
    opened,
    refused,
    same,
)

Loss = Literal["none", "before", "after"]
"""Whether a connection dies at a commit, and on which side of it."""


def check_a_late_worker_cannot_write(url: str) -> None:
    """A worker whose trials were taken over is refused everything, and changes nothing; the new one goes on."""
    with opened(url) as store, opened(url) as other:
        late = create(store, make_trial(0), make_trial(1), make_finished(2, 0.5))
        store.record(late, make_barrier(0, 1))
        store.renew(late, 0.0)
        lease = other.acquire(late.study, make_place(2), LONG_S)
        assert other.take_over(lease, nobody) == [0, 1]
        stood = contents(store, late.study)
        for attempt in (
            lambda: store.record(late, make_barrier(0, 2)),
            lambda: store.record(late, Barrier(seconds=1.0)),
            lambda: store.renew(late, LONG_S),
            lambda: store.reserve(late, 1, 9),
            lambda: store.take_over(late, lambda _: True),
            lambda: store.add_partition(late, 1, make_partition(1)),
            lambda: store.record(late, Barrier(repeats=(make_repeat(2, 1, 0.5),))),
        ):
            refused(
                attempt, f"must still hold its lease to write, however: lease {late.token}. Another", LeaseLostError
            )
        store.release(late)
        assert contents(store, late.study) == stood
        other.record(lease, make_barrier(0, 2))
        assert [trial.lease for trial in store.trials(late.study)] == [lease.token, lease.token, late.token]


def check_trials_of_others_are_refused(url: str) -> None:
    """Who holds a lease writes to its own trials alone, whether it reports on them or changes them."""
    with opened(url) as store:
        lease = create(store, make_trial(0), make_trial(1))
        other = store.acquire(lease.study, make_place(2), LONG_S)
        assert store.reserve(other, 1, 9) == [2]
        stood = contents(store, lease.study)
        owner = f"however: trial 1 to lease {lease.token}, not {other.token}"
        for barrier in (
            Barrier(asked=(make_trial(2), make_trial(1))),
            Barrier(trials=(make_trial(1), make_trial(2))),
            Barrier(reports=(make_report(2, 1), make_report(1, 1))),
        ):
            refused(lambda barrier=barrier: store.record(other, barrier), owner, LeaseLostError)  # type: ignore[misc]
        assert contents(store, lease.study) == stood


def check_the_free_are_taken_and_no_others(url: str) -> None:
    """Open trials of dead, ended, released or missing leases are taken, under their numbers and as they stand."""
    asked: list[int] = []

    def is_dead(place: Place) -> bool:
        asked.append(place.pid)
        return place == make_place(2)

    with opened(url) as store:
        mine = create(store, *(make_trial(number) for number in range(2)))
        uuid = mine.study
        dead, living, ended, released, old = (
            store.acquire(uuid, make_place(pid), 0.0 if pid == 4 else LONG_S) for pid in range(2, 7)
        )
        for lease in (dead, living, ended, released, old):
            first, *_ = store.reserve(lease, 2, 99)
            store.record(lease, Barrier(asked=(make_trial(first, epochs=3), make_finished(first + 1, 0.5))))
        waiting = store.reserve(dead, 1, 99)
        store.release(released)
        with store.engine.begin() as connection:  # as a database of an older version has it
            connection.execute(update(TrialRow).where(TrialRow.lease == old.token).values(lease=None))
        before = store.trials(uuid)
        assert store.take_over(mine, is_dead) == [2, 6, 8, 10, *waiting]
        assert sorted(asked) == [2, 3, 6]  # nobody asks about itself, or about one whose time is over
        taken = {2, 6, 8, 10, *waiting}
        after = [replace(trial, lease=mine.token) if trial.number in taken else trial for trial in before]
        assert same(store.trials(uuid), after)
        store.renew(living, LONG_S)
        refused(lambda: store.renew(dead, LONG_S), "must still hold its lease", LeaseLostError)
        refused(lambda: store.renew(ended, LONG_S), "must still hold its lease", LeaseLostError)
        assert store.take_over(mine, nobody) == []


def check_studies_are_apart(url: str) -> None:
    """No lease reaches into another study."""
    with opened(url) as store:
        lease, other = create(store, make_trial(0)), create(store, make_trial(0))
        store.renew(other, 0.0)
        stood = contents(store, other.study)
        crossed = Lease(lease.token, other.study)
        assert store.take_over(lease, lambda _: True) == []
        refused(lambda: store.renew(crossed, LONG_S), "must still hold its lease", LeaseLostError)
        refused(lambda: store.reserve(crossed, 1, 9), "must still hold its lease", LeaseLostError)
        store.release(crossed)
        assert contents(store, other.study) == stood
        store.renew(lease, LONG_S)


def check_time_is_the_databases(url: str, seconds: float = 0.3) -> None:
    """A lease ends after its time, and each write and renewal begins it anew."""
    with opened(url) as store:
        lease = create(store, make_trial(0))
        other = store.acquire(lease.study, make_place(2), LONG_S)
        store.renew(lease, seconds)
        sleep(seconds)
        assert store.take_over(other, nobody) == [0]
        for write in (
            lambda: store.record(other, Barrier()),
            lambda: store.renew(other, LONG_S),
            lambda: store.reserve(other, 0, 0),
            lambda: store.take_over(other, nobody),
        ):
            _expire(store, other)
            write()
            assert LONG_S - START_S < _left_s(store, other) <= LONG_S


def check_tokens_are_never_given_twice(url: str) -> None:
    """A token is greater than all before it, whether those are given back or their study is gone."""
    tokens = []
    with opened(url) as store:
        lease = create(store)
        for _ in range(3):
            tokens.append(lease.token)
            store.release(lease)
            store.release(lease)
            lease = store.acquire(lease.study, make_place(), LONG_S)
        assert tokens == sorted(set(tokens))


def check_numbers_are_reserved_once(url: str, n_processes: int = 4, limit: int = 50) -> None:
    """Processes that reserve at once get each number once, without a gap, and none beyond the limit."""
    with opened(url) as store:
        uuid = create(store, make_trial(0)).study
        context = get_context("spawn")
        line = context.Barrier(n_processes)
        arguments = [(url, uuid, line, limit, pid) for pid in range(n_processes)]
        processes = [context.Process(target=_reserve_all, args=each, daemon=True) for each in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join(START_S)
        assert [process.exitcode for process in processes] == [0] * n_processes
        trials = store.trials(uuid)
        assert [trial.number for trial in trials] == list(range(limit))
        assert {trial.engine for trial in trials[1:]} == {f"of {trial.lease}" for trial in trials[1:]}
        assert len({trial.lease for trial in trials[1:]}) == n_processes
        last = store.acquire(uuid, make_place(), LONG_S)
        assert store.reserve(last, 3, limit) == store.reserve(last, 3, 0) == []
        assert store.reserve(last, 3, limit + 2) == [limit, limit + 1]


def check_reserved_trials_are_empty(url: str) -> None:
    """A reserved number is a waiting trial without anything in it, until it is filled."""
    with opened(url) as store:
        lease = create(store)
        assert store.reserve(lease, 2, 9) == [0, 1]
        empty = [TrialRecord(number, "waiting", "sampled", False, {}, {}, {}, lease=lease.token) for number in (0, 1)]
        assert same(store.trials(lease.study), empty)
        store.record(lease, Barrier(asked=(make_trial(1),)))
        assert same(store.trials(lease.study), [empty[0], make_trial(1, lease=lease.token)])


def check_writes_happen_once(url: str, losses: tuple[Loss, ...] = ("after", "before", "none")) -> None:
    """Whatever is lost at commits, on either side of them, has its effect and its answer once."""
    with opened(url) as store:
        smooth = _work_through(store)
        with losing(store, losses):
            assert same(_work_through(store), smooth)


def check_followers_miss_nothing(url: str, n_writers: int = 3, n_rounds: int = 12) -> None:
    """Whoever follows the changes has, at every moment, a study as it stood, and in the end all of it."""
    with opened(url) as store, ThreadPoolExecutor(n_writers) as pool:
        uuid = create(store).study
        writers = [pool.submit(_write_at_random, url, uuid, seed, n_rounds) for seed in range(n_writers)]
        trials: dict[int, TrialRecord] = {}
        means: dict[int, Any] = {}
        tick = -1
        while tick < 0 or not all(writer.done() for writer in writers):
            tick = _follow(store.changes(uuid, tick), tick, trials, means)
        for writer in writers:
            writer.result()
        _follow(store.changes(uuid, tick), tick, trials, means)
        assert same([trials[number] for number in sorted(trials)], store.trials(uuid))
        assert same({number: means[number] for number in sorted(means)}, store.means(uuid))
        whole = store.changes(uuid, -1)
        assert same(list(whole.trials), store.trials(uuid))
        assert same(whole.means, store.means(uuid))
        assert store.changes(uuid, whole.tick).trials == ()


def check_reports_alone_are_changes(url: str) -> None:
    """A follower is told of an epoch even where nothing else of its trial has changed, and of nothing twice."""
    with opened(url) as store:
        lease = create(store, make_trial(0), make_trial(1))
        tick = store.changes(lease.study, -1).tick
        store.record(lease, Barrier((make_report(1, 1, 0.25),)))
        changes = store.changes(lease.study, tick)
        assert same(list(changes.trials), [make_trial(1, lease=lease.token)])
        assert (changes.tick, changes.means) == (tick + 1, {1: {1: 0.25}})
        store.renew(lease, LONG_S)
        store.record(lease, Barrier(seconds=1.0))
        assert store.changes(lease.study, changes.tick).trials == ()


LAWS: tuple[Callable[[str], None], ...] = (
    check_a_late_worker_cannot_write,
    check_trials_of_others_are_refused,
    check_the_free_are_taken_and_no_others,
    check_studies_are_apart,
    check_time_is_the_databases,
    check_tokens_are_never_given_twice,
    check_numbers_are_reserved_once,
    check_reserved_trials_are_empty,
    check_writes_happen_once,
    check_reports_alone_are_changes,
    check_followers_miss_nothing,
)
"""Every law, to be run over a store's databases."""


def nobody(place: Place) -> bool:
    """No search loop is known to be dead."""
    return False


def make_barrier(number: int, epoch: int) -> Barrier:
    """One trial's next epoch."""
    return Barrier((make_report(number, epoch, 0.1 * epoch),), (make_trial(number, epochs=epoch),), seconds=0.5)


@contextmanager
def losing(store: Store, losses: tuple[Loss, ...]) -> Iterator[None]:
    """Let connections die at commits, by turns, and the store try again without a pause."""
    dialect, turns = store.engine.dialect, cycle(losses)
    commit, rollback = dialect.do_commit, dialect.do_rollback

    def lose(connection: Any) -> None:
        turn = next(turns)
        (rollback if turn == "before" else commit)(connection)
        if turn != "none":
            raise DBAPIError("COMMIT", {}, Exception("the connection was lost"), connection_invalidated=True)

    with patch.object(dialect, "do_commit", lose), patch.object(retry, "FIRST_PAUSE_S", 0.0):
        yield


def _work_through(store: Store) -> list[object]:
    """All that a worker does with a study of its own, and how it ends, without what no two studies share."""
    study = make_study()
    with closing(Store(store.engine.url.render_as_string(hide_password=False))) as untroubled:
        untroubled.create_study(study)  # is not tried again
    lease, first = (store.acquire(study.uuid, make_place(pid), LONG_S) for pid in (1, 2))
    answers: list[object] = [store.reserve(first, 2, 9)]
    store.record(first, Barrier(asked=(make_trial(0), make_trial(1))))
    store.record(first, make_barrier(0, 1))
    answers += [store.reserve(lease, 2, 3), store.reserve(lease, 2, 3)]
    answers += [store.take_over(lease, lambda place: place.pid == 2), store.take_over(lease, nobody)]
    for epoch in (2, 3, 4, 5):
        store.record(lease, make_barrier(0, epoch))
        store.renew(lease, LONG_S)
    store.add_partition(lease, 1, make_partition(1))
    store.record(lease, Barrier((make_repeated(0, 1),), repeats=(make_repeat(0, 1, 0.5),), kept=(make_answers(0, 1),)))
    for finding in (make_finding("score"), make_finding("test")):
        store.keep(study.uuid, finding)
    answers += [store.partitions(study.uuid), store.repeats(study.uuid), store.curves(study.uuid, 0, 1)]
    answers += [store.answers(study.uuid, 1), store.findings(study.uuid)]
    changes = store.changes(study.uuid, 3)
    held = select(LeaseRow.writes).where(LeaseRow.id == lease.token)
    with store.engine.connect() as connection:
        answers.append(connection.scalars(held).one())
    store.release(lease)
    trials = [replace(trial, lease=None) for trial in chain(store.trials(study.uuid), changes.trials)]
    return [*answers, trials, changes.tick, changes.means, store.means(study.uuid), store.seconds(study.uuid)]


def _write_at_random(url: str, uuid: str, seed: int, n_rounds: int) -> None:
    """Reserve, ask, report, finish and take over, whatever comes."""
    random = Random(seed)
    with opened(url) as store:
        lease = store.acquire(uuid, make_place(seed), LONG_S)
        epochs: dict[int, int] = {}
        for _ in range(n_rounds):
            asked = store.reserve(lease, random.randrange(3), 30)
            trained = [number for number in epochs if random.random() < 0.7]
            epochs |= {number: epochs[number] + 1 for number in trained} | dict.fromkeys(asked, 0)
            barrier = Barrier(
                reports=tuple(make_report(number, epochs[number], random.random()) for number in trained),
                trials=tuple(make_trial(number, epochs=epochs[number]) for number in trained),
                asked=tuple(make_trial(number) for number in asked),
            )
            store.record(lease, barrier)
            if random.random() < 0.2:
                store.release(lease)
                lease = store.acquire(uuid, make_place(seed), LONG_S)
                epochs = {number: store.trial(uuid, number).epochs for number in store.take_over(lease, nobody)}


def _follow(changes: Changes, since: int, trials: dict[int, TrialRecord], means: dict[int, Any]) -> int:
    """Take changes over, which must be of one moment; their tick."""
    assert changes.tick >= since
    assert not changes.trials or changes.tick > since
    for trial in changes.trials:
        assert trial.epochs == len(changes.means.get(trial.number, ()))
    trials |= {trial.number: trial for trial in changes.trials}
    means |= changes.means
    return changes.tick


def _reserve_all(url: str, uuid: str, line: StartingLine, limit: int, pid: int) -> None:
    """Reserve trials until there are no more, and write on each whose it is."""
    random = Random(pid)
    with opened(url) as store:
        lease = store.acquire(uuid, make_place(pid), LONG_S)
        line.wait(START_S)
        for turn in range(limit):
            if turn == 1:  # everybody has some
                line.wait(START_S)
            numbers = store.reserve(lease, random.randint(1, 3), limit)
            store.record(
                lease, Barrier(asked=tuple(make_trial(number, engine=f"of {lease.token}") for number in numbers))
            )


def _expire(store: Store, lease: Lease) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(LeaseRow).where(LeaseRow.id == lease.token).values(expires_at=0.0))


def _left_s(store: Store, lease: Lease) -> float:
    left = select(LeaseRow.expires_at - now_s()).where(LeaseRow.id == lease.token)
    with store.engine.connect() as connection:
        return connection.scalars(left).one()
