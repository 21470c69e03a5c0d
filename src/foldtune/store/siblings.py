"""Studies on the same data: which rows each of them locks away, and what its search found."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from foldtune.store import reading
from foldtune.store.store import Store
from foldtune.store.tables import StudyRow, TrialRow
from foldtune.store.transactions import Transactions
from foldtune.values import Rows


@dataclass(frozen=True, eq=False)
class Sibling:
    """One of the studies on some data.

    Args:
        uuid: its key.
        name: its name.
        locked: rows of the data that its search must not see, shape (n,).
    """

    uuid: str
    name: str
    locked: Rows


def siblings(store: Store, data_fingerprint: str) -> list[Sibling]:
    """Every study on the data of a fingerprint, the oldest first.

    Args:
        store: where the studies are.
        data_fingerprint: as their records have it.
    """
    columns = (StudyRow.uuid, StudyRow.name, StudyRow.locked)
    asked = select(*columns).where(StudyRow.data_fingerprint == data_fingerprint).order_by(StudyRow.id)
    return Transactions(store.engine).read(lambda connection: [Sibling(*row) for row in connection.execute(asked)])


def suggested(store: Store, uuid: str, before: datetime) -> list[tuple[int, Mapping[str, Any]]]:
    """Number and parameters of each trial that a study's own search, and no person, had begun by some time.

    Args:
        store: where the study is.
        uuid: its key.
        before: with a time zone.

    Raises:
        StoreError: there is no such study.
    """

    def read(connection: Connection) -> list[tuple[int, Mapping[str, Any]]]:
        own = (TrialRow.study_id == reading.study_id(connection, uuid), TrialRow.origin != "enqueued")
        asked = select(TrialRow.number, TrialRow.params).where(*own, TrialRow.started_at < before)
        return [(number, params) for number, params in connection.execute(asked.order_by(TrialRow.number))]

    return Transactions(store.engine).read(read)
