"""Laws of what a store holds beside the search: partitions, repeats, out-of-fold answers, findings.

For any database: call each with the URL of one that is empty or holds a store.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import numpy as np

from foldtune.errors import LeaseLostError
from foldtune.store.records import Barrier, Finding, FindingKind, Kept, RepeatRecord
from foldtune.testing.store_laws import (
    LONG_S,
    METRICS,
    K,
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
    survives,
)
from foldtune.values import AnswerKind, EpochReport, Failure, Fold, OutOfFold

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
ROWS = sum(len(fold.valid) for fold in make_study().folds)
COLUMNS = {"logits": 3, "label logits": 4, "values": 2, "losses": 1}
DTYPES = {"logits": np.float16, "label logits": np.float16, "values": np.float32, "losses": np.float32}


def make_partition(first: int) -> tuple[Fold, ...]:
    """The study's folds, begun with that one."""
    folds = make_study().folds
    return folds[first:] + folds[:first]


def make_repeat(trial: int, repeat: int, value: float) -> RepeatRecord:
    """A complete repeat with that value in every place that holds one."""
    scores, chosen = np.full((K, len(METRICS)), value), np.array([3, 1, 2])
    return RepeatRecord(trial, repeat, "complete", 4, 1e-300, scores, chosen, "packed", None, MOMENT)


def make_answers(trial: int, repeat: int, value: float = 0.5, kind: AnswerKind = "logits") -> Kept:
    """Answers for all rows, with that value among them."""
    answers = np.arange(ROWS * COLUMNS[kind], dtype=DTYPES[kind]).reshape(ROWS, -1)
    answers[1, 0] = value
    return Kept(trial, repeat, OutOfFold(kind, answers, np.array([1, 4, 2])))


def make_finding(kind: FindingKind, tick: int = 3, seconds: int = 0) -> Finding:
    """A finding of that tick, found so many seconds later."""
    content = {"naive": 0.1, "interval": [0.0, float("inf")], "of": {"tick": tick, "seconds": seconds}}
    return Finding(kind, 1, content, tick, MOMENT + timedelta(seconds=seconds))


def make_repeated(trial: int, epoch: int, value: float = 0.5) -> EpochReport:
    """The report of one epoch on partition 1."""
    return replace(make_report(trial, epoch, value), repeat=1)


def check_partitions_stay(url: str) -> None:
    """A partition is stored once: what comes again must be the same, and changes nothing."""
    study = make_study()
    with opened(url) as store:
        lease = create(store, study=study)
        store.add_partition(lease, 2, make_partition(2))
        store.add_partition(lease, 1, make_partition(1)[:2])
        assert same(store.partitions(study.uuid), {0: study.folds, 1: make_partition(1)[:2], 2: make_partition(2)})
        assert same(store.study(study.name).folds, study.folds)
        stood = contents(store, study.uuid)
        store.add_partition(lease, 2, make_partition(2))
        for repeat in range(3):
            refused(
                lambda repeat=repeat: store.add_partition(lease, repeat, make_partition(1)),  # type: ignore[misc]
                f"must stay as it was stored, however: partition {repeat}",
            )
        refused(lambda: store.add_partition(lease, -1, make_partition(1)), "must have a number from 0, and folds")
        refused(lambda: store.add_partition(lease, 3, ()), "must have a number from 0, and folds")
        assert contents(store, study.uuid) == stood
        store.release(lease)
        refused(lambda: store.add_partition(lease, 3, make_partition(1)), "must still hold its lease", LeaseLostError)


def check_repeats_survive(url: str, value: float = 0.1) -> None:
    """Repeats come back by trial and number as they were last, whatever floats they hold."""
    failed = replace(make_repeat(0, 2, value), state="failed", failure=Failure("diverged", "x\x00", "Traceback"))
    with opened(url) as store:
        lease = create(store, make_finished(0, 0.5), make_finished(1, 0.5))
        store.record(lease, Barrier(repeats=(RepeatRecord(1, 1), RepeatRecord(0, 2), RepeatRecord(0, 1))))
        store.record(lease, Barrier(repeats=(failed, make_repeat(1, 1, value))))
        assert same(store.repeats(lease.study), [RepeatRecord(0, 1), failed, make_repeat(1, 1, value)])


