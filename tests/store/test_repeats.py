"""Partitions, repeats, answers and findings obey their laws in every database; what does not fit is refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from foldtune.errors import StoreError
from foldtune.store import codec, types
from foldtune.store.records import Barrier, Kept
from foldtune.store.store import Store
from foldtune.testing import repeat_laws
from foldtune.testing.repeat_laws import make_answers, make_finding, make_partition, make_repeat
from foldtune.testing.store_laws import contents, create, make_finished, make_study, make_trial, opened, refused, same
from foldtune.values import OutOfFold


@pytest.mark.parametrize("law", repeat_laws.LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[str], None], url: str) -> None:
    law(url)


@pytest.mark.parametrize("value", [-0.0, float("nan"), float("inf"), -float("inf"), 6e-8, 65504.0])
def test_edges_of_floats_survive(value: float, url: str) -> None:
    repeat_laws.check_answers_survive(url, value)
    repeat_laws.check_repeats_survive(url, value)


def make_random(n_rows: int, columns: int = 1) -> OutOfFold:
    """Answers that no packing shrinks."""
    random = np.random.default_rng(0).integers(0, 2**16, (n_rows, columns), dtype=np.uint16)
    return OutOfFold("logits", random.view(np.float16), np.array([1, 2, 3]))


@pytest.mark.parametrize("url", ["mariadb_url"], indirect=True)
def test_answers_are_bounded_by_what_a_server_takes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(url) as store:
        lease = create(store, make_trial(0))
        with store.engine.connect() as connection:
            packet_bytes = connection.execute(text("SELECT @@max_allowed_packet")).scalar_one()
        monkeypatch.setattr(types, "MAX_SENT_BYTES", packet_bytes // 8)
        stood = contents(store, lease.study)
        message = r"a trial's answers must take at most \d+ bytes .*, however: \d+\. Keep less: `search.out_of_fold: "
        refused(lambda: store.record(lease, Barrier(kept=(Kept(0, 0, make_random(packet_bytes // 16)),))), message)
        assert contents(store, lease.study) == stood
        store.record(lease, Barrier(kept=(Kept(0, 0, make_random(packet_bytes // 17)),)))


@pytest.mark.parametrize(
    "answers", [np.zeros((9, 1)), np.zeros((9, 1), np.int64), np.zeros(9, np.float16), np.zeros((9, 1, 1), np.float32)]
)
def test_answers_of_other_kinds_are_not_stored(answers: NDArray[Any], sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        lease = create(store, make_trial(0))
        kept = Kept(0, 0, OutOfFold("values", answers, np.array([1, 2, 3])))
        refused(
            lambda: store.record(lease, Barrier(kept=(kept,))), "a stored array must be of <f2 or <f4 and have 2 axes"
        )


def filled(store: Store) -> str:
    """A study with a row in every table; its uuid."""
    lease = create(store, make_trial(0))
    store.add_partition(lease, 1, make_partition(1))
    store.record(lease, Barrier(repeats=(make_repeat(0, 1, 0.5),), kept=(make_answers(0, 1),)))
    store.keep(lease.study, make_finding("score"))
    return lease.study


def read(store: Store, uuid: str, repeat: int = 1) -> list[object]:
    return [store.partitions(uuid), store.repeats(uuid), store.answers(uuid, repeat), store.findings(uuid)]


def half(*shape: int) -> bytes:
    return codec.encode(np.zeros(shape, np.float16), packed=True)


def whole(values: Sequence[int]) -> bytes:
    return codec.encode(np.array(values, dtype=np.int64))


DAMAGES = [
    ("answers", "answers", b"", "a stored array must be whole, however: 0 bytes"),
    ("answers", "answers", half(9, 3)[:-1], "a stored array must be whole"),
    ("answers", "answers", codec.encode(np.zeros((9, 3))), "must be of <f2 or <f4 and have 2 axes, however: float64"),
    ("answers", "answers", half(27), "must be of <f2 or <f4 and have 2 axes, however: float16 and 1"),
    ("answers", "answers", half(8, 3), "stored logits must be float16 for 9 rows of 3 folds"),
    ("answers", "answers", half(9, 0), "stored logits must be float16 for 9 rows of 3 folds"),
    ("answers", "kind", "losses", "stored losses must be float32 for 9 rows of 3 folds"),
    ("answers", "kind", "values", "stored values must be float32 for 9 rows of 3 folds"),
    ("answers", "kind", "pickle", "kind: a stored value must be of its column's kind, however: 'pickle'"),
    ("answers", "epochs", whole([1, 2]), "stored logits must be float16 for 9 rows of 3 folds"),
    ("answers", "epochs", half(3), "a stored array must be of <i8 and have 1 axes"),
    ("repeats", "state", "done", "state: a stored value must be of its column's kind, however: 'done'"),
    ("repeats", "scores", half(3, 2), "scores: a stored array must be of <f8 and have 2 axes"),
    ("repeats", "chosen", codec.encode(np.zeros((3, 1), np.int64)), "chosen: a stored array must be of <i8"),
    ("repeats", "failure", "[1]", r"failure: a stored value must be of its column's kind, however: '\[1\]'"),
    ("repeats", "failure", '{"kind":"diverged"}', "failure: a stored value must be of its column's kind"),
    ("repeats", "failure", '{"kind":"x","message":"","traceback":""}', "failure: a stored value must be of its"),
    ("findings", "kind", "rumour", "kind: a stored value must be of its column's kind"),
    ("findings", "content", "[]", r"content: a stored value must be of its column's kind, however: '\[\]'"),
    ("findings", "content", "null", "content: a stored value must be of its column's kind, however: 'null'"),
    ("findings", "content", "{", "content: stored JSON must be whole"),
    ("folds", "valid", codec.encode(np.zeros(3)), "valid: a stored array must be of <i8 and have 1 axes"),
]


@pytest.mark.parametrize(("table", "column", "damage", "said"), DAMAGES)
def test_damage_is_refused_at_its_place(table: str, column: str, damage: Any, said: str, sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        uuid = filled(store)
        assert len(read(store, uuid)) == 4
        with store.engine.begin() as connection:
            change = text(f"UPDATE foldtune_{table} SET {column} = :damage WHERE study_id > 0")
            connection.execute(change, {"damage": damage})
        with pytest.raises(StoreError, match=rf"^foldtune_{table}\..*{said}.* restore a copy\.$"):
            read(store, uuid)


def test_answers_of_a_missing_partition_are_refused(url: str) -> None:
    with opened(url) as store:
        uuid = filled(store)
        with store.engine.begin() as connection:
            connection.execute(text("DELETE FROM foldtune_folds WHERE repeat = 1".replace("repeat", quoted(url))))
        refused(lambda: store.answers(uuid, 1), "there is no partition 1 in the study")


def quoted(url: str) -> str:
    """The name of the column `repeat`, which is a word of MySQL's."""
    return "`repeat`" if url.startswith("mysql") else "repeat"


def test_a_study_without_any_has_none(url: str) -> None:
    study = make_study()
    with opened(url) as store:
        store.create_study(study)
        assert same(read(store, study.uuid, 0), [{0: study.folds}, [], {}, []])


def test_time_in_training_is_that_of_trials_and_repeats(url: str) -> None:
    study = make_study()
    with opened(url) as store:
        assert store.trained(study.name) == (0.0, 0)
        lease = create(store, replace(make_finished(0, 0.5), seconds=2.0), make_trial(1, seconds=0.25), study=study)
        assert store.trained(study.name) == (2.25, 1)
        again = (replace(make_repeat(0, repeat, 0.5), seconds=0.5) for repeat in (1, 2))
        store.record(lease, Barrier(seconds=3600.0, repeats=tuple(again)))
        assert store.trained(study.name) == (3.25, 1)


def test_answers_shrink_where_that_pays() -> None:
    logits = np.random.default_rng(0).standard_normal((10_000, 3)).astype(np.float16)
    assert len(codec.encode(logits, packed=True)) < 0.9 * logits.nbytes
    noise = make_random(10_000).answers
    assert codec.encode(noise, packed=True) == codec.encode(noise)
