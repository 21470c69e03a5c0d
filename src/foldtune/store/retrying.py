"""Failed trials that are to be tried again."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update

from foldtune.errors import StoreError
from foldtune.store import rows
from foldtune.store.codec import DAMAGED
from foldtune.store.kinds import fits
from foldtune.store.leases import Turn
from foldtune.store.tables import AnswersRow, CurveRow, RepeatRow, TrialRow
from foldtune.values import Failure

FAILURES = "foldtune:failures"
"""Under this name, a trial keeps among its notes why its earlier attempts failed."""


def put_back(turn: Turn) -> None:
    """Let every failed trial wait for its turn, under its number, with its parameters and its failure noted."""
    failed = (TrialRow.study_id == turn.study_id, TrialRow.state == "failed")
    found = turn.connection.execute(select(TrialRow).where(*failed)).all()
    for row in found:
        key = (TrialRow.study_id == turn.study_id, TrialRow.number == row.number)
        turn.connection.execute(update(TrialRow).where(*key).values(**_anew(row), lease=turn.token, tick=turn.tick))
        for table in (CurveRow, RepeatRow, AnswersRow):
            turn.connection.execute(delete(table).where(table.study_id == turn.study_id, table.trial == row.number))
    _forget_repeats(turn)


def _forget_repeats(turn: Turn) -> None:
    """Let what failed in the confirmation of a complete trial be trained anew, and what was done without."""
    failed = (RepeatRow.study_id == turn.study_id, RepeatRow.state.in_(("failed", "pruned")))
    for row in turn.connection.execute(select(RepeatRow.trial, RepeatRow.repeat).where(*failed)).all():
        for table in (CurveRow, RepeatRow):
            of = (table.study_id == turn.study_id, table.trial == row.trial, table.repeat == row.repeat)
            turn.connection.execute(delete(table).where(*of))


def earlier_failures(attrs: Mapping[str, Any]) -> list[dict[str, str]]:
    """Why earlier attempts of a trial failed, the first first: kind, message and traceback of each.

    Raises:
        StoreError: something else is noted there.
    """
    failures = attrs.get(FAILURES, [])
    if not fits(failures, list[Failure]):
        rule = "a failure must have a kind, a message and a traceback"
        raise StoreError.of(("foldtune_trials", "attrs", FAILURES), rule, f"{failures!r:.40}", DAMAGED)
    return list(failures)


def _anew(row: Any) -> dict[str, Any]:
    """A failed trial's columns as those of one that begins; what it cost stays in the account.

    What the sampler noted stays, for it was asked once. What the pruner noted is the failed attempt's, and so is the
    constraint that it violated.
    """
    trial = rows.trial_record(row)
    attrs = {key: value for key, value in trial.attrs.items() if not key.startswith(_OF_THE_ATTEMPT)}
    attrs[FAILURES] = [*earlier_failures(attrs), row.failure]
    return {
        "state": "waiting",
        "attrs": attrs,
        "epochs": 0,
        "value": None,
        "objective_values": None,
        "scores": None,
        "chosen": None,
        "failure": None,
        "n_parameters": None,
        "started_at": None,
        "finished_at": None,
    }


_OF_THE_ATTEMPT = ("completed_rung_", "constraints:")
