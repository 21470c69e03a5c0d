"""Looks at locked rows: recorded one after the other, whichever study of those that lock the same rows takes them.

A look first locks the rows of all these studies, the oldest first, and only then reads which looks there are: of two
at once, one comes first, and the other one finds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert, select

from foldtune.store import reading, rows
from foldtune.store.records import Finding, StudyRecord
from foldtune.store.store import Store
from foldtune.store.tables import FindingRow, StudyRow
from foldtune.store.transactions import Transactions


@dataclass(frozen=True)
class Look:
    """A look at locked rows.

    Args:
        study: the name of the study that took it.
        finding: what it found.
    """

    study: str
    finding: Finding


def looks(store: Store, record: StudyRecord, *, alone: bool = False) -> list[Look]:
    """Every look at a study's locked rows, in the order in which they were recorded.

    Args:
        store: where the study is.
        record: the study.
        alone: leave those of other studies that lock the same rows out.
    """
    return Transactions(store.engine).read(lambda connection: _looks(connection, _alike(connection, record, alone)))


def add_look(store: Store, record: StudyRecord, finding: Finding, *, again: bool, alone: bool = False) -> list[Look]:
    """Record a look, unless it was to be the first and is not; its content says under "looks" which one it is.

    Args:
        store: where the study is.
        record: the study.
        finding: what was found.
        again: record it even where there are others.
        alone: do not count those of other studies that lock the same rows.

    Returns:
        The looks before this one.

    Raises:
        StoreError: there is no such study any more.
    """
    return Transactions(store.engine).write(lambda connection: _add(connection, record, finding, again, alone))


def _add(connection: Connection, record: StudyRecord, finding: Finding, again: bool, alone: bool) -> list[Look]:
    studies = _alike(connection, record, alone, lock=True)
    own = next((study.id for study in studies if study.uuid == record.uuid), None)
    if own is None:
        raise reading.no_study(connection, record.uuid)
    this, found = (record.name, finding.created_at), _looks(connection, studies)
    before = list(takewhile(lambda look: (look.study, look.finding.created_at) != this, found))
    if len(before) == len(found) and (again or not found):  # else it is stored: the answer of its commit was lost
        counted = replace(finding, content={**finding.content, "looks": 1 + len(found)})
        connection.execute(insert(FindingRow).values(study_id=own, **rows.finding_columns(counted)))
    return before


def _alike(connection: Connection, record: StudyRecord, alone: bool, *, lock: bool = False) -> list[Any]:
    """Id, uuid and name of the studies that lock the same rows, the oldest first.

    Locks come with the first statement of their transaction: what MariaDB reads next is as of then.
    """
    which = StudyRow.uuid == record.uuid if alone else StudyRow.data_fingerprint == record.data_fingerprint
    asked = select(StudyRow.id, StudyRow.uuid, StudyRow.name, StudyRow.locked).where(which).order_by(StudyRow.id)
    found = connection.execute(asked.with_for_update() if lock else asked)
    return [study for study in found if np.array_equal(study.locked, record.locked)]


def _looks(connection: Connection, studies: Sequence[Any]) -> list[Look]:
    """Looks of some studies; ids grow with them."""
    names = {study.id: study.name for study in studies}
    asked = select(FindingRow).where(FindingRow.study_id.in_(names), FindingRow.kind == "test")
    found = connection.execute(asked.order_by(FindingRow.id))
    return [Look(names[row.study_id], rows.finding(row)) for row in found]
