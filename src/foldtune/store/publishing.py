"""A study's copy in Optuna's tables, brought up to date in one transaction, which reads our own rows.

What is written follows from our rows alone, and the copy says itself up to which of our writes it goes. So it is whole
after every transaction, whichever search loop made it, and whatever was stopped, killed or tried again in between.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select

from foldtune.errors import StoreError
from foldtune.store import leases, optuna_rows, reading, rows
from foldtune.store.optuna_rows import COPIED, CopiedTrial
from foldtune.store.records import Lease, TrialRecord
from foldtune.store.tables import StudyRow, TrialRow


@dataclass(frozen=True)
class Copy:
    """What Optuna's tables shall show of a study.

    Args:
        name: the study's.
        directions: the name of Optuna's `StudyDirection` of each objective, by label.
        steps: epochs whose means are shown, beside the last of a trial that has ended.
        shown: a trial as Optuna shows it, from ours and the means of some of its epochs.
    """

    name: str
    directions: Mapping[str, str]
    steps: Collection[int]
    shown: Callable[[TrialRecord, Mapping[int, float]], CopiedTrial]


def publish(connection: Connection, lease: Lease, copy: Copy, *, check: bool) -> int:
    """Bring a study's copy up to date.

    Args:
        connection: in a transaction that writes.
        lease: of the search loop that does it.
        copy: what is to be shown.
        check: look at every trial that is there, for what other programs may have done.

    Returns:
        The tick up to which the copy now goes: the study's.

    Raises:
        LeaseLostError: the lease is gone.
        StoreError: another program added trials to the copy, or the database takes its name for another study's.
    """
    study_id = leases.check(connection, lease)
    tick = connection.scalars(select(StudyRow.tick).where(StudyRow.id == study_id)).one()
    copied = _find_or_create(connection, copy)
    uuid, since = optuna_rows.noted(connection, copied, COPIED) or (None, -1)
    since = since if uuid == lease.study else -1
    if check or since != tick:
        n_trials = optuna_rows.count_trials(connection, copied)
        whole = _n_whole(connection, study_id, copied, copy, since) if check else n_trials
        _write(connection, study_id, copied, copy, since, whole)
        optuna_rows.note(connection, copied, COPIED, [lease.study, tick])
    return tick


def is_copied(connection: Connection, name: str) -> bool:
    """Whether Optuna's tables hold a study of that name."""
    return _find(connection, name) is not None


def delete_copy(connection: Connection, name: str) -> None:
    """Delete a study from Optuna's tables, where it is in them."""
    if (copied := _find(connection, name)) is not None:
        optuna_rows.delete_study(connection, copied)


def _find(connection: Connection, name: str) -> int | None:
    if (found := optuna_rows.find(connection, name)) is None:
        return None
    copied, called = found
    if called != name:
        rule = "Optuna's tables in this database do not tell capitals apart and hold a study"
        raise StoreError.of(("name",), rule, called, "Choose another name, or another database.")
    return copied


def _find_or_create(connection: Connection, copy: Copy) -> int:
    copied = _find(connection, copy.name)
    return optuna_rows.create(connection, copy.name, copy.directions) if copied is None else copied


def _n_whole(connection: Connection, study_id: int, copied: int, copy: Copy, since: int) -> int:
    """How many trials, from the first on, are there as they should be.

    Raises:
        StoreError: there are some that are not ours.
    """
    columns = (TrialRow.number, TrialRow.state, TrialRow.params, TrialRow.tick)
    ours = {row.number: row for row in connection.execute(select(*columns).where(TrialRow.study_id == study_id))}
    known, broken = optuna_rows.known_trials(connection, copied), list[int]()
    for place, theirs in enumerate(known):
        if (row := ours.get(theirs.number)) is None:
            raise _strange(theirs.number)
        shown = copy.shown(TrialRecord(row.number, row.state, "sampled", False, row.params, {}, {}), {})
        if theirs.params != {name: value for name, (value, _) in shown.params.items()}:
            raise _strange(theirs.number)
        if theirs.number != place or (row.tick <= since and theirs.state != shown.state):
            broken.append(place)
    return min(broken, default=len(known))


def _write(connection: Connection, study_id: int, copied: int, copy: Copy, since: int, whole: int) -> None:
    """Copy what was written after a tick, and everything from the first trial on that is not whole.

    What has ended has ended for Optuna: from a trial on that is tried again, its rows are made anew.
    """
    changed = _shown(connection, study_id, copy, TrialRow.tick > since, TrialRow.number < whole)
    known = optuna_rows.states(connection, copied, [trial.number for trial in changed])
    fixed = (trial.number for trial in changed if known[trial.number][1] not in ("RUNNING", trial.state))
    first = min(fixed, default=whole)
    last = optuna_rows.delete_trials(connection, copied, first)
    ids = {number: trial_id for number, (trial_id, _) in known.items()}
    optuna_rows.update_trials(connection, ids, [trial for trial in changed if trial.number < first])
    begun = TrialRow.number < _first_empty(connection, study_id)
    fresh = _shown(connection, study_id, copy, TrialRow.number >= first, begun)
    optuna_rows.insert_trials(connection, copied, fresh, last)


def _shown(connection: Connection, study_id: int, copy: Copy, *which: ColumnElement[bool]) -> list[CopiedTrial]:
    """Some trials as Optuna shows them, by number."""
    found = connection.execute(select(TrialRow).where(TrialRow.study_id == study_id, *which).order_by(TrialRow.number))
    trials = [rows.trial_record(row) for row in found]
    epochs = {*copy.steps, *(trial.epochs for trial in trials if trial.finished_at is not None)} if copy.steps else ()
    means = reading.means_of(connection, study_id, [trial.number for trial in trials], epochs)
    return [copy.shown(trial, means.get(trial.number, {})) for trial in trials]


def _first_empty(connection: Connection, study_id: int) -> int:
    """The number of the first trial without parameters yet; Optuna's numbers have no gaps."""
    waiting = select(TrialRow.number, TrialRow.config).where(TrialRow.study_id == study_id, TrialRow.state == "waiting")
    return min((number for number, config in connection.execute(waiting) if not config), default=_NONE)


def _strange(number: int) -> StoreError:
    rule = "Optuna's copy of the study must hold foldtune's trials alone"
    hint = "Delete the study in optuna-dashboard: `foldtune resume` copies it anew."
    return StoreError.of(("name",), rule, f"another program added trial {number}", hint)


_NONE = 2**31 - 1
