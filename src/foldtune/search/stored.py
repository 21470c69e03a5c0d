"""Trials as a database holds them are checked before anything is made of them: a configuration names classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from foldtune import space
from foldtune.errors import Problem, RequestError, StoreError
from foldtune.spec.domains import Node
from foldtune.spec.fingerprint import digest
from foldtune.store.records import TrialRecord


def check_trials(trials: Sequence[TrialRecord], tree: Node) -> None:
    """Refuse trials that are none of the study's: then their configurations name only what its definition names.

    Args:
        trials: as they were stored.
        tree: the searchable sections of the study's definition, with domains.

    Raises:
        StoreError: a parameter lies outside of its domain, or a configuration is not what the parameters lead to.
    """
    hint = "Another program wrote it: restore a copy."
    rule = "a stored trial must be one that the study can ask for"
    for trial in trials:
        if (found := _fault(trial.params, trial.config, tree)) is not None:
            raise StoreError([Problem(("trials", trial.number), rule, found, hint)])


def _fault(params: Any, config: Any, tree: Node) -> str | None:
    if not isinstance(params, Mapping):
        return "its parameters are no mapping"
    try:
        if problems := space.check_params(tree, params, ()):
            return problems[0].text()
        asked = space.configure(tree, params)
    except RequestError as error:
        return str(error)
    same = repr(asked) == repr(config) or digest(asked) == digest(config)  # the one is quick, the other sees no order
    return None if same else "its configuration is not what its parameters lead to"
