"""CMA-ES notes its state as a pickle. No pickle is ever stored or taken from a database: the sampler is asked again.

What it noted follows from the trials that had ended when it was asked, its seed and the number. So a trial keeps, in
place of the pickle, which trials were still running then.
"""

from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import create_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from foldtune.errors import StoreError

RUNNING = "foldtune:running"
"""Under this name, a trial whose sampler noted a pickle keeps the numbers of the trials that ran when it was asked."""

_RULE = "what a sampler noted must be what it can be asked again, and no pickle"
_HINT = "Another program or an earlier version wrote it: restore a copy, or start a new study."
_STATE = ":optimizer"  # what Optuna looks for, behind "cma", "sepcma" or "cmawm"


def are_pickles(attrs: Mapping[str, Any]) -> bool:
    """Whether there are pickles among what a sampler noted."""
    return any(_STATE in key for key in attrs)


def without_pickles(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of a sampler's notes."""
    return {key: value for key, value in attrs.items() if _STATE not in key}


def check_notes(attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was stored of a sampler's notes.

    Raises:
        StoreError: a pickle is among it.
    """
    if are_pickles(attrs):
        raise StoreError.of((), _RULE, next(key for key in attrs if _STATE in key), _HINT)
    return attrs


def with_pickles(frozen: FrozenTrial, study: Study, sampler: BaseSampler) -> dict[str, Any]:
    """A trial's notes as they were before they were stored.

    Args:
        frozen: the trial, with its notes as stored.
        study: it holds the trials before this one; not changed.
        sampler: as it was made to suggest this trial.

    Raises:
        StoreError: a pickle was stored, or the notes are not those of a sampler.
    """
    attrs = check_notes(frozen.system_attrs)
    if RUNNING not in attrs:
        return dict(attrs)
    again = create_study(storage=InMemoryStorage(), sampler=sampler, directions=study.directions)
    try:
        running = {int(number) for number in attrs[RUNNING]}
        for trial in study.get_trials(deepcopy=False):
            again.add_trial(_before_its_end(trial) if trial.number in running else trial)
        number = again.ask(frozen.distributions).number  # CMA-ES wakes up when a parameter is asked for
        noted = again.trials[number].system_attrs
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        raise StoreError.of((), _RULE, error, _HINT) from error
    return {**attrs, **{key: value for key, value in noted.items() if _STATE in key}}


def _before_its_end(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