def check_answers_survive(url: str, value: float = 0.1) -> None:
    """Answers of every kind come back as they were last, by trial, those of one partition."""
    kept = [make_answers(number, 0, value, kind) for number, kind in enumerate(get_args(AnswerKind))]
    with opened(url) as store:
        lease = create(store, *(make_trial(each.trial) for each in kept))
        store.add_partition(lease, 1, make_partition(1))
        store.record(lease, Barrier(kept=(make_answers(2, 0), kept[1], make_answers(1, 1, value))))
        store.record(lease, Barrier(kept=(kept[0], *kept[:1:-1])))
        assert same(store.answers(lease.study), {each.trial: each.out_of_fold for each in kept})
        assert same(store.answers(lease.study, 1), {1: make_answers(1, 1, value).out_of_fold})
        assert [list(store.answers(lease.study, trial=number)) for number in (0, 1, 9)] == [[0], [1], []]
        refused(lambda: store.answers(lease.study, 2), "there is no partition 2 in the study")


def check_repeats_leave_trials_alone(url: str) -> None:
    """A repeat has curves of its own, and changes nothing of its trial that a search goes by."""
    with opened(url) as store:
        lease = create(store, make_trial(0))
        uuid = lease.study
        store.record(lease, Barrier((make_report(0, 1, 0.25),), (make_finished(0, 0.5),)))
        store.add_partition(lease, 1, make_partition(1)[:2])
        before = store.changes(uuid, -1), store.means(uuid), store.curves(uuid, 0), store.last_epochs(uuid)
        assert store.curves(uuid, 0, 1).losses.shape == (0, 2)
        reports = tuple(
            replace(report, losses=report.losses[:2], scores=report.scores[:2])
            for report in (make_repeated(0, 1, 0.75), make_repeated(0, 2, 0.5))
        )
        store.record(lease, Barrier(reports, repeats=(make_repeat(0, 1, 0.1),), kept=(make_answers(0, 1),)))
        curves = store.curves(uuid, 0, 1)
        assert curves.epochs.tolist() == [1, 2]
        assert same(curves.scores, np.stack([report.scores for report in reports]))
        changes = store.changes(uuid, -1)
        assert changes.tick == before[0].tick + 1
        after = replace(changes, tick=before[0].tick), store.means(uuid), store.curves(uuid, 0), store.last_epochs(uuid)
        assert same(after, before)
        assert store.changes(uuid, before[0].tick).trials == ()
        refused(lambda: store.record(lease, Barrier(reports[:1])), "stored once, .*: trial 0 repeat 1 epoch 1")
        refused(lambda: store.curves(uuid, 0, 2), "there is no partition 2 in the study")


def check_a_barrier_with_them_is_whole(url: str) -> None:
    """A barrier that fails, at whichever statement, leaves repeats and answers as they were."""
    before = Barrier(repeats=(RepeatRecord(0, 1),), kept=(make_answers(0, 1, 0.25),))
    after = Barrier((make_repeated(0, 1),), repeats=(make_repeat(0, 1, 0.5),), kept=(make_answers(0, 1, 0.5),))
    with opened(url) as store:
        lease = create(store, make_trial(0))
        store.add_partition(lease, 1, make_partition(1))
        store.record(lease, before)
        stood = contents(store, lease.study)
        failures = 0
        while not survives(store, lease, after, failures):
            failures += 1
            assert contents(store, lease.study) == stood
        assert failures >= 8  # locks, owners, points, two replacements
        assert same(store.repeats(lease.study), list(after.repeats))
        assert same(store.answers(lease.study, 1), {0: after.kept[0].out_of_fold})


