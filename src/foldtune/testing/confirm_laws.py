"""Laws of confirmation, on tables of learning curves instead of training; for any database.

A law searches studies of its own, so that many can share a database. It raises `AssertionError` when it is broken.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from foldtune.search.confirm import Confirmation
from foldtune.search.loop import Search
from foldtune.search.plan import Plan
from foldtune.search.result import StudyResult, read_result
from foldtune.search.study import OpenStudy
from foldtune.store.records import RepeatRecord
from foldtune.store.store import Store
from foldtune.testing.mortal import Mortal, live, nobody_lives
from foldtune.testing.search_laws import TablePool, check_same_trials, opened_study, renamed, search_table
from foldtune.testing.store_laws import same
from foldtune.train.stopping import choose_epochs, eligible_epochs
from foldtune.values import Floats


def confirm_table(
    url: str, plan: Plan, pool: TablePool, interrupted: Callable[[], bool] = lambda: False
) -> tuple[bool, StudyResult, list[RepeatRecord]]:
    """Search a study and confirm its best trials, or go on with it, as `run_study` does.

    Args:
        url: a database.
        plan: the study.
        pool: what it reads.
        interrupted: ends confirmation, or the search.
    """
    with opened_study(url, plan) as study:
        ending = Search(study, pool, interrupted).run()
        done = ending != "interrupted" and Confirmation(study, pool, interrupted).run()
        return done, read_result(study.store, plan.spec.name, ending), study.store.repeats(study.record.uuid)


def check_confirmed(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    fresh: Sequence[Floats],
    finalists: int,
) -> None:
    """The best trials are trained on every fresh partition, all their epochs and each once; no trial changes.

    Args:
        url: a database.
        plan: a study of the tables' sizes, its objective minimized.
        table: learning curves.
        fresh: those on fresh partitions, as many as it asks for.
        finalists: how many trials are confirmed.
    """
    _, whole = search_table(url, renamed(plan), TablePool(table))
    pool = TablePool(table, fresh=fresh)
    done, result, repeats = confirm_table(url, plan, pool)
    assert done
    check_same_trials(whole.trials, result.trials)
    best = sorted((trial.values[0], trial.number) for trial in result.trials if trial.values)[:finalists]
    numbers = sorted(number for _, number in best)
    assert [(one.trial, one.repeat) for one in repeats] == [
        (trial, repeat) for trial in numbers for repeat in range(1, len(fresh) + 1)
    ]
    for one in repeats:
        curves = fresh[one.repeat - 1][one.trial].T  # (E, K)
        chosen = choose_epochs(curves, "minimize", eligible_epochs(len(curves), len(curves)))
        scores = curves[chosen - 1, np.arange(len(chosen))][:, None]
        assert (one.state, one.epochs, one.failure) == ("complete", len(curves), None)
        assert same((one.scores, one.chosen), (scores, chosen))
    once = {(one.trial, one.repeat, epoch) for one in repeats for epoch in range(1, one.epochs + 1)}
    assert set(pool.again) == once and len(pool.again) == len(once)


def check_confirmation_deaths(
    url: str,
    plan: Plan,
    table: Floats,  # (trials, K, E) float64
    fresh: Sequence[Floats],
    steps: Iterable[int],
) -> None:
    """A confirmation that dies at any write, again and again, ends as one that does not; its checkpoints are gone.

    Args:
        url: a database.
        plan: a study of the tables' sizes.
        table: learning curves.
        fresh: those on fresh partitions.
        steps: how many calls of pool, store and artifacts each life lasts, the search's not counted.
    """
    _, _, whole = confirm_table(url, plan, TablePool(table, fresh=fresh))
    plan, steps = renamed(plan), list(steps)
    search_table(url, plan, TablePool(table))
    with TemporaryDirectory() as folder, nobody_lives():
        read: list[tuple[int, int, int]] = []
        for count in steps:
            pool = TablePool(table, fresh=fresh)
            live(url, plan, pool, folder, Mortal(count), _confirm)
            read += pool.again
        with opened_study(url, plan, folder) as study:
            pool = TablePool(table, artifacts=study.artifacts, fresh=fresh)
            assert Confirmation(study, pool, saved_every_s=0).run()
            check_same_repeats(whole, study.store.repeats(study.record.uuid))
            _check_curves(study, fresh)
            assert [file for file in Path(folder).rglob("*") if file.is_file()] == []
        read += pool.again
    most = max(sum(one[:2] == again[:2] for one in read) for again in read)
    assert most <= table.shape[2] + len(steps), "a death costs more than an epoch"


def check_same_repeats(left: Iterable[RepeatRecord], right: Iterable[RepeatRecord]) -> None:
    """Repeats are equal to the last bit, apart from what clocks showed."""
    for one, other in zip(left, right, strict=True):
        one, other = (replace(repeat, seconds=0.0, finished_at=None) for repeat in (one, other))
        assert same(one, other), f"{one}\n{other}"


def _check_curves(study: OpenStudy, fresh: Sequence[Floats]) -> None:
    store: Store = study.store
    for one in store.repeats(study.record.uuid):
        curves = store.curves(study.record.uuid, one.trial, one.repeat)
        assert np.array_equal(curves.scores[:, :, 0], fresh[one.repeat - 1][one.trial].T)


def _confirm(study: OpenStudy, pool: Any) -> None:
    Confirmation(study, pool, saved_every_s=0).run()
