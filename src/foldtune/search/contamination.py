"""Whether what a study was told to try first was found on the rows that its audit is scored on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from foldtune.search.plan import Plan
from foldtune.space import defaults
from foldtune.store.records import StudyRecord
from foldtune.store.siblings import siblings, suggested
from foldtune.store.store import Store

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Contamination:
    """What enqueued trials do to an audit.

    Args:
        void: why the audit says nothing; None where it does.
        caution: what nobody can know; None where all is known.
    """

    void: str | None = None
    caution: str | None = None


def contamination(store: Store, record: StudyRecord, plan: Plan, *, since: datetime | None = None) -> Contamination:
    """Look for the origin of a study's enqueued parameters among the trials of other studies on the same data.

    A trial that another search found before this study was made, while it trained or chose on rows that are locked
    here, has seen them, and so has a search that begins with its parameters. Those that equal this study's defaults
    bring nothing in.

    Args:
        store: where the studies are.
        record: the study that is audited.
        plan: the same.
        since: when its enqueued parameters were given; default: when it was made.
    """
    enqueued = beside_defaults(plan)
    if not enqueued:
        return Contamination()
    for name, number, params in _found(store, record, plan, since or record.created_at):
        if any(params.items() <= given.items() for given in enqueued):
            return Contamination(void=f"it began with parameters that trial {number} of {name} found on the same rows")
    count = f"{len(enqueued)} enqueued trial{'s' if len(enqueued) > 1 else ''}"
    return Contamination(
        caution=f"Nobody knows where the parameters of {count} come from: found on these rows, they void the score."
    )


def beside_defaults(plan: Plan) -> list[Params]:
    """A study's enqueued parameters that are not those of its defaults."""
    return [params for params in plan.enqueued if params != defaults(plan.space)]


def _found(store: Store, record: StudyRecord, plan: Plan, before: datetime) -> Iterator[tuple[str, int, Params]]:
    """What other studies' searches found on tested rows: study, trial number, parameters."""
    for other in siblings(store, record.data_fingerprint):
        if other.uuid != record.uuid and len(np.setdiff1d(plan.tested, other.locked)):
            for number, params in suggested(store, other.uuid, before):
                if params:
                    yield other.name, number, params
