"""Rows of one study in Optuna's tables, read and written as Optuna 5 does.

Its own way takes 10 to 20 ms of work for each trial, and cannot share a transaction with us.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from foldtune.store.optuna_tables import (
    DIRECTIONS,
    OF_STUDY,
    OF_TRIAL,
    PARAMS,
    REPORTS,
    STUDIES,
    STUDY_SYSTEM_ATTRS,
    TRIALS,
    USER_ATTRS,
    VALUES,
)

AT_ONCE = 1000
"""Trials in one question; databases bound how many."""

METRIC_NAMES = "study:metric_names"
"""Under this name, Optuna keeps what a study's objectives are called."""

COPIED = "foldtune:copied"
"""Under this name, a study in Optuna's tables says of which of ours it is the copy, and up to which tick it goes."""


@dataclass(frozen=True)
class CopiedTrial:
    """A trial as Optuna shows it.

    Args:
        number: the trial's.
        state: the name of Optuna's `TrialState`.
        started_at: with a time zone.
        finished_at: the same.
        params: the number by which Optuna stores each, and its distribution as Optuna's JSON.
        values: one per objective, or none.
        reports: its value at each epoch that is shown.
        notes: its user attributes.
    """

    number: int
    state: str
    started_at: datetime | None
    finished_at: datetime | None
    params: Mapping[str, tuple[float, str]]
    values: Sequence[float]
    reports: Mapping[int, float]
    notes: Mapping[str, object]


@dataclass(frozen=True)
class KnownTrial:
    """A trial that is in Optuna's tables: the name of Optuna's `TrialState`, and params as Optuna's numbers."""

    number: int
    state: str
    params: dict[str, float]


def find(connection: Connection, name: str) -> tuple[int, str] | None:
    """Id and name of a study, as the database compares names."""
    found = connection.execute(select(STUDIES).where(STUDIES.c.study_name == name)).one_or_none()
    return None if found is None else (found.study_id, found.study_name)


def create(connection: Connection, name: str, directions: Mapping[str, str]) -> int:
    """A new study; its id.

    Args:
        connection: in a transaction.
        name: the study's.
        directions: the name of Optuna's `StudyDirection` of each objective, by label.
    """
    stored: Any = connection.execute(insert(STUDIES), {"study_name": name})
    study_id = int(stored.inserted_primary_key.study_id)
    goals = [{"study_id": study_id, "objective": at, "direction": goal} for at, goal in enumerate(directions.values())]
    connection.execute(insert(DIRECTIONS), goals)
    note(connection, study_id, METRIC_NAMES, list(directions))
    return study_id


def delete_study(connection: Connection, study_id: int) -> None:
    """Delete a study with all its trials."""
    delete_trials(connection, study_id)
    for table in (*OF_STUDY, STUDIES):
        connection.execute(delete(table).where(table.c.study_id == study_id))


def noted(connection: Connection, study_id: int, key: str) -> Any:
    """What a system attribute of a study says; None where it has none of that name."""
    attrs = STUDY_SYSTEM_ATTRS.c
    found = select(attrs.value_json).where(attrs.study_id == study_id, attrs.key == key)
    text = connection.scalars(found).one_or_none()
    return None if text is None else json.loads(text)


def note(connection: Connection, study_id: int, key: str, value: object) -> None:
    """Set a system attribute of a study."""
    attrs, text = STUDY_SYSTEM_ATTRS.c, json.dumps(value)
    changed = update(STUDY_SYSTEM_ATTRS).where(attrs.study_id == study_id, attrs.key == key).values(value_json=text)
    if not connection.execute(changed).rowcount:
        connection.execute(insert(STUDY_SYSTEM_ATTRS), {"study_id": study_id, "key": key, "value_json": text})


def count_trials(connection: Connection, study_id: int) -> int:
    """How many trials a study has."""
    return connection.scalars(select(func.count()).where(TRIALS.c.study_id == study_id)).one()


def states(connection: Connection, study_id: int, numbers: Sequence[int]) -> dict[int, tuple[int, str]]:
    """Id and state of some trials, by number; those that are not there are left out."""
    found: dict[int, tuple[int, str]] = {}
    asked = select(TRIALS.c.number, TRIALS.c.trial_id, TRIALS.c.state).where(TRIALS.c.study_id == study_id)
    for some in _portions(numbers):
        rows = connection.execute(asked.where(TRIALS.c.number.in_(some)))
        found |= {number: (trial_id, state) for number, trial_id, state in rows}
    return found


