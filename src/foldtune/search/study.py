"""A study that is open: its rows, its budget, and the trials that run."""

import platform
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Any
from uuid import uuid4

from foldtune import space
from foldtune.errors import Problem, ResumeError, StoreError
from foldtune.search import optuna_copy
from foldtune.search.cohort import default_cohort
from foldtune.search.doubts import warn
from foldtune.search.mirror import Mirror
from foldtune.search.optuna_parts import most_epochs, rungs
from foldtune.search.place import is_dead, this_place
from foldtune.search.plan import Plan
from foldtune.search.publisher import Publisher
from foldtune.search.stored import check_trials
from foldtune.search.trials import Trials
from foldtune.spec.fingerprint import changed, differences
from foldtune.spec.schema import SearchSpec
from foldtune.store.artifacts import Artifacts, default_url
from foldtune.store.publishing import Copy
from foldtune.store.records import Lease, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.train.engine import TrainingSetup
from foldtune.values import Job, Origin

LEASE_S = 90.0
"""How long a search loop that is not heard of keeps its trials, where nobody can see whether its process lives."""

EXEMPT = 5
"""The first trials are never pruned: the reference that scores of pruned trials are corrected with."""

LIBRARIES = ("torch", "optuna", "scikit-learn", "numpy", "sqlalchemy", "foldtune")


@dataclass(eq=False)
class OpenStudy:
    """One study and this process's view of its `trials`; the rows in the store are the truth.

    Args:
        plan: what the study is made of.
        record: its row.
        store: where its rows are.
        mirror: Optuna's sampler and pruner, in memory.
        lease: this search loop's right to write.
        copy: what Optuna's tables shall show, for the dashboard.
        artifacts: checkpoints of trials in training.
        means: the first objective's mean over folds, by trial and epoch.
        tick: of the last write that these show.
    """

    plan: Plan
    record: StudyRecord
    store: Store
    lease: Lease
    mirror: Mirror
    copy: Copy
    artifacts: Artifacts
    means: dict[int, dict[int, float]] = field(default_factory=dict)
    tick: int = -1

    def __post_init__(self) -> None:
        self.trials = Trials(self.record.directions[0], self.lease.token)
        self.publisher = Publisher(self.store, self.lease, self.copy)

    @property
    def search(self) -> SearchSpec:
        return self.plan.spec.search

    @property
    def cohort(self) -> int:
        """Trials in training at once: fixed when the study is created, whatever number of processes trains them."""
        return int(self.record.spec["search"]["cohort"])

    @property
    def running(self) -> list[int]:
        """Trials in training here."""
        return self.trials.ours("running")

    @property
    def reserved(self) -> list[int]:
        """Numbers that wait here for their trials to be asked."""
        return [number for number in self.trials.ours("waiting") if not self.trials[number].config]

    @property
    def put_back(self) -> list[int]:
        """Trials that failed and wait here to be tried again."""
        return [number for number in self.trials.ours("waiting") if self.trials[number].config]

    @property
    def others(self) -> list[int]:
        """Trials that other search loops train, or are about to ask."""
        return self.trials.others

    @property
    def finished(self) -> list[TrialRecord]:
        return [trial for trial in self.trials.values() if trial.finished_at is not None]

    def reserve(self, count: int) -> None:
        """Take the next numbers: at most so many, and as many as the budget has left."""
        self.store.reserve(self.lease, count, self.search.trials)
        self.refresh()

    def take_over(self) -> list[int]:
        """Take the trials whose search loops are gone; those that were in training."""
        taken = self.store.take_over(self.lease, is_dead)
        self.refresh()
        return [number for number in taken if self.trials[number].state == "running"]

    def refresh(self) -> None:
        """Take in what others wrote since; this search loop's own trials are known better than they are stored."""
        changes = self.store.changes(self.record.uuid, self.tick)
        fresh = [trial for trial in changes.trials if not self._is_ours(trial.number)]
        check_trials([trial for trial in fresh if trial.state != "waiting" or trial.config], self.plan.space)
        again = any(self._is_tried_again(trial) for trial in fresh)
        self.tick = changes.tick
        for trial in fresh:
            self.trials.put(trial)
        self.means |= {trial.number: dict(changes.means.get(trial.number, {})) for trial in fresh}
        if again:  # for Optuna, what has ended has ended
            self.mirror = _mirror(self.plan)
            self.mirror.follow([trial for _, trial in sorted(self.trials.items())], self.means)
        else:
            self.mirror.follow(fresh, changes.means)

    def ask(self, number: int) -> TrialRecord:
        """A reserved trial: the defaults first, then what was enqueued, then what the sampler suggests."""
        fixed = {0: space.defaults(self.plan.space)} | dict(enumerate(self.plan.enqueued, 1))
        origin: Origin = "default" if number == 0 else "enqueued" if number in fixed else "sampled"
        params, config = self.mirror.ask(number, fixed.get(number))
        trial = TrialRecord(
            number=number,
            state="running",
            origin=origin,
            exempt=number < EXEMPT,
            params=params,
            config=dict(config),
            attrs=self.mirror.attrs(number),
            started_at=datetime.now(UTC),
            lease=self.lease.token,
        )
        self.means[number] = {}
        self.trials.put(trial)
        return trial

    def try_again(self, number: int) -> TrialRecord:
        """Begin a trial that was put back: its parameters are those it had."""
        trial = replace(self.trials[number], state="running", started_at=datetime.now(UTC))
        self.mirror.follow([trial], {})
        self.means[number] = {}
        self.trials.put(trial)
        return trial

    def setup(self, device: str) -> TrainingSetup:
        """What a training process gets; the engine, as the cohort, is fixed when the study is created."""
        return replace(self.plan.setup(device), engine=self.record.spec["search"]["engine"])

    def job(self, number: int) -> Job:
        return Job(number, self.trials[number].config, self.plan.folds)

    def close(self) -> None:
        """Give up the trials and the database's connections."""
        with closing(self.store):
            self.store.release(self.lease)

    def leave(self) -> None:
        """Give the lease back, with Optuna's tables up to date, unless another search loop is left to see to them."""
        while True:
            copied = self.publisher.publish(now=True)
            if self.store.release(self.lease, -1 if copied is None else copied):
                return

    def _is_ours(self, number: int) -> bool:
        return number in self.trials and self.trials[number].lease == self.lease.token

    def _is_tried_again(self, trial: TrialRecord) -> bool:
        """Whether a trial had ended when it was read last, otherwise than now."""
        before = self.trials.get(trial.number)
        return before is not None and before.finished_at not in (None, trial.finished_at)


