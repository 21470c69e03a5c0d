"""The study as Optuna's samplers and pruners see it: in memory, rebuilt from our rows.

Optuna's own path commits about 22 times per trial, and a pruner that is asked twice about the same epoch changes its
answer; so neither ever works on the database. What they note is stored with the trials, and each question is put to a
sampler or pruner that was just made, so that nothing they keep to themselves is lost when a study is interrupted.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection, create_study
from optuna.trial import TrialState, create_trial

from foldtune import seeds, space
from foldtune.search.optuna_parts import build_pruner, build_sampler, most_epochs
from foldtune.search.pickles import check_attrs
from foldtune.spec.domains import Node, Scalar
from foldtune.store.records import TrialRecord
from foldtune.values import Config, Direction

STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

NOTED = "foldtune:study"
"""Under this name, a trial keeps what its sampler noted about the study when the trial was suggested."""


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
        self.tree, self.seed, self.sampler, self.pruner = tree, seed, sampler, pruner
        self.epochs, self.n_objectives = most_epochs(tree), len(directions)
        self.distributions = {key: space.distribution(domain) for key, domain in space.domains(tree).items()}
        self.storage = InMemoryStorage()
        goals = [StudyDirection.MAXIMIZE if goal == "maximize" else StudyDirection.MINIMIZE for goal in directions]
        created = create_study(study_name=name, storage=self.storage, directions=goals)
        self.study = _Study(created.study_name, self.storage, sampler=self._sampler(0), pruner=self._pruner())
        self.study_id = self.storage.get_study_id_from_name(name)

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing left to suggest: every point of its grid was tried, or is being tried."""
        return self.study.stopped or (isinstance(self.study.sampler, GridSampler) and self._grid_is_spent())

    def ask(self, fixed: Mapping[str, Scalar] | None = None) -> tuple[int, dict[str, Scalar], Config]:
        """The next trial: its number, parameters and configuration.

        Args:
            fixed: parameters that are given, not suggested.
        """
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self._sampler(number)
        if fixed is not None:
            self.study.enqueue_trial(dict(fixed))
        noted = self.storage.get_study_system_attrs(self.study_id)
        with _experiments():
            trial = self.study.ask()
            config = space.sample(self.tree, trial)
        found = self.storage.get_study_system_attrs(self.study_id)
        if fresh := {key: value for key, value in found.items() if noted.get(key) != value}:
            self.storage.set_trial_system_attr(self._id(number), NOTED, fresh)
        self._note_exhaustion()
        return number, dict(trial.params), config

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Tell the fold mean after an epoch; whether the pruner would stop the trial there."""
        if self.n_objectives > 1:  # Optuna prunes by one value only
            return False
        trial = self._id(number)
        self.storage.set_trial_intermediate_value(trial, epoch, value)
        return bool(self._pruner().prune(self.study, self.storage.get_trial(trial)))

    def tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        """Tell how a trial ended; `values` for complete ones only."""
        sampler = self.study.sampler = self._sampler(number)
        if isinstance(sampler, GridSampler):  # it fails when it is told of a trial that was enqueued
            self.study.sampler = RandomSampler(seed=0)
        self.study.tell(number, values if state == "complete" else None, state=STATES[state])
        self.study.sampler = sampler

    def attrs(self, number: int) -> dict[str, Any]:
        """What the sampler and the pruner noted about a trial."""
        return dict(self.storage.get_trial(self._id(number)).system_attrs)

    def restore(self, trials: Sequence[TrialRecord], means: Mapping[int, Mapping[int, float]]) -> None:
        """Take in a stored study.

        Args:
            trials: all of them, in the order of their numbers.
            means: what each has reported, by number and epoch.
        """
        for trial in trials:
            self._restore(trial, means[trial.number])
        self._note_exhaustion()

    def _restore(self, trial: TrialRecord, means: Mapping[int, float]) -> None:
        values = trial.values
        if trial.state == "pruned" and means:
            values = (means[max(means)],)  # as `Study.tell` has it
        attrs = check_attrs(trial.attrs)
        frozen = create_trial(
            state=STATES[trial.state],
            values=None if values is None else list(values),
            params=dict(trial.params),
            distributions={name: self.distributions[name] for name in trial.params},
            system_attrs=attrs,
            intermediate_values=dict(means) if self.n_objectives == 1 else {},
        )
        self.storage.create_new_trial(self.study_id, template_trial=frozen)
        for key, value in attrs.get(NOTED, {}).items():
            self.storage.set_study_system_attr(self.study_id, key, value)

    def _note_exhaustion(self) -> None:
        """Optuna asks an exhaustive sampler whether to end when a trial ends; here also when one begins."""
        finished = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        if finished and isinstance(sampler := self.study.sampler, BruteForceSampler):
            sampler.after_trial(self.study, finished[-1], finished[-1].state, finished[-1].values)

    def _grid_is_spent(self) -> bool:
        noted = [trial.system_attrs for trial in self.study.get_trials(deepcopy=False)]
        points = {attrs["grid_id"]: attrs["search_space"] for attrs in noted if "grid_id" in attrs}
        axes = next(iter(points.values()), None)
        return axes is not None and len(points) >= math.prod(map(len, axes.values()))

    def _sampler(self, number: int) -> BaseSampler:
        own, common = seeds.derive(self.seed, "suggest", number), seeds.derive(self.seed, "suggest")
        sampler = build_sampler(self.sampler, self.tree, own)
        if isinstance(sampler, GridSampler):  # its seed is the order of the points
            return build_sampler(self.sampler, self.tree, common)
        if isinstance(sampler, QMCSampler):  # its seed is the sequence
            node = {"independent_sampler": RandomSampler(seed=own), **(self.sampler or {})}
            return build_sampler(node, self.tree, common)
        return sampler

    def _pruner(self) -> BasePruner:
        return build_pruner(self.pruner, self.epochs, self.n_objectives)

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)


class _Study(Study):
    """A study that remembers `stop` outside of `optimize`, which Optuna's exhaustive samplers call."""

    def __init__(self, name: str, storage: InMemoryStorage, *, sampler: BaseSampler, pruner: BasePruner) -> None:
        super().__init__(name, storage, sampler, pruner)
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


@contextmanager
def _experiments() -> Iterator[None]:
    """Without Optuna's warnings that something is experimental: the study file asks for it by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