def check_who_may_repeat(url: str) -> None:
    """The study's oldest lease trains any trial once more, others only their own; the trial's own state is its own."""
    with opened(url) as store:
        leading = create(store, make_trial(0))
        other = store.acquire(leading.study, make_place(2), LONG_S)
        store.reserve(other, 1, 9)
        foreign = (
            lambda lease, number: store.record(lease, Barrier((make_repeated(number, 1),))),
            lambda lease, number: store.record(lease, Barrier(repeats=(RepeatRecord(number, 1),))),
            lambda lease, number: store.record(lease, Barrier(kept=(make_answers(number, 1),))),
        )
        stood = contents(store, leading.study)
        rule = f"or that lease be the study's oldest, however: trial 0 to lease {leading.token}, not {other.token}"
        for write in foreign:
            refused(lambda write=write: write(other, 0), rule, LeaseLostError)  # type: ignore[misc]
            refused(lambda write=write: write(other, 7), "there is no trial 7")  # type: ignore[misc]
        own = Barrier(kept=(make_answers(1, 0),))
        refused(lambda: store.record(leading, own), "must belong to the lease that writes to it", LeaseLostError)
        assert contents(store, leading.study) == stood
        for write in foreign:
            write(leading, 1)
            write(other, 1) if write is not foreign[0] else store.record(other, Barrier((make_repeated(1, 2),)))
        store.renew(leading, 0.0)
        for write in foreign:
            write(other, 0)


def check_findings(url: str) -> None:
    """Audits stay beside each other; of other kinds the newest stands. What is found twice is kept once."""
    with opened(url) as store:
        uuid, apart = create(store).study, create(store).study
        assert store.findings(uuid) == []
        kept = [make_finding("score"), make_finding("test"), make_finding("nested", 2), make_finding("score", 4)]
        later = replace(kept[2], tick=3, created_at=MOMENT + timedelta(hours=1))  # found by another process as well
        for finding in (*kept, *kept[:3], later, make_finding("test", 3, 1), make_finding("calibration")):
            store.keep(uuid, finding)
        found = [*kept[1:3], make_finding("score", 4), make_finding("test", 3, 1), make_finding("calibration")]
        assert sorted(map(str, store.findings(uuid))) == sorted(map(str, found))
        assert same(store.findings(uuid, "test"), [make_finding("test"), make_finding("test", 3, 1)])
        store.keep(uuid, make_finding("score", 4, 1))
        assert same(store.findings(uuid)[-1], make_finding("score", 4, 1))
        assert same(store.findings(uuid, "score"), [make_finding("score", 4, 1)])
        assert store.findings(apart) == store.findings(uuid, "confirmation") == []
        store.create_study(known := make_study("known"), make_finding("warnings", 0))
        assert same(store.findings(known.uuid), [make_finding("warnings", 0)])
        refused(lambda: store.keep("0" * 32, kept[0]), "there is no study with the uuid")
        refused(lambda: store.findings("0" * 32), "there is no study with the uuid")


def check_a_trial_put_back_is_without_them(url: str) -> None:
    """A failed trial that is tried again loses its answers, repeats and curves; others what is done again."""
    failed = make_trial(0, state="failed", failure=Failure("diverged", "", ""), n_parameters=9)
    with opened(url) as store:
        lease = create(store, failed, make_finished(1, 0.5))
        uuid = lease.study
        store.add_partition(lease, 1, make_partition(1))
        numbers = (0, 1)
        reports = tuple(make(number, 1) for number in numbers for make in (make_report, make_repeated))
        without = (RepeatRecord(1, 2, "pruned"), RepeatRecord(1, 3, "failed"))
        repeats = (*(make_repeat(number, 1, 0.1) for number in numbers), *without)
        kept = tuple(make_answers(number, repeat) for number in numbers for repeat in (0, 1))
        store.record(lease, Barrier(reports, repeats=repeats, kept=kept))
        assert store.retry(lease) == [0]
        assert [(one.trial, one.repeat) for one in store.repeats(uuid)] == [(1, 1)]
        assert [list(store.answers(uuid, repeat)) for repeat in (0, 1)] == [[1], [1]]
        lengths = [[len(store.curves(uuid, number, repeat).epochs) for repeat in (0, 1)] for number in numbers]
        assert lengths == [[0, 0], [1, 1]]
        assert store.trial(uuid, 0).n_parameters is None


LAWS: tuple[Callable[[str], None], ...] = (
    check_partitions_stay,
    check_repeats_survive,
    check_answers_survive,
    check_repeats_leave_trials_alone,
    check_a_barrier_with_them_is_whole,
    check_who_may_repeat,
    check_findings,
    check_a_trial_put_back_is_without_them,
)
"""Every law, to be run over a store's databases."""
