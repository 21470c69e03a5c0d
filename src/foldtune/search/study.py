"""A study that is open: its rows, its budget, and the trials that run."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from foldtune import space
from foldtune.errors import Problem, ResumeError
from foldtune.search.mirror import Mirror
from foldtune.search.optuna_copy import OptunaCopy
from foldtune.search.plan import Plan
from foldtune.spec.fingerprint import changed, differences
from foldtune.spec.schema import SearchSpec
from foldtune.store.records import StudyRecord, TrialRecord
from foldtune.store.store import Store
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

    def job(self, number: int) -> Job:
        return Job(number, self.trials[number].config, self.plan.folds)

    def close(self) -> None:
        """Give the database's connections back."""
        self.copy.close()
        self.store.close()


def best_trial(trials: Any, direction: str) -> TrialRecord | None:
    """The complete trial of the best first value; the earliest of equals."""
    sign = 1.0 if direction == "minimize" else -1.0
    complete = [trial for trial in trials if trial.state == "complete" and trial.values is not None]
    return min(complete, key=lambda trial: (sign * trial.values[0], trial.number), default=None)


def open_study(plan: Plan, store: Store, url: str, *, workers: int) -> OpenStudy:
    """Create the study of that name, or go on with it.

    Args:
        plan: what the study is made of.
        store: where its rows are, or will be.
        url: the same database, for Optuna's tables.
        workers: training processes; a new study trains as many trials at once, unless its file says another cohort.

    Raises:
        ResumeError: the stored study has another definition, other data or other splits; nothing was changed.
    """
    known = {summary.name for summary in store.studies()}
    name = plan.spec.name
    record = store.study(name) if name in known else _new_record(plan, max(1, workers))
    tree = _with_cohort(plan.tree, record.spec["search"]["cohort"])
    if name in known:
        check_same(record, plan, tree)
    mirror = Mirror(
        name,
        plan.directions,
        tree=plan.space,
        seed=plan.spec.search.seed,
        sampler=plan.spec.search.sampler.node if plan.spec.search.sampler else None,
        pruner=plan.spec.search.pruner.node if plan.spec.search.pruner else None,
    )
    copy = OptunaCopy(url, name, directions=plan.directions, distributions=mirror.distributions, new=name not in known)
    if name not in known:
        store.create_study(record)
    elif changed(record.spec, tree):
        store.update_spec(record.uuid, tree)
        record = replace(record, spec=tree)
    study = OpenStudy(plan, record, store, mirror, copy, {})
    _restore(study)
    return study


def check_same(record: StudyRecord, plan: Plan, tree: Mapping[str, Any]) -> None:
    """Refuse to go on with a study that is not the stored one.

    Args:
        record: the stored study.
        plan: what was asked for.
        tree: its tree, the cohort included.

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
        hint = "Nothing was changed. Undo the difference, or start a new study with `--fork NAME`."
        raise ResumeError([*problems[:-1], replace(last, hint=hint)])


def _with_cohort(tree: Mapping[str, Any], cohort: int) -> dict[str, Any]:
    return {**tree, "search": {"cohort": cohort, **tree["search"]}}


def _new_record(plan: Plan, cohort: int) -> StudyRecord:
    return StudyRecord(
        uuid=uuid4().hex,
        name=plan.spec.name,
        spec=_with_cohort(plan.tree, cohort),
        folder=str(plan.file.folder),
        file=plan.file.source.file,
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
    for trial in study.store.trials(study.record.uuid):
        study.trials[trial.number] = trial
        study.mirror.restore(
            trial.params,
            state=trial.state,
            values=trial.values,
            reports=fold_means(study.store, study.record.uuid, trial.number),
            attrs=trial.attrs,
        )
    study.copy.catch_up(list(study.trials.values()))


def fold_means(store: Store, uuid: str, number: int) -> Mapping[int, float]:
    """The first objective's mean over folds of each stored epoch of a trial."""
    curves = store.curves(uuid, number)
    return {int(epoch): fold_mean(scores[:, 0]) for epoch, scores in zip(curves.epochs, curves.scores, strict=True)}
