"""`foldtune run --nested J`: the whole search again inside each of J outer folds, scored on rows that it never saw.

The J inner studies are ordinary ones, in the same database: whatever continues a study continues them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from foldtune.errors import ResumeError, StoreError
from foldtune.search import optuna_copy
from foldtune.search.contamination import contamination
from foldtune.search.definition import continued
from foldtune.search.forecast import forecast
from foldtune.search.inner_names import inner_name
from foldtune.search.locked_test import check_first_look, look
from foldtune.search.plan import make_plan
from foldtune.search.refit import Refit, refit_of
from foldtune.search.result import StudyResult, read_result
from foldtune.search.run import Session, create_study, default_workers, search
from foldtune.seeds import derive
from foldtune.selection.bbc import LEVEL
from foldtune.selection.interval import fold_interval
from foldtune.spec.load import StudyFile, validate
from foldtune.store.records import Finding, StudyRecord
from foldtune.store.store import Store


def inner_file(file: StudyFile, fold: int, folds: int) -> StudyFile:
    """The study of one outer fold: the same search with a seed of its own, that fold's rows locked away.

    Args:
        file: the study that is nested.
        fold: from 0.
        folds: J.

    Example:
        >>> from foldtune.spec.load import load_spec
        >>> inner = inner_file(load_spec({"name": "demo", "data": {"use": "digits"}, "model": "MLP"}), 0, 5)
        >>> inner.spec.name, inner.spec.data.outer_fold
        ('demo.nested-1-of-5', OuterFoldSpec(fold=0, n_splits=5, seed=0))
    """
    seed = file.spec.search.seed
    outer = {"fold": fold, "n_splits": folds, "seed": seed}
    tree = {
        **file.tree,
        "name": inner_name(file.spec.name, fold, folds),
        "data": {**file.tree["data"], "outer_fold": outer},
        "search": {**(file.tree.get("search") or {}), "seed": derive(seed, "nested", fold, folds)},
    }
    return replace(file, tree=tree, spec=validate(tree))


@dataclass(frozen=True)
class Cost:
    """What the J inner searches may take.

    Args:
        seconds: what is left of it.
        measured: whether by how long the study's own trials trained; else by a forecast, which knows no pruning.
    """

    seconds: float
    measured: bool


def nested_cost(file: StudyFile, session: Session, folds: int) -> Cost:
    """Foretell J searches by one.

    By the time that its trials trained, not by that which passed: while a search waits for others, nothing trains.

    Args:
        file: the study that is nested.
        session: how it is searched.
        folds: J.

    Raises:
        RequestError: as for `run_study`; nothing was written.
    """
    processes = max(1, default_workers("cpu") if session.workers is None else session.workers)
    at_once = min(processes, file.spec.search.cohort or processes)
    spent = sum(_trained(session.storage, inner_file(file, fold, folds).spec.name)[0] for fold in range(folds))
    seconds, finished = _trained(session.storage, file.spec.name)
    if finished:
        once = seconds / at_once * max(1.0, file.spec.search.trials / finished)
    else:
        once = forecast(make_plan(file), processes).study_s
    return Cost(max(0.0, folds * once - spent / at_once), measured=finished > 0)


def run_nested(
    file: StudyFile,
    session: Session,
    folds: int,
    *,
    again: bool = False,
    say: Callable[[Cost], None] = lambda cost: None,
) -> StudyResult:
    """Search a study, search inside every outer fold, score each winner on that fold's rows, and record what came out.

    What was searched and scored already is not done again: after an interruption the same call goes on.

    Args:
        file: the study that is nested.
        session: how each is searched.
        folds: J, at least 2.
        again: look once more at outer rows whose studies have another winner since they were looked at.
        say: told the cost before anything is trained, and once more when the study's own search says it better.

    Returns:
        The study with its finding "nested"; `ending` is "interrupted" where there is more to do.

    Raises:
        RequestError: the rows cannot be split so, or a second look was not asked for; nothing was written.
        FoldtuneError: an inner search completed no trial, or its winner cannot be trained on all of its rows.
    """
    inner = [inner_file(file, fold, folds) for fold in range(folds)]
    _check(inner, session, again=again)
    cost = nested_cost(file, session, folds)
    say(cost)
    result = search(file, session)
    if result.best is None or result.ending == "interrupted":
        return result
    if not cost.measured:
        say(nested_cost(file, session, folds))
    for one in inner:  # all of them now, so that workers see them
        create_study(one, session)
    looks: list[tuple[str, Finding]] = []
    for one in inner:
        if search(one, session).ending == "interrupted":
            break
        looks.append((one.spec.name, _look(one, file.spec.name, session, again=again)))
    with closing(Store(session.storage, create=False)) as store:
        if len(looks) == folds:
            _keep(store, store.study(file.spec.name), looks)
        return read_result(store, file.spec.name, result.ending if len(looks) == folds else "interrupted")


def _check(inner: Sequence[StudyFile], session: Session, *, again: bool) -> None:
    """Refuse what cannot be searched, and a second look that nobody asked for."""
    for file in inner:
        if not _trained(session.storage, file.spec.name)[1]:
            make_plan(file)
            continue
        with closing(Store(session.storage, create=False)) as store:
            record = store.study(file.spec.name)
            if record.spec["search"].get("trials") != file.spec.search.trials:
                check_first_look(store, record, again=again)


def _look(file: StudyFile, outer: str, session: Session, *, again: bool) -> Finding:
    """The score of an inner study's winner on its outer fold; looked at once, it stays."""
    with closing(Store(session.storage, create=False)) as store:
        record, since = store.study(file.spec.name), store.study(outer).created_at
        refit = refit_of(store, record)
        if (known := _known_look(store, record, refit)) is not None:
            return known
        check_first_look(store, record, again=again)
        plan = make_plan(file)
        continued(record, plan)
        found = contamination(store, record, plan, since=since)
        try:
            return look(store, record, plan, refit, again=again, device=session.device, found=found)
        except ResumeError:
            if (known := _known_look(store, record, refit)) is None:  # else another process has done the same
                raise
            return known


