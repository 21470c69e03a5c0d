"""`foldtune test`: one configuration trained on all development rows, then scored once on rows that no trial saw."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch

from foldtune import trust
from foldtune.data.dataset import Dataset
from foldtune.errors import DataError, ResumeError, TrainingError
from foldtune.search import optuna_copy
from foldtune.search.contamination import Contamination, contamination
from foldtune.search.definition import continued
from foldtune.search.out_of_fold import metric_scorer, places, units_of
from foldtune.search.plan import Plan, make_plan
from foldtune.search.refit import Refit, refit_of
from foldtune.search.run import STORAGE, check_device, stored_file
from foldtune.selection.bbc import LEVEL
from foldtune.selection.interval import row_interval
from foldtune.selection.labels import cautions
from foldtune.store.looks import Look, add_look, looks
from foldtune.store.records import Finding, StudyRecord
from foldtune.store.store import Store
from foldtune.train.make import make_engine
from foldtune.values import Fold, Job, OutOfFold, TrialResult

Watch = Callable[[int, int], None]
"""Told the epochs trained and those to train."""


def run_test(
    name: str,
    *,
    trial: int | None = None,
    again: bool = False,
    storage: str = STORAGE,
    device: str = "cpu",
    data: str | FilePath | Any = None,
    allow_imports: Sequence[str] = (),
    watch: Watch | None = None,
) -> Finding:
    """Score a study's winner on its locked rows, and record that this was done.

    The winner is trained on all development rows, with preprocessing fitted on these alone, on the schedule of its
    trial, up to the best epoch of its mean curve; schedules that read scores read that curve. So the locked rows decide
    on nothing. The look is recorded before the score is given: one that was killed earlier has shown nothing and counts
    for nothing.

    Args:
        name: the study's name.
        trial: another complete trial than the winner.
        again: look once more at rows that were looked at, here or in a fork; every look stays recorded.
        storage: SQLAlchemy URL of the database.
        device: where the net trains, as torch names it.
        data: the folder where relative data paths now live, or the table or arrays of a study made from Python objects.
        allow_imports: as in `resume_study`.
        watch: called after every epoch.

    Returns:
        The finding, as it is stored.

    Raises:
        RequestError: no rows are locked or the trial is not complete; they were looked at before, without `again`; the
            data are not those of the study.
        TrainingError: the configuration cannot be trained on all development rows.
    """
    allowed = trust.prefixes(allow_imports)
    file = stored_file(name, storage, overrides=(), data=data, allowed=allowed)
    with trust.libraries_only(allowed), closing(Store(storage, create=False)) as store:
        record = store.study(name)
        check_first_look(store, record, again=again)
        refit = refit_of(store, record, trial)
        plan = make_plan(file)
        continued(record, plan)
        check_device(device)
        found = contamination(store, record, plan)
        return look(store, record, plan, refit, again=again, device=device, found=found, watch=watch)


def check_first_look(store: Store, record: StudyRecord, *, again: bool) -> None:
    """Refuse a second look that nobody asked for, before anything is trained for it.

    Raises:
        ResumeError: the locked rows were looked at, by whatever study that locks the same rows.
    """
    _check_first(looks(store, record, alone=_counts_alone(record)), again=again)


def _check_first(before: Sequence[Look], *, again: bool) -> None:
    if before and not again:
        name, first = before[0].study, before[0].finding
        found = f"trial {first.trial} of {name} was scored on {first.created_at:%Y-%m-%d}"
        hint = f"`foldtune show {name}` prints what it said. Add --again to look once more: every look stays visible."
        raise ResumeError.of((), "locked rows are looked at once", found, hint)


def _counts_alone(record: StudyRecord) -> bool:
    """Whether looks of other studies do not count: several nested studies may share their outer folds."""
    return record.spec["data"].get("outer_fold") is not None


def look(
    store: Store,
    record: StudyRecord,
    plan: Plan,
    refit: Refit,
    *,
    again: bool,
    device: str,
    found: Contamination,
    watch: Watch | None = None,
) -> Finding:
    """Train, score and record. Of two looks at once, the one that is recorded first is the first.

    Args:
        store: where the study is.
        record: the study.
        plan: the same, with its data.
        refit: what is trained.
        again: record it whatever was looked at before.
        device: where.
        found: what its enqueued trials do to the score.
        watch: called after every epoch.

    Raises:
        DataError: no rows are locked.
        TrainingError: the configuration cannot be trained.
        ResumeError: the locked rows were looked at meanwhile; nothing is recorded, and no score is shown.
    """
    dataset, fold = plan.with_locked()
    result = _train(plan, record, dataset, fold, refit, device, watch or (lambda epoch, epochs: None))
    assert result.out_of_fold is not None
    interval, said = _interval(plan, dataset, fold, result.out_of_fold)
    scores = dict(zip(record.metrics, result.scores[0].tolist(), strict=True))
    content = {
        "metric": record.metrics[0],
        "scores": {name: score if np.isfinite(score) else None for name, score in scores.items()},
        "interval": interval,
        "level": LEVEL,
        "n_rows": len(fold.valid),
        "n_train": len(fold.train),
        "epoch": refit.epoch,
        "planned": refit.planned,
        "seeds": 1,
        "winner": refit.is_winner,
        "void": found.void,
        "origin": found.caution,
        "cautions": [*said, *([found.caution] if found.caution else [])],
    }
    finding = Finding("test", refit.trial.number, content, store.tick(record.uuid), datetime.now(UTC))
    before = add_look(store, record, finding, again=again, alone=_counts_alone(record))
    _check_first(before, again=again)
    optuna_copy.note(store, record.name)
    return replace(finding, content={**content, "looks": 1 + len(before)})


def _train(
    plan: Plan, record: StudyRecord, dataset: Dataset, fold: Fold, refit: Refit, device: str, watch: Watch
) -> TrialResult:
    setup = replace(plan.setup(device), dataset=dataset, engine=record.spec["search"]["engine"], keeps_answers=True)
    job = Job(refit.trial.number, refit.trial.config, (fold,), guide=refit.guide)
    with _one_thread():
        run = make_engine(setup).start([job])
        for epoch in range(1, refit.epoch + 1):
            (report,) = run.step()
            if report.failure is not None:
                raise TrainingError(f"trial {job.trial} fails on all development rows: {report.failure.message}")
            watch(epoch, refit.epoch)
        return run.drop(job.trial)


def _interval(plan: Plan, dataset: Dataset, fold: Fold, answers: OutOfFold) -> tuple[list[float] | None, list[str]]:
    """Where the objective lies, and what weakens that."""
    where = places([fold])
    scorer = metric_scorer(plan.metrics[0], plan.metric_nodes[0], dataset, where, [answers])
    try:
        units = units_of(dataset, where.row)
        interval = list(row_interval(scorer, units=units, seed=plan.spec.search.seed))
    except DataError as error:
        return None, [f"There is no interval: {error}"]
    rows = dataset.groups is None and dataset.time is None
    said = cautions(n_groups=None if rows else len(units.stratum), reference=1, n_trials=1, n_scored=1)
    return interval, list(said)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As training processes have, so that a configuration comes to the numbers that it would come to there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
