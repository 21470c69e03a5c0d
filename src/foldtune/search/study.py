"""A study that is open: its rows, its budget, and the trials that run."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from foldtune import space
from foldtune.search import optuna_copy
from foldtune.search.definition import stored_record
from foldtune.search.finalists import by_key, missing, wanted
from foldtune.search.findings import conclude
from foldtune.search.keeping import keep
from foldtune.search.mirror import Mirror
from foldtune.search.optuna_view import make_mirror, make_view
from foldtune.search.place import is_dead, this_place
from foldtune.search.plan import Plan
from foldtune.search.publisher import Publisher
from foldtune.search.stored import check_trials
from foldtune.search.trials import Trials
from foldtune.spec.schema import AnswersChoice, SearchSpec
from foldtune.store.artifacts import Artifacts, default_url
from foldtune.store.publishing import Copy
from foldtune.store.records import Kept, Lease, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.train.engine import TrainingSetup
from foldtune.values import Job, Origin, TrialResult

LEASE_S = 90.0
"""How long a search loop that is not heard of keeps its trials, where nobody can see whether its process lives."""

EXEMPT = 5
"""The first trials are never pruned: the reference that scores of pruned trials are corrected with."""


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
        confirming: trials whose confirmation had begun, and not ended, when the study was opened.
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
    confirming: set[int] = field(default_factory=set)

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
    def keeps(self) -> AnswersChoice:
        """What is kept of out-of-fold answers: fixed when the study is created, too; older studies keep none."""
        found: AnswersChoice = self.record.spec["search"].get("out_of_fold", "none")
        return found

    @property
    def running(self) -> list[int]:
        """Trials in training here."""
        return self.trials.ours("running")

    @property
    def reserved(self) -> list[int]:
        """Numbers that wait here for their trials to be asked."""
        return [number for number in self.trials.ours("waiting") if not self.trials[number].config]

    @property
    def ready(self) -> list[int]:
        """Trials with parameters that wait here for a slot: they were asked ahead, or failed and are tried again."""
        return [number for number in self.trials.ours("waiting") if self.trials[number].config]

    @property
    def others(self) -> list[int]:
        """Trials that other search loops train, or are about to ask."""
        return self.trials.others

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
            self.mirror = make_mirror(self.plan)
            self.mirror.follow([trial for _, trial in sorted(self.trials.items())], self.means)
        else:
            self.mirror.follow(fresh, changes.means)

    def ask(self, number: int) -> TrialRecord:
        """A reserved trial, which then is ready: the defaults first, then what was enqueued, then what the sampler
        suggests."""
        fixed = {0: space.defaults(self.plan.space)} | dict(enumerate(self.plan.enqueued, 1))
        origin: Origin = "default" if number == 0 else "enqueued" if number in fixed else "sampled"
        params, config = self.mirror.ask(number, fixed.get(number))
        trial = TrialRecord(
            number=number,
            state="waiting",
            origin=origin,
            exempt=number < EXEMPT,
            params=params,
            config=dict(config),
            attrs=self.mirror.attrs(number),
            lease=self.lease.token,
        )
        self.trials.put(trial)
        return trial

    def begin(self, number: int) -> TrialRecord:
        """A trial that was ready, and now has a slot."""
        trial = replace(self.trials[number], state="running", started_at=datetime.now(UTC))
        self.mirror.follow([trial], {})
        self.means[number] = {}
        self.trials.put(trial)
        return trial

    def setup(self, device: str) -> TrainingSetup:
        """What a training process gets; the engine, as the cohort, is fixed when the study is created."""
        engine = self.record.spec["search"]["engine"]
        return replace(self.plan.setup(device), engine=engine, keeps_answers=self.keeps != "none")

    def job(self, number: int) -> Job:
        return Job(number, self.trials[number].config, self.plan.folds)

    def kept(self, job: Job, result: TrialResult) -> tuple[Kept, ...]:
        """What is to be stored of a result's answers."""
        plan = self.plan
        return keep(job, result.out_of_fold, choice=self.keeps, objective=plan.metric_nodes[0], dataset=plan.dataset)

    def close(self) -> None:
        """Give up the trials and the database's connections."""
        with closing(self.store):
            self.store.release(self.lease)

    def leave(self) -> None:
        """Give the lease back. The search loop that leads, as the last one does, first sees to it that Optuna's tables
        are up to date and that the study has its honest score."""
        while True:
            copied = self.publisher.publish(now=True)
            if copied is not None:
                self._conclude()
            if self.store.release(self.lease, -1 if copied is None else copied):
                return

    def _conclude(self) -> None:
        self.refresh()
        uuid, name = self.record.uuid, self.record.name
        conclude(self.plan, self.store, uuid, trials=self.trials, means=self.means, tick=self.tick)
        optuna_copy.note(self.store, name)

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
    mirror = make_mirror(plan)
    optuna_copy.create_tables(store)
    record = stored_record(plan, store, workers)
    with ExitStack() as undo:
        lease = store.acquire(record.uuid, this_place(), LEASE_S)
        undo.callback(store.release, lease)
        kept = Artifacts(artifacts or default_url(str(store.engine.url)), record.uuid)
        study = OpenStudy(plan, record, store, lease, mirror, make_view(plan, mirror), kept)
        if retry_failed:
            store.retry(lease)
        study.take_over()
        study.publisher.publish()
        repeats = by_key(store.repeats(record.uuid))
        left = missing(wanted(record, study.trials.values()), repeats)
        study.confirming = {trial for trial, repeat in left if (trial, repeat) in repeats}
        running = {trial.number for trial in study.trials.values() if trial.state == "running"}
        study.artifacts.keep(running | study.confirming)
        undo.pop_all()
    return study
