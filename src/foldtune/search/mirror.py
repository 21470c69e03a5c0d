"""The study as Optuna's samplers and pruners see it: in memory, rebuilt from our rows.

Optuna's own path commits about 22 times per trial, and a pruner that is asked twice about the same epoch changes its
answer; so neither ever works on the database. What they note about a trial (`attrs`) is stored with it.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection, create_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from foldtune import seeds, space
from foldtune.search.optuna_parts import build_pruner, build_sampler, most_epochs
from foldtune.spec.domains import Node, Scalar
from foldtune.values import Config, Direction

STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Mirror:
    """Asks and prunes. Every answer follows from the history, the running trials, the study's seed and the number.

    Args:
        name: the study's name, which Hyperband's brackets depend on.
        directions: of each objective.
        tree: the searchable sections, with domains.
        seed: the study's seed.
        sampler: its reference; None for the default.
        pruner: its reference; None for the default.
    """

    def __init__(
        self,
        name: str,
        directions: Sequence[Direction],
        *,
        tree: Node,
        seed: int,
        sampler: Mapping[str, Any] | None = None,
        pruner: Mapping[str, Any] | None = None,
    ) -> None:
        self.tree, self.seed, self.sampler = tree, seed, sampler
        self.distributions = {key: space.distribution(domain) for key, domain in space.domains(tree).items()}
        self.storage = InMemoryStorage()
        goals = [StudyDirection.MAXIMIZE if goal == "maximize" else StudyDirection.MINIMIZE for goal in directions]
        study = create_study(study_name=name, storage=self.storage, directions=goals)
        self.study = _Study(
            study.study_name,
            self.storage,
            sampler=self._sampler(0),
            pruner=build_pruner(pruner, most_epochs(tree), len(directions)),
        )
        self.study_id = self.storage.get_study_id_from_name(name)
        self.prunes = len(directions) == 1

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing left to suggest (grids end)."""
        return self.study.stopped

    def ask(self, fixed: Mapping[str, Scalar] | None = None) -> tuple[int, dict[str, Scalar], Config]:
        """The next trial: its number, parameters and configuration.

        Args:
            fixed: parameters that are given, not suggested.
        """
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self._sampler(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            if fixed is not None:
                self.study.enqueue_trial(dict(fixed))
            trial = self.study.ask()
            config = space.sample(self.tree, trial)
        return trial.number, dict(trial.params), config

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Tell the fold mean after an epoch; whether the pruner would stop the trial there."""
        if not self.prunes:
            return False
        trial = self._id(number)
        self.storage.set_trial_intermediate_value(trial, epoch, value)
        return bool(self.study.pruner.prune(self.study, self.storage.get_trial(trial)))

    def tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        """Tell how a trial ended; `values` for complete ones only."""
        self.study.sampler = self._sampler(number)
        self.study.tell(number, values if state == "complete" else None, state=STATES[state])

    def attrs(self, number: int) -> dict[str, Any]:
        """What the sampler and the pruner noted about a trial."""
        return dict(self.storage.get_trial(self._id(number)).system_attrs)

    def restore(
        self,
        params: Mapping[str, Scalar],
        *,
        state: str,
        values: Sequence[float] | None,
        reports: Mapping[int, float],
        attrs: Mapping[str, Any],
    ) -> None:
        """Add a stored trial, as it stood; trials must come in number order."""
        if state == "pruned" and reports:
            values = [reports[max(reports)]]
        frozen = create_trial(
            state=STATES[state],
            values=list(values) if values is not None and state in ("complete", "pruned") else None,
            params=dict(params),
            distributions={name: self.distributions[name] for name in params},
            system_attrs=dict(attrs),
            intermediate_values=dict(reports) if self.prunes else {},
        )
        trial_id = self.storage.create_new_trial(self.study_id, template_trial=frozen)
        self._note_exhaustion(self.storage.get_trial(trial_id))

    def _note_exhaustion(self, trial: FrozenTrial) -> None:
        """A grid says that it ends when it is told of its last trial; a restored one must say so again."""
        if trial.state.is_finished() and self.sampler is not None:
            self._sampler(trial.number).after_trial(self.study, trial, trial.state, trial.values)

    def _sampler(self, number: int) -> BaseSampler:
        return build_sampler(self.sampler, self.tree, seeds.derive(self.seed, "suggest", number))

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)


class _Study(Study):
    """A study that remembers `stop` outside of `optimize`, which Optuna's grids call."""

    def __init__(self, name: str, storage: InMemoryStorage, *, sampler: BaseSampler, pruner: BasePruner) -> None:
        super().__init__(name, storage, sampler, pruner)
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
