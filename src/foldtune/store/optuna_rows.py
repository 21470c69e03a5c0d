"""What Optuna's tables hold of a study; its own `get_all_trials` takes a second for every 1,000 trials."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, bindparam, column, select, table


@dataclass(frozen=True)
class KnownTrial:
    """A trial in Optuna's tables.

    Args:
        id: Optuna's.
        state: the name of Optuna's `TrialState`.
        params: as the numbers by which Optuna stores them.
        note: one of its user attributes.
    """

    id: int
    state: str
    params: dict[str, float]
    note: Any = None


def known_trials(engine: Engine, study_id: int, note: str) -> dict[int, KnownTrial]:
    """The trials of a study, by number.

    Args:
        engine: of the database.
        study_id: Optuna's.
        note: the name of a user attribute that is wanted, too.
    """
    of = {"of": study_id}
    with engine.connect() as connection:
        found = {row.trial_id: row for row in connection.execute(_OF_STUDY, of)}
        params: dict[int, dict[str, float]] = {trial_id: {} for trial_id in found}
        for trial_id, name, value in connection.execute(_PARAMS_OF_STUDY, of):
            if trial_id in params:  # else it began since
                params[trial_id][name] = value
        noted = connection.execute(_NOTES_OF_STUDY, {**of, "note": note})
        notes = {trial_id: json.loads(text) for trial_id, text in noted}
    return {
        row.number: KnownTrial(trial_id, row.state, params[trial_id], notes.get(trial_id))
        for trial_id, row in found.items()
    }


_TRIALS = table("trials", column("trial_id"), column("study_id"), column("number"), column("state"))
_PARAMS = table("trial_params", column("trial_id"), column("param_name"), column("param_value"))
_OF_STUDY = select(_TRIALS).where(_TRIALS.c.study_id == bindparam("of"))
_PARAMS_OF_STUDY = (
    select(_PARAMS).join(_TRIALS, _TRIALS.c.trial_id == _PARAMS.c.trial_id).where(_TRIALS.c.study_id == bindparam("of"))
)
_NOTES = table("trial_user_attributes", column("trial_id"), column("key"), column("value_json"))
_NOTES_OF_STUDY = (
    select(_NOTES.c.trial_id, _NOTES.c.value_json)
    .join(_TRIALS, _TRIALS.c.trial_id == _NOTES.c.trial_id)
    .where(_TRIALS.c.study_id == bindparam("of"), _NOTES.c.key == bindparam("note"))
)