def known_trials(connection: Connection, study_id: int) -> list[KnownTrial]:
    """All trials of a study, by number; Optuna's `get_all_trials` takes a second for every 1,000."""
    of_study = TRIALS.c.study_id == study_id
    found = connection.execute(select(TRIALS).where(of_study).order_by(TRIALS.c.number, TRIALS.c.trial_id)).all()
    params: dict[int, dict[str, float]] = {row.trial_id: {} for row in found}
    columns = (PARAMS.c.trial_id, PARAMS.c.param_name, PARAMS.c.param_value)
    joined = select(*columns).join(TRIALS, TRIALS.c.trial_id == PARAMS.c.trial_id).where(of_study)
    for trial_id, name, value in connection.execute(joined):
        if trial_id in params:  # else it began since
            params[trial_id][name] = value
    return [KnownTrial(row.number, row.state, params[row.trial_id]) for row in found]


def delete_trials(connection: Connection, study_id: int, first: int = 0) -> int:
    """Delete a study's trials from a number on; the highest id that any trial had before."""
    last = connection.scalars(select(func.max(TRIALS.c.trial_id))).one() or 0
    which = (TRIALS.c.study_id == study_id, TRIALS.c.number >= first)
    ids = list(connection.scalars(select(TRIALS.c.trial_id).where(*which)))
    for some in _portions(ids):
        for table in (*OF_TRIAL, TRIALS):
            connection.execute(delete(table).where(table.c.trial_id.in_(some)))
    return last


def insert_trials(connection: Connection, study_id: int, trials: Sequence[CopiedTrial], last: int = 0) -> None:
    """Add trials that are not there yet, in their order, which is that of Optuna's ids.

    Args:
        connection: in a transaction.
        study_id: Optuna's.
        trials: new ones, by number.
        last: an id; those of these are higher. Optuna's readers look for no news under an id whose trial had ended,
            and SQLite gives ids of deleted rows again.
    """
    if not trials:
        return
    rows = [{"study_id": study_id, **_columns(trial)} for trial in trials]
    if last and connection.dialect.name == "sqlite":
        rows = [{"trial_id": trial_id, **row} for trial_id, row in enumerate(rows, last + 1)]
    connection.execute(insert(TRIALS), rows)
    ids = {number: found[0] for number, found in states(connection, study_id, [t.number for t in trials]).items()}
    params = (
        {"trial_id": ids[trial.number], "param_name": name, "param_value": value, "distribution_json": distribution}
        for trial in trials
        for name, (value, distribution) in trial.params.items()
    )
    _insert(connection, PARAMS, params)
    _insert_outcomes(connection, ids, trials)


def update_trials(connection: Connection, ids: Mapping[int, int], trials: Sequence[CopiedTrial]) -> None:
    """Have trials that are there say what these do; attributes that others noted stay.

    Args:
        connection: in a transaction.
        ids: Optuna's, by number.
        trials: as they are.
    """
    if not trials:
        return
    rows = [{**_columns(trial), "of": ids[trial.number]} for trial in trials]
    connection.execute(update(TRIALS).where(TRIALS.c.trial_id == bindparam("of")), rows)
    keys = {key for trial in trials for key in trial.notes}
    for some in _portions([ids[trial.number] for trial in trials]):
        for table in (VALUES, REPORTS):
            connection.execute(delete(table).where(table.c.trial_id.in_(some)))
        connection.execute(delete(USER_ATTRS).where(USER_ATTRS.c.trial_id.in_(some), USER_ATTRS.c.key.in_(keys)))
    _insert_outcomes(connection, ids, trials)


def _insert_outcomes(connection: Connection, ids: Mapping[int, int], trials: Sequence[CopiedTrial]) -> None:
    """Values, reports and notes."""
    of = [({"trial_id": ids[trial.number]}, trial) for trial in trials]
    values = ({**key, "objective": at, **_number(value)} for key, trial in of for at, value in enumerate(trial.values))
    reports = (
        {**key, "step": step, **_number(value, "intermediate_")}
        for key, trial in of
        for step, value in trial.reports.items()
    )
    notes = (
        {**key, "key": name, "value_json": json.dumps(text)} for key, trial in of for name, text in trial.notes.items()
    )
    for table, rows in ((VALUES, values), (REPORTS, reports), (USER_ATTRS, notes)):
        _insert(connection, table, rows)


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    if found := list(rows):  # an INSERT without rows would insert one of defaults
        connection.execute(insert(table), found)


def _columns(trial: CopiedTrial) -> dict[str, Any]:
    times = {"datetime_start": _utc(trial.started_at), "datetime_complete": _utc(trial.finished_at)}
    return {"number": trial.number, "state": trial.state, **times}


def _number(value: float, prefix: str = "") -> dict[str, Any]:
    """A number as Optuna stores those that not every database can."""
    kind = "FINITE" if math.isfinite(value) else "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"
    return {f"{prefix}value": value if kind == "FINITE" else None, f"{prefix}value_type": kind}


def _utc(moment: datetime | None) -> datetime | None:
    """As Optuna stores it: UTC, without a zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _portions(items: Sequence[int]) -> Iterable[Collection[int]]:
    return (items[first : first + AT_ONCE] for first in range(0, len(items), AT_ONCE))
