"""A study's definition as it is stored: what a new one fixes, and what may differ when it goes on."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Any
from uuid import uuid4

from foldtune.errors import Problem, ResumeError, StoreError
from foldtune.search import optuna_copy
from foldtune.search.cohort import default_cohort
from foldtune.search.doubts import documents, warn
from foldtune.search.keeping import resolve
from foldtune.search.plan import Plan
from foldtune.spec.fingerprint import changed, differences
from foldtune.spec.schema import SearchSpec
from foldtune.spec.shape import parse_section
from foldtune.store.records import Finding, StudyRecord
from foldtune.store.store import Store

LIBRARIES = ("torch", "optuna", "scikit-learn", "numpy", "sqlalchemy", "foldtune")

FIXED = ("cohort", "engine", "confirm", "out_of_fold")
"""Of the search: stored with a new study, whatever its file says or leaves out. Older studies lack the last two."""

_UNSAID = (("cohort", None), ("out_of_fold", "auto"))  # as good as left out


def stored_record(plan: Plan, store: Store, workers: int) -> StudyRecord:
    """The stored study of the plan's name with the budget that is asked for, or a new one.

    Args:
        plan: what was asked for.
        store: where it is, or will be; another search loop may create it meanwhile.
        workers: training processes.

    Raises:
        ResumeError: it is another study; nothing was changed.
        StoreError: Optuna has a study of that name already, or the stored one is damaged; nothing was changed.
    """
    if not _is_stored(plan, store):
        try:
            return _created(plan, store, workers)
        except StoreError:
            if not _is_stored(plan, store):
                raise
    stored = store.study(plan.spec.name)
    record = continued(stored, plan)
    if changed(stored.spec, record.spec):
        store.update_spec(record.uuid, record.spec)
    return record


def continued(stored: StudyRecord, plan: Plan) -> StudyRecord:
    """A stored study with the budget that is asked for.

    Raises:
        ResumeError: it is another study; every difference.
        StoreError: what it fixes is none of a study's.
    """
    fixed = {name: stored.spec["search"][name] for name in FIXED if name in stored.spec["search"]}
    _, problems = parse_section(SearchSpec, fixed, ("search",))
    if problems:
        raise StoreError(problems)
    tree = _stored_tree(plan, fixed)
    _check_same(stored, plan, tree)
    return replace(stored, spec=tree)


def _check_same(record: StudyRecord, plan: Plan, tree: Mapping[str, Any]) -> None:
    problems = differences(record.spec, tree)
    if record.data_fingerprint != plan.data_fingerprint:
        rows = f"{plan.dataset.n_rows + len(plan.locked)} rows"
        rule = f"the stored study was made on other data ({record.n_rows} rows, sha256 {record.data_fingerprint[:12]})"
        problems.append(Problem(("data",), rule, f"{rows}, sha256 {plan.data_fingerprint[:12]}"))
    elif record.split_fingerprint != plan.split_fingerprint:
        rule = f"the stored study has other folds (sha256 {record.split_fingerprint[:12]})"
        problems.append(Problem(("validation",), rule, f"sha256 {plan.split_fingerprint[:12]}"))
    if problems:
        last = problems[-1]
        hint = "Nothing was changed. Undo the difference, or start a new study with `foldtune run --fork NAME`."
        raise ResumeError([*problems[:-1], replace(last, hint=hint)], plan.file.source)


def _stored_tree(plan: Plan, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The tree that the database holds: with it and the data alone, the study goes on.

    Args:
        plan: what was asked for.
        fixed: what stands where its file says nothing, by `FIXED`, as far as the stored study has it.
    """
    search = {key: value for key, value in plan.tree["search"].items() if (key, value) not in _UNSAID}
    return {**plan.tree, "search": {**fixed, **search, "enqueue": [dict(params) for params in plan.enqueued]}}


def _is_stored(plan: Plan, store: Store) -> bool:
    return plan.spec.name in {summary.name for summary in store.studies()}


def _created(plan: Plan, store: Store, workers: int) -> StudyRecord:
    """A new study's row, stored with what is doubtful about its plan."""
    doubts = documents(warn(plan))
    record = _new_record(plan, workers)
    known = [Finding("warnings", None, {"warnings": doubts}, 0, record.created_at)] if doubts else []
    optuna_copy.check_free(store, record.name)
    store.create_study(record, *known)
    return record


def _new_record(plan: Plan, workers: int) -> StudyRecord:
    """The row of a study that is new.

    Args:
        plan: what was asked for.
        workers: training processes.
    """
    search = plan.spec.search
    kept = resolve(search.out_of_fold, objective=plan.metric_nodes[0], dataset=plan.dataset, folds=plan.folds)
    fixed = (default_cohort(plan, workers), search.engine, search.confirm, kept)
    return StudyRecord(
        uuid=uuid4().hex,
        name=plan.spec.name,
        spec=_stored_tree(plan, dict(zip(FIXED, fixed, strict=True))),
        folder=str(plan.file.folder),
        file=str(plan.file.home / FilePath(plan.file.source.file).name) if plan.file.source.file else "",
        seed=plan.spec.search.seed,
        objectives=tuple(metric.label for metric in plan.metrics[: plan.n_objectives]),
        directions=plan.directions,
        metrics=tuple(metric.label for metric in plan.metrics),
        data_fingerprint=plan.data_fingerprint,
        split_fingerprint=plan.split_fingerprint,
        n_rows=plan.dataset.n_rows + len(plan.locked),
        folds=plan.folds,
        locked=plan.locked,
        versions={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        created_at=datetime.now(UTC),
    )
