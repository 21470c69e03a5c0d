"""A faithful copy of the study in Optuna's own tables, for optuna-dashboard and Optuna's tools.

Our rows are the truth. A trial enters Optuna's tables with its parameters in one commit, gets its reports at rungs, and
is told once; whatever a crash left out is added when the study is opened again.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection, load_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from foldtune.errors import StoreError
from foldtune.search.mirror import STATES
from foldtune.search.note import HEADING
from foldtune.store.border import reported
from foldtune.store.engine import configure_sqlite
from foldtune.store.optuna_rows import KnownTrial, known_trials
from foldtune.store.records import TrialRecord
from foldtune.store.retry import persistently
from foldtune.store.schema import create_beside, revision
from foldtune.store.store import Store
from foldtune.train.stopping import fold_mean
from foldtune.values import Direction

T = TypeVar("T")

MAX_FAILURE = 2000
"""Characters of a failure's message that are copied: MySQL holds 64 kB of an attribute, ours the whole."""


def optuna_storage(store: Store) -> RDBStorage:
    """Optuna's tables in our database, created if they are missing, however many processes want them at once.

    Raises:
        StoreError: the database cannot be used.
    """
    create_beside(store.engine, _VERSION_TABLE, _create_tables)
    with reported(store.engine.url):
        storage = RDBStorage(store.engine.url.render_as_string(hide_password=False), skip_table_creation=True)
    configure_sqlite(storage.engine)
    return storage


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
        self.store = store
        self.study_id = -1
        self.ids: dict[int, int] = {}  # trial number -> Optuna's id
        self.ended: dict[int, datetime | None] = {}  # trials that have ended in Optuna's tables, and when in ours

    @cached_property
    def storage(self) -> RDBStorage:
        """Optuna's way to its tables, with a connection of its own: search loops that do not copy need none."""
        return optuna_storage(self.store)

    def check_free(self) -> None:
        """Refuse to share a name with a study that Optuna made.

        Raises:
            StoreError: it knows the name.
        """
        names = {study.study_name for study in self._patiently(self.storage.get_all_studies)}
        if self.name in names:
            rule = "the database holds an Optuna study of that name that foldtune did not make"
            raise StoreError.of(("name",), rule, self.name, "Choose another name.")

    def open(self, trials: Sequence[TrialRecord], means: Mapping[int, Mapping[int, float]]) -> None:
        """Find the study or create it, and add whatever an interruption kept from it.

        Optuna does not reopen a trial that has ended: where one is tried again, the study is copied anew.

        Args:
            trials: all of them.
            means: what each has reported, by number and epoch.

        Raises:
            StoreError: another program added trials to it.
        """
        self.study_id = self._patiently(self._find_or_create)
        known = self._patiently(self._known)
        self._check_ours(trials, known)
        ended = [trial for trial in trials if trial.number in known and known[trial.number].state in _ENDED]
        if not all(_is_copy(known[trial.number], trial) for trial in ended):
            self._patiently(self._begin_anew)
            ended = []
        self.ended = {trial.number: trial.finished_at for trial in ended}
        for trial in trials:
            if trial.number not in self.ended:
                self.update(trial, means[trial.number])

    def update(self, trial: TrialRecord, means: Mapping[int, float]) -> None:
        """A trial as it stands: in one commit where it is new, else what it reported, and how it ended.

        Args:
            trial: one whose predecessors are all known.
            means: the fold means of some or all of its epochs.
        """
        self._patiently(lambda: self._update(trial, means))

    def note(self, text: str) -> None:
        """Put a note on the study's page in optuna-dashboard, in place of an earlier one; a person's own note stays.

        Args:
            text: Markdown that begins with `note.HEADING`, or nothing to say.
        """
        if text:
            self._patiently(lambda: self._note(text))

    def close(self) -> None:
        """Give the connections back."""
        if "storage" in vars(self):
            self.storage.remove_session()
            self.storage.engine.dispose()

    def _update(self, trial: TrialRecord, means: Mapping[int, float]) -> None:
        reports = {epoch: mean for epoch, mean in sorted(means.items()) if self._is_copied(epoch, trial)}
        if trial.number not in self.ids and self.storage.get_n_trials(self.study_id) != len(self.ids):
            self._known()  # another search loop copied meanwhile, or an answer was lost
        if trial.number not in self.ids:
            found = self.storage.create_new_trial(self.study_id, template_trial=self._frozen(trial, reports))
            self.ids[trial.number] = found
        else:
            with suppress(UpdateFinishedTrialError):  # likewise
                self._report(self.ids[trial.number], trial, reports)
        if trial.finished_at is not None:
            self.ended[trial.number] = trial.finished_at

    def _note(self, text: str) -> None:
        from optuna_dashboard import get_note, save_note  # half a second, once a search has ended

        study = load_study(study_name=self.name, storage=self.storage)
        before = get_note(study)
        if before != text and (not before or before.startswith(HEADING)):
            save_note(study, text)

    def _report(self, trial_id: int, trial: TrialRecord, reports: Mapping[int, float]) -> None:
        for epoch, mean in reports.items():
            self.storage.set_trial_intermediate_value(trial_id, epoch, mean)
        if trial.finished_at is not None:
            for key, value in _shown(trial).items():
                self.storage.set_trial_user_attr(trial_id, key, value)
            self.storage.set_trial_state_values(trial_id, STATES[trial.state], _values(trial))

    def _known(self) -> dict[int, KnownTrial]:
        """The trials that are there, by number."""
        known = known_trials(self.storage.engine, self.study_id, "failure")
        self.ids = {number: trial.id for number, trial in known.items()}
        return known

    def is_tried_again(self, trial: TrialRecord) -> bool:
        """Whether Optuna's tables say how an earlier attempt ended."""
        return trial.number in self.ended and self.ended[trial.number] != trial.finished_at

    def _begin_anew(self) -> None:
        """Optuna opens no trial again: its study is deleted, and made once more."""
        self.storage.delete_study(self.study_id)
        self.study_id, self.ids = self._find_or_create(), {}

    def _is_copied(self, epoch: int, trial: TrialRecord) -> bool:
        ended = trial.finished_at is not None
        return epoch in self.rungs or (bool(self.rungs) and ended and epoch == trial.epochs)

    def _frozen(self, trial: TrialRecord, reports: Mapping[int, float]) -> FrozenTrial:
        frozen = create_trial(
            state=STATES["running" if trial.state == "waiting" else trial.state],
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
            study_id = self.storage.get_study_id_from_name(self.name)
            self._check_name(self.storage.get_study_name_from_id(study_id))
            return study_id
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            load_study(study_name=self.name, storage=self.storage).set_metric_names(list(self.objectives))
        return study_id

    def _patiently(self, work: Callable[[], T]) -> T:
        """Let Optuna work, and again while the database is away.

        Raises:
            StoreError: the database fails; Optuna wraps some of its errors.
        """

        def attempt() -> T:
            try:
                return work()
            except StorageInternalError as error:
                raise error.__cause__ or error from None

        url = self.store.engine.url
        with reported(url):
            return persistently(url, attempt)

    def _check_name(self, found: str) -> None:
        if found != self.name:
            rule = "Optuna's tables in this database do not tell capitals apart and hold a study"
            raise StoreError.of(("name",), rule, found, "Choose another name, or another database.")

    def _check_ours(self, trials: Sequence[TrialRecord], known: Mapping[int, KnownTrial]) -> None:
        ours = {trial.number: self._internal(trial) for trial in trials}
        strange = [number for number, found in known.items() if ours.get(number) != found.params]
        if strange:
            rule = "Optuna's copy of the study must hold foldtune's trials alone"
            hint = "Delete the study in optuna-dashboard: `foldtune resume` copies it anew."
            raise StoreError.of(("name",), rule, f"another program added trial {strange[0]}", hint)

    def _internal(self, trial: TrialRecord) -> dict[str, float]:
        """A trial's parameters as the numbers by which Optuna stores them."""
        return {name: self.distributions[name].to_internal_repr(value) for name, value in trial.params.items()}


def delete_copy(store: Store, name: str) -> None:
    """Delete a study from Optuna's tables, where it is in them.

    Raises:
        StoreError: the database cannot be used.
    """
    with reported(store.engine.url):
        if revision(store.engine, _VERSION_TABLE) is None:
            return
        storage = optuna_storage(store)
        try:
            found = {study.study_name: study._study_id for study in storage.get_all_studies()}
            if name in found:
                storage.delete_study(found[name])
        except StorageInternalError as error:
            raise error.__cause__ or error from None
        finally:
            storage.remove_session()
            storage.engine.dispose()


_VERSION_TABLE = "alembic_version"
_ENDED = {state.name for state in TrialState if state.is_finished()}


def _create_tables(url: str) -> None:
    storage = RDBStorage(url)
    storage.remove_session()
    storage.engine.dispose()


def _local(moment: datetime | None) -> datetime | None:
    """As Optuna writes it: local, without a zone."""
    return moment.astimezone().replace(tzinfo=None) if moment else None


def _shown(trial: TrialRecord) -> dict[str, object]:
    """What the dashboard shows beside the values."""
    folds = {} if trial.scores is None else {"folds": [round(float(value), 6) for value in trial.scores[:, 0]]}
    failure = (
        {} if trial.failure is None else {"failure": f"{trial.failure.kind}: {trial.failure.message}"[:MAX_FAILURE]}
    )
    return {**folds, **failure}


def _is_copy(theirs: KnownTrial, ours: TrialRecord) -> bool:
    """Whether a trial that has ended in Optuna's tables ended as ours."""
    return (theirs.state, theirs.note) == (STATES[ours.state].name, _shown(ours).get("failure"))


def _values(trial: TrialRecord) -> list[float] | None:
    """What Optuna keeps as a trial's value: for a pruned one, the last mean."""
    if trial.state == "complete" and trial.values is not None:
        return list(trial.values)
    if trial.state == "pruned" and trial.scores is not None:
        return [fold_mean(trial.scores[:, 0])]
    return None
