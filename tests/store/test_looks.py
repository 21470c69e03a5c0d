"""Looks at locked rows are counted once each, one after the other, in every database."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import numpy as np
import pytest
from sqlalchemy import event

from foldtune.errors import StoreError
from foldtune.store.looks import add_look, looks
from foldtune.store.records import StudyRecord
from foldtune.store.store import Store
from foldtune.testing.lease_laws import Loss, losing
from foldtune.testing.repeat_laws import make_finding
from foldtune.testing.store_laws import make_study, opened

N_AT_ONCE = 3


def make_two(store: Store) -> list[StudyRecord]:
    """A study and its fork, which lock the same rows of the same data."""
    studies = [make_study(), make_study()]
    for study in studies:
        store.create_study(study)
    return studies


def all_at_once(url: str, studies: list[StudyRecord], *, again: bool) -> list[int]:
    """How many looks each process found before its own; each is slow between reading and writing."""
    start = Barrier(N_AT_ONCE)

    def look(number: int) -> int:
        with closing(Store(url)) as store:
            event.listen(store.engine, "before_cursor_execute", _slow_to_insert)
            start.wait()
            finding = make_finding("test", seconds=number)
            return len(add_look(store, studies[number % len(studies)], finding, again=again))

    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        return list(pool.map(look, range(N_AT_ONCE)))


def _slow_to_insert(connection: object, cursor: object, statement: str, *_: object) -> None:
    if statement.startswith("INSERT"):
        time.sleep(0.1)


def test_of_looks_at_once_one_is_the_first(url: str) -> None:
    with opened(url) as store:
        studies = make_two(store)
        assert sorted(all_at_once(url, studies, again=False)) == [0, 1, 1]
        (only,) = looks(store, studies[0])
        assert only.finding.content["looks"] == 1


def test_looks_that_are_asked_for_are_counted_in_their_order(url: str) -> None:
    with opened(url) as store:
        studies = make_two(store)
        assert sorted(all_at_once(url, studies, again=True)) == [0, 1, 2]
        for study in studies:
            assert [look.finding.content["looks"] for look in looks(store, study)] == [1, 2, 3]
        assert {look.study for look in looks(store, studies[0])} == {study.name for study in studies}
        assert [look.study for look in looks(store, studies[1], alone=True)] == [studies[1].name]


@pytest.mark.parametrize("losses", [("after", "none"), ("before", "none"), ("after", "after", "before", "none")])
def test_a_look_counts_once_whatever_is_lost(url: str, losses: tuple[Loss, ...]) -> None:
    with opened(url) as store:
        study, _ = make_two(store)
        for again, found in ((False, 0), (True, 1)):
            with losing(store, losses):
                assert len(add_look(store, study, make_finding("test", seconds=found), again=again)) == found
        assert [look.finding.content["looks"] for look in looks(store, study)] == [1, 2]


def test_other_data_and_other_rows_are_looked_at_apart(url: str) -> None:
    with opened(url) as store:
        study, fork = make_two(store)
        others = [
            replace(make_study(), data_fingerprint="e" * 64),
            replace(make_study(), locked=np.array([9, 10])),
            replace(make_study(), locked=np.array([8, 9, 10])),
        ]
        for other in others:
            store.create_study(other)
            assert add_look(store, other, make_finding("test"), again=False) == []
        assert looks(store, study) == []
        store.keep(fork.uuid, make_finding("nested"))
        assert add_look(store, fork, make_finding("test"), again=False, alone=True) == []
        assert add_look(store, study, make_finding("test"), again=False, alone=True) == []
        assert len(looks(store, study)) == 2


def test_a_study_that_is_gone_is_not_looked_at(url: str) -> None:
    with opened(url) as store:
        make_two(store)
        with pytest.raises(StoreError, match="there is no study with the uuid"):
            add_look(store, make_study(), make_finding("test"), again=True)


def test_what_several_processes_find_at_once_is_stored_once(url: str) -> None:
    with opened(url) as store:
        store.create_study(study := make_study())
    start = Barrier(N_AT_ONCE)

    def keep(number: int) -> None:
        finding = make_finding("nested")
        with closing(Store(url)) as store:
            event.listen(store.engine, "before_cursor_execute", _slow_to_insert)
            start.wait()
            store.keep(study.uuid, replace(finding, created_at=finding.created_at + timedelta(seconds=number)))

    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        list(pool.map(keep, range(N_AT_ONCE)))
    with opened(url) as store:
        assert len(store.findings(study.uuid)) == 1
