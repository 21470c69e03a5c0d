"""A faithful copy of the study in Optuna's own tables, for optuna-dashboard and Optuna's tools.

Our rows are the truth. A trial enters Optuna's tables with its parameters in one commit, gets its reports at rungs, and
is told once; whatever a crash left out is added when the study is opened again.
"""

from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from foldtune.errors import StoreError
from foldtune.search.mirror import STATES
from foldtune.spec.domains import Scalar
from foldtune.store.engine import configure_sqlite
from foldtune.store.records import TrialRecord
from foldtune.train.stopping import fold_mean
from foldtune.values import Direction


class OptunaCopy:
    """One study in Optuna's tables.

    Args:
        url: the database, the same as ours.
        name: the study's name.
        directions: of each objective.
        distributions: every parameter's, by name.
        new: create it; StoreError when Optuna already has a study of that name, which is then not ours.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        directions: Sequence[Direction],
        distributions: Mapping[str, BaseDistribution],
        new: bool,
    ) -> None:
        self.storage = RDBStorage(url)
        configure_sqlite(self.storage.engine)
        self.distributions = distributions
        self.intermediates = len(directions) == 1
        goals = [StudyDirection.MAXIMIZE if goal == "maximize" else StudyDirection.MINIMIZE for goal in directions]
        if new:
            try:
                self.study_id = self.storage.create_new_study(goals, name)
            except DuplicatedStudyError as error:
                rule = "the database holds an Optuna study of that name that foldtune did not make"
                raise StoreError.of(("name",), rule, name, "Choose another name.") from error
        else:
            self.study_id = self.storage.get_study_id_from_name(name)

    def add(self, trial: TrialRecord) -> None:
        """A trial that starts, with its parameters."""
        self.storage.create_new_trial(self.study_id, template_trial=self._frozen(trial))

    def report(self, number: int, epoch: int, value: float) -> None:
        """The fold mean after an epoch."""
        if self.intermediates:
            self.storage.set_trial_intermediate_value(self._id(number), epoch, value)

    def finish(self, trial: TrialRecord) -> None:
        """How a trial ended, with what the dashboard shows of its folds."""
        trial_id = self._id(trial.number)
        if trial.scores is not None:
            self.storage.set_trial_user_attr(trial_id, "folds", [round(value, 6) for value in trial.scores[:, 0]])
        if trial.failure is not None:
            self.storage.set_trial_user_attr(trial_id, "failure", f"{trial.failure.kind}: {trial.failure.message}")
        values = _values(trial)
        self.storage.set_trial_state_values(trial_id, STATES[trial.state], values)

    def catch_up(self, trials: Sequence[TrialRecord]) -> None:
        """Add whatever an interruption kept from these tables."""
        known: dict[int, FrozenTrial] = {trial.number: trial for trial in self.storage.get_all_trials(self.study_id)}
        for trial in trials:
            if trial.number not in known:
                self.add(trial)
            if trial.finished_at is not None and not (
                trial.number in known and known[trial.number].state.is_finished()
            ):
                self.finish(trial)

    def close(self) -> None:
        """Give the connections back."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _frozen(self, trial: TrialRecord) -> FrozenTrial:
        params: Mapping[str, Scalar] = trial.params
        return create_trial(
            state=STATES["running"],
            params=dict(params),
            distributions={name: self.distributions[name] for name in params},
            user_attrs={"origin": trial.origin},
        )

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)


def _values(trial: TrialRecord) -> list[float] | None:
    """What Optuna keeps as a trial's value: for a pruned one, the last mean."""
    if trial.state == "complete" and trial.values is not None:
        return list(trial.values)
    if trial.state == "pruned" and trial.scores is not None:
        return [fold_mean(trial.scores[:, 0])]
    return None
