"""A study that is open: its rows, its budget, and the trials that run."""

import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Any
from uuid import uuid4

from foldtune import space
from foldtune.errors import Problem, ResumeError
from foldtune.search.cohort import default_cohort
from foldtune.search.mirror import Mirror
from foldtune.search.optuna_copy import OptunaCopy
from foldtune.search.optuna_parts import most_epochs, rungs
from foldtune.search.plan import Plan
from foldtune.search.result import best_trial
from foldtune.spec.fingerprint import changed, differences
from foldtune.spec.schema import SearchSpec
from foldtune.store.records import StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.train.engine import TrainingSetup
from foldtune.train.stopping import fold_mean
from foldtune.values import Job, Origin

EXEMPT = 5
"""The first trials are never pruned: the reference that scores of pruned trials are corrected with."""

LIBRARIES = ("torch", "optuna", "scikit-learn", "numpy", "sqlalchemy", "foldtune")


@dataclass(eq=False)
class OpenStudy:
    """One study and this process's view of its trials; the rows in the store are the truth.

    Args:
        plan: what the study is made of.
        record: its row.
        store: where its rows are.
        mirror: Optuna's sampler and pruner, in memory.
        copy: Optuna's tables, for the dashboard.
        trials: every trial, by number.
    """

    plan: Plan
    record: StudyRecord
    store: Store
    mirror: Mirror
    copy: OptunaCopy
    trials: dict[int, TrialRecord]

    @property
    def search(self) -> SearchSpec:
        return self.plan.spec.search

    @property
    def cohort(self) -> int:
        """Trials in training at once: fixed when the study is created, whatever number of processes trains them."""
        return int(self.record.spec["search"]["cohort"])

    @property
    def running(self) -> list[int]:
        return [number for number, trial in self.trials.items() if trial.state == "running"]

    @property
    def finished(self) -> list[TrialRecord]:
        return [trial for trial in self.trials.values() if trial.finished_at is not None]

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of the best first value; the earliest of equals."""
        return best_trial(self.trials.values(), self.record.directions[0])

    def ask(self) -> TrialRecord:
        """The next trial: the defaults first, then what was enqueued, then what the sampler suggests."""
        number = len(self.trials)
        fixed = {0: space.defaults(self.plan.space)} | dict(enumerate(self.plan.enqueued, 1))
        origin: Origin = "default" if number == 0 else "enqueued" if number in fixed else "sampled"
        _, params, config = self.mirror.ask(fixed.get(number))
        trial = TrialRecord(
            number=number,
            state="running",
            origin=origin,
            exempt=number < EXEMPT,
            params=params,
            config=dict(config),
            attrs=self.mirror.attrs(number),
            started_at=datetime.now(UTC),
        )
        self.trials[number] = trial
        return trial

    def setup(self, device: str) -> TrainingSetup:
        """What a training process gets; the engine, as the cohort, is fixed when the study is created."""
        return replace(self.plan.setup(device), engine=self.record.spec["search"]["engine"])

    def job(self, number: int) -> Job:
        return Job(number, self.trials[number].config, self.plan.folds)

    def close(self) -> None:
        """Give the database's connections back."""
        self.copy.close()
        self.store.close()


def open_study(plan: Plan, store: Store, *, workers: int) -> OpenStudy:
    """Create the study of that name, or go on with it.

    Args:
        plan: what the study is made of.
        store: where its rows are, or will be.
        workers: training processes; a new study trains as many trials at once, or a pack of them, unless its file
            says another cohort.

    Raises:
        ResumeError: the stored study has another definition, other data or other splits; nothing was changed.
        StoreError: Optuna has a study of that name already; nothing was changed.
    """
    name, search = plan.spec.name, plan.spec.search
    stored = store.study(name) if name in {summary.name for summary in store.studies()} else None
    record = _continued(stored, plan) if stored else _new_record(plan, default_cohort(plan, workers))
    mirror = Mirror(
        name,
        plan.directions,
        tree=plan.space,
        seed=search.seed,
        sampler=search.sampler.node if search.sampler else None,
        pruner=search.pruner.node if search.pruner else None,
    )
    steps = rungs(most_epochs(plan.space))
    objectives = dict(zip(record.objectives, plan.directions, strict=True))
    copy = OptunaCopy(store, name, objectives=objectives, distributions=mirror.distributions, rungs=steps)
    study = OpenStudy(plan, record, store, mirror, copy, {})
    with ExitStack() as undo:
        undo.callback(copy.close)
        if stored is None:
            copy.check_free()
            store.create_study(record)
        elif changed(stored.spec, record.spec):
            store.update_spec(record.uuid, record.spec)
        _restore(study)
        undo.pop_all()
    return study


def _continued(stored: StudyRecord, plan: Plan) -> StudyRecord:
    """A stored study with the budget that is asked for."""
    tree = _stored_tree(plan, **{name: stored.spec["search"][name] for name in ("cohort", "engine")})
    check_same(stored, plan, tree)
    return replace(stored, spec=tree)


def check_same(record: StudyRecord, plan: Plan, tree: Mapping[str, Any]) -> None:
    """Refuse to go on with a study that is not the stored one.

    Args:
        record: the stored study.
        plan: what was asked for.
        tree: its tree, cohort and engine included.

    Raises:
        ResumeError: every difference.
    """
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


def _stored_tree(plan: Plan, *, cohort: int, engine: str) -> dict[str, Any]:
    """The tree that the database holds: with it and the data alone, the study goes on.

    Args:
        plan: what was asked for.
        cohort: where its file does not say.
        engine: the same.
    """
    search = plan.tree["search"]
    given = {
        "cohort": plan.spec.search.cohort or cohort,
        "engine": search.get("engine", engine),
        "enqueue": [dict(params) for params in plan.enqueued],
    }
    return {**plan.tree, "search": {**search, **given}}


def _new_record(plan: Plan, cohort: int) -> StudyRecord:
    return StudyRecord(
        uuid=uuid4().hex,
        name=plan.spec.name,
        spec=_stored_tree(plan, cohort=cohort, engine=plan.spec.search.engine),
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


def _restore(study: OpenStudy) -> None:
    """Fill the mirror and Optuna's tables from our rows."""
    trials = study.store.trials(study.record.uuid)
    study.trials |= {trial.number: trial for trial in trials}
    means = {trial.number: _fold_means(study, trial.number) for trial in trials}
    study.mirror.restore(trials, means)
    study.copy.open(trials, means)


def _fold_means(study: OpenStudy, number: int) -> dict[int, float]:
    """The first objective's mean over folds of each stored epoch of a trial."""
    curves = study.store.curves(study.record.uuid, number)
    return {int(epoch): fold_mean(scores[:, 0]) for epoch, scores in zip(curves.epochs, curves.scores, strict=True)}
