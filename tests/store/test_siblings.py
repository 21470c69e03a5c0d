"""Studies on the same data are found, and what their searches suggested, without reading anything else of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from foldtune.store.siblings import siblings, suggested
from foldtune.testing.store_laws import create, make_finished, make_study, make_trial, opened

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
"""When finished trials began."""


def test_studies_on_the_same_data_are_found(url: str) -> None:
    with opened(url) as store:
        one, two = make_study(), replace(make_study(), locked=np.array([1]))
        for study in (one, replace(make_study(), data_fingerprint="e" * 64), two):
            store.create_study(study)
        found = siblings(store, one.data_fingerprint)
        assert [(each.uuid, each.name) for each in found] == [(one.uuid, one.name), (two.uuid, two.name)]
        assert [each.locked.tolist() for each in found] == [[9, 10, 11], [1]]


def test_what_a_search_suggested_is_what_it_began_itself_by_then(url: str) -> None:
    with opened(url) as store:
        trials = [
            make_finished(0, 0.5),
            replace(make_finished(1, 0.5), origin="enqueued"),
            make_trial(2),
            replace(make_finished(3, 0.5), started_at=MOMENT + timedelta(microseconds=1)),
        ]
        uuid = create(store, *trials).study
        assert suggested(store, uuid, MOMENT) == []
        assert suggested(store, uuid, MOMENT + timedelta(microseconds=1)) == [(0, trials[0].params)]
        assert [number for number, _ in suggested(store, uuid, MOMENT + timedelta(days=1))] == [0, 3]
