"""A faithful copy of the study in Optuna's own tables, for optuna-dashboard and Optuna's tools.

Our rows are the truth. A trial enters Optuna's tables with its parameters in one commit, gets its reports at rungs, and
is told once; whatever a crash left out is added when the study is opened again.
"""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection, load_study
from optuna.trial import FrozenTrial, create_trial

from foldtune.errors import StoreError
from foldtune.search.mirror import STATES
from foldtune.store.border import reported
from foldtune.store.engine import configure_sqlite
from foldtune.store.records import TrialRecord
from foldtune.store.store import Store
from foldtune.train.stopping import fold_mean
from foldtune.values import Direction


class OptunaCopy:
    """One study in Optuna's tables.

    Args:
        store: our rows; Optuna's tables stand in the same database.
        name: the study's name.
        objectives: label and direction of each.
        distributions: every parameter's, by name.
        rungs: epochs whose reports are copied, beside a trial's last.

    Raises:
        StoreError: the database cannot be used; methods raise it too.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        objectives: Mapping[str, Direction],
        distributions: Mapping[str, BaseDistribution],
        rungs: Collection[int],
    ) -> None:
        self.name, self.distributions = name, distributions
        self.objectives = objectives
        self.rungs = frozenset(rungs) if len(objectives) == 1 else frozenset()  # Optuna has no reports of several
        with reported(store.engine.url):
            self.storage = RDBStorage(store.engine.url.render_as_string(hide_password=False))
        configure_sqlite(self.storage.engine)
        self.study_id = -1
        self.ids: dict[int, int] = {}  # trial number -> Optuna's id

    def check_free(self) -> None:
        """Refuse to share a name with a study that Optuna made.

        Raises:
            StoreError: it knows the name.
        """
        with self._reported():
            names = {study.study_name for study in self.storage.get_all_studies()}
        if self.name in names:
            rule = "the database holds an Optuna study of that name that foldtune did not make"
            raise StoreError.of(("name",), rule, self.name, "Choose another name.")

    def open(self, trials: Sequence[TrialRecord], means: Mapping[int, Mapping[int, float]]) -> None:
        """Find the study or create it, and add whatever an interruption kept from it.

        Args:
            trials: all of them.
            means: what each has reported, by number and epoch.

        Raises:
            StoreError: another program added trials to it.
        """
        with self._reported():
            self.study_id = self._find_or_create()
            known = {trial.number: trial for trial in self.storage.get_all_trials(self.study_id)}
        self._check_ours(trials, known)
        self.ids = {number: trial._trial_id for number, trial in known.items()}
        for trial in trials:
            if trial.number not in known or not known[trial.number].state.is_finished():
                self.update(trial, means[trial.number])

    def update(self, trial: TrialRecord, means: Mapping[int, float]) -> None:
        """A trial as it stands: in one commit where it is new, else what it reported, and how it ended.

        Args:
            trial: one whose predecessors are all known.
            means: the fold means of some or all of its epochs.
        """
        reports = {epoch: mean for epoch, mean in sorted(means.items()) if self._is_copied(epoch, trial)}
        with self._reported():
            if trial.number not in self.ids:
                found = self.storage.create_new_trial(self.study_id, template_trial=self._frozen(trial, reports))
                self.ids[trial.number] = found
                return
            trial_id = self.ids[trial.number]
            for epoch, mean in reports.items():
                self.storage.set_trial_intermediate_value(trial_id, epoch, mean)
            if trial.finished_at is not None:
                for key, value in _shown(trial).items():
                    self.storage.set_trial_user_attr(trial_id, key, value)
                self.storage.set_trial_state_values(trial_id, STATES[trial.state], _values(trial))

    def close(self) -> None:
        """Give the connections back."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _is_copied(self, epoch: int, trial: TrialRecord) -> bool:
        ended = trial.finished_at is not None
        return epoch in self.rungs or (bool(self.rungs) and ended and epoch == trial.epochs)

    def _frozen(self, trial: TrialRecord, reports: Mapping[int, float]) -> FrozenTrial:
        frozen = create_trial(
            state=STATES[trial.state],
            values=_values(trial),
            params=dict(trial.params),
            distributions={name: self.distributions[name] for name in trial.params},
            user_attrs={"origin": trial.origin, **_shown(trial)},
            intermediate_values=dict(reports),
        )
        frozen.datetime_start = _local(trial.started_at)
        frozen.datetime_complete = _local(trial.finished_at)
        return frozen

    def _find_or_create(self) -> int:
        goals = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}
        try:
            study_id = self.storage.create_new_study([goals[goal] for goal in self.objectives.values()], self.name)
        except DuplicatedStudyError:
            return self.storage.get_study_id_from_name(self.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            load_study(study_name=self.name, storage=self.storage).set_metric_names(list(self.objectives))
        return study_id

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Raise the database's errors as `StoreError`, those too that Optuna has wrapped."""
        with reported(self.storage.engine.url):
            try:
                yield
            except StorageInternalError as error:
                raise error.__cause__ or error from None

    def _check_ours(self, trials: Sequence[TrialRecord], known: Mapping[int, FrozenTrial]) -> None:
        ours = {trial.number: trial.params for trial in trials}
        strange = [number for number, trial in known.items() if ours.get(number) != trial.params]
        if strange:
            rule = "Optuna's copy of the study must hold foldtune's trials alone"
            hint = "Delete the study in optuna-dashboard: `foldtune resume` copies it anew."
            raise StoreError.of(("name",), rule, f"another program added trial {strange[0]}", hint)


def _local(moment: datetime | None) -> datetime | None:
    """As Optuna writes it: local, without a zone."""
    return moment.astimezone().replace(tzinfo=None) if moment else None


def _shown(trial: TrialRecord) -> dict[str, object]:
    """What the dashboard shows beside the values."""
    folds = {} if trial.scores is None else {"folds": [round(float(value), 6) for value in trial.scores[:, 0]]}
    failure = {} if trial.failure is None else {"failure": f"{trial.failure.kind}: {trial.failure.message}"}
    return {**folds, **failure}


def _values(trial: TrialRecord) -> list[float] | None:
    """What Optuna keeps as a trial's value: for a pruned one, the last mean."""
    if trial.state == "complete" and trial.values is not None:
        return list(trial.values)
    if trial.state == "pruned" and trial.scores is not None:
        return [fold_mean(trial.scores[:, 0])]
    return None