def open_study(
    plan: Plan, store: Store, *, workers: int, artifacts: str | None = None, retry_failed: bool = False
) -> OpenStudy:
    """Create the study of that name, or go on with it.

    Args:
        plan: what the study is made of.
        store: where its rows are, or will be.
        workers: training processes; a new study trains as many trials at once, or a pack of them, unless its file
            says another cohort.
        artifacts: folder or fsspec URL of the checkpoints; None for the place that goes with the database.
        retry_failed: put failed trials back, to be tried again before new ones are asked for.

    Raises:
        ResumeError: the stored study has another definition, other data or other splits; nothing was changed.
        StoreError: Optuna has a study of that name already; nothing was changed.
    """
    mirror = _mirror(plan)
    optuna_copy.create_tables(store)
    record = _record(plan, store, workers)
    with ExitStack() as undo:
        lease = store.acquire(record.uuid, this_place(), LEASE_S)
        undo.callback(store.release, lease)
        kept = Artifacts(artifacts or default_url(str(store.engine.url)), record.uuid)
        study = OpenStudy(plan, record, store, lease, mirror, _copy(plan, mirror), kept)
        if retry_failed:
            store.retry(lease)
        study.take_over()
        study.publisher.publish()
        study.artifacts.keep([trial.number for trial in study.trials.values() if trial.state == "running"])
        undo.pop_all()
    return study


def _copy(plan: Plan, mirror: Mirror) -> Copy:
    labels = (metric.label for metric in plan.metrics)
    objectives = dict(zip(labels, plan.directions, strict=False))  # the objectives come first
    steps = rungs(most_epochs(plan.space))
    return optuna_copy.make_copy(plan.spec.name, objectives=objectives, distributions=mirror.distributions, rungs=steps)


def _record(plan: Plan, store: Store, workers: int) -> StudyRecord:
    """The stored study of that name with the budget that is asked for, or a new one; another search loop may create it
    meanwhile."""
    name = plan.spec.name
    if name not in {summary.name for summary in store.studies()}:
        warn(plan)
        record = _new_record(plan, default_cohort(plan, workers))
        optuna_copy.check_free(store, name)
        try:
            store.create_study(record)
        except StoreError:
            if name not in {summary.name for summary in store.studies()}:
                raise
        else:
            return record
    stored = store.study(name)
    record = _continued(stored, plan)
    if changed(stored.spec, record.spec):
        store.update_spec(record.uuid, record.spec)
    return record


def _mirror(plan: Plan) -> Mirror:
    search = plan.spec.search
    return Mirror(
        plan.spec.name,
        plan.directions,
        tree=plan.space,
        seed=search.seed,
        sampler=search.sampler.node if search.sampler else None,
        pruner=search.pruner.node if search.pruner else None,
    )


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