def _known_look(store: Store, record: StudyRecord, refit: Refit) -> Finding | None:
    """The last look at an outer fold by the same model."""
    same = (refit.trial.number, refit.epoch)
    looks = reversed(store.findings(record.uuid, "test"))
    return next((look for look in looks if (look.trial, look.content["epoch"]) == same), None)


def _keep(store: Store, record: StudyRecord, looks: Sequence[tuple[str, Finding]]) -> None:
    """Record what nested cross-validation found, unless that is known already."""
    contents = [finding.content for _, finding in looks]
    folds = [{"study": name, "trial": finding.trial, **finding.content} for name, finding in looks]
    scores = [content["scores"][record.metrics[0]] for content in contents]
    content = {
        "metric": record.metrics[0],
        "J": len(looks),
        "scores": {name: _mean([each["scores"][name] for each in contents]) for name in record.metrics},
        "mean": _mean(scores),
        "fold_scores": scores,
        "interval": _interval(scores, contents),
        "level": LEVEL,
        "n_rows": sum(each["n_rows"] for each in contents),
        "looks": max(each["looks"] for each in contents),
        "void": next((each["void"] for each in contents if each["void"]), None),
        "cautions": list(dict.fromkeys(each["origin"] for each in contents if each.get("origin"))),
        "folds": [
            {key: fold[key] for key in ("study", "trial", "epoch", "n_rows", "interval", "looks")} for fold in folds
        ],
    }
    store.keep(record.uuid, Finding("nested", None, content, store.tick(record.uuid), datetime.now(UTC)))
    optuna_copy.note(store, record.name)


def _mean(scores: Sequence[float | None]) -> float | None:
    """None where a fold has no score."""
    there = [score for score in scores if score is not None]
    return math.fsum(there) / len(there) if len(there) == len(scores) else None


def _interval(scores: Sequence[float | None], contents: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """None where a fold has no score."""
    there = [score for score in scores if score is not None]
    if len(there) < len(scores):
        return None
    return list(fold_interval(there, float(np.mean([each["n_rows"] / each["n_train"] for each in contents]))))


def _trained(storage: str, name: str) -> tuple[float, int]:
    """Seconds that a study's trials trained, and those that have ended; nothing of one that is not there."""
    try:
        with closing(Store(storage, create=False)) as store:
            return store.trained(name)
    except StoreError:
        return 0.0, 0
