"""The study as Optuna's samplers and pruners see it: in memory, rebuilt from our rows.

Optuna's own path commits about 22 times per trial, and a pruner that is asked twice about the same epoch changes its
answer; so neither ever works on the database. What they note is stored with the trials, and each question is put to a
sampler or pruner that was just made, so that nothing they keep to themselves is lost when a study is interrupted.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection, create_study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from foldtune import seeds, space
from foldtune.search.optuna_parts import build_pruner, build_sampler, most_epochs
from foldtune.search.pickles import RUNNING, are_pickles, check_notes, with_pickles, without_pickles
from foldtune.spec.domains import Node, Scalar
from foldtune.store.records import TrialRecord
from foldtune.values import Config, Direction

STATES = {
    "waiting": TrialState.RUNNING,  # one that has parameters will be trained; who suggests must know of it
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

INFEASIBLE = "constraints:memory"
"""Under this name, Optuna finds a constraint, violated by a trial that does not fit into memory."""

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
    def finite(self) -> bool:
        """Whether the sampler may have nothing left to suggest, some time."""
        return isinstance(self.study.sampler, GridSampler | BruteForceSampler)

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing left to suggest: every point of its grid was tried, or is being tried."""
        return self.study.stopped or (isinstance(self.study.sampler, GridSampler) and self._grid_is_spent())

    def ask(self, number: int, fixed: Mapping[str, Scalar] | None = None) -> tuple[dict[str, Scalar], Config]:
        """A new trial's parameters and configuration.

        Args:
            number: the trial's; not asked for before.
            fixed: parameters that are given, not suggested.
        """
        running = [trial.number for trial in self._trials() if not trial.state.is_finished()]
        self.study.sampler = self._sampler(number)
        self._place(number)
        if fixed is not None:
            self.storage.set_trial_system_attr(self._id(number), "fixed_params", dict(fixed))
        noted = self.storage.get_study_system_attrs(self.study_id)
        with _experiments():
            trial = self.study.begin(self._id(number))
            config = space.sample(self.tree, trial)
        found = self.storage.get_study_system_attrs(self.study_id)
        if fresh := {key: value for key, value in found.items() if noted.get(key) != value}:
            self.storage.set_trial_system_attr(self._id(number), NOTED, fresh)
        if are_pickles(self.storage.get_trial(self._id(number)).system_attrs):
            self.storage.set_trial_system_attr(self._id(number), RUNNING, running)
        self._note_exhaustion()
        return dict(trial.params), config

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Tell the fold mean after an epoch; whether the pruner would stop the trial there."""
        if self.n_objectives > 1:  # Optuna prunes by one value only
            return False
        trial = self._id(number)
        self.storage.set_trial_intermediate_value(trial, epoch, value)
        return bool(self._pruner().prune(self.study, self.storage.get_trial(trial)))

    def tell(self, number: int, state: str, values: Sequence[float] | None, *, infeasible: bool = False) -> None:
        """Tell how a trial ended.

        Args:
            number: the trial's.
            state: its last.
            values: for complete ones only.
            infeasible: whether it failed because nothing like it can be trained here. Optuna's samplers overlook
                trials that failed. For TPE it is a pruned one that violates a constraint, worse than all others; the
                samplers that look at complete trials alone cannot be told, and leave it out.
        """
        sampler = self.study.sampler = self._sampler(number)
        if infeasible and isinstance(sampler, TPESampler):
            self.storage.set_trial_system_attr(self._id(number), INFEASIBLE, 1.0)
        if isinstance(sampler, GridSampler):  # it fails when it is told of a trial that was enqueued
            self.study.sampler = RandomSampler(seed=0)
        told = _state(state, self.storage.get_trial_system_attrs(self._id(number)))
        self.study.tell(number, values if state == "complete" else None, state=told)
        self.study.sampler = sampler

    def attrs(self, number: int) -> dict[str, Any]:
        """What the sampler and the pruner noted about a trial."""
        return without_pickles(self.storage.get_trial(self._id(number)).system_attrs)

    def follow(self, trials: Sequence[TrialRecord], means: Mapping[int, Mapping[int, float]]) -> None:
        """Take in trials as they are stored: all of a study that is opened, or what other search loops did since.

        Args:
            trials: in the order of their numbers.
            means: what each has reported, by number and epoch.
        """
        for trial in trials:
            self._follow(trial, means.get(trial.number, {}))
        self._note_exhaustion()

    def _follow(self, trial: TrialRecord, means: Mapping[int, float]) -> None:
        if trial.number < len(self._trials()):
            self._update(trial, means)
        elif trial.config:
            self._place(trial.number - 1)
            self.storage.create_new_trial(self.study_id, template_trial=self._stored(trial, means))
        self._note(trial)

    def _stored(self, trial: TrialRecord, means: Mapping[int, float]) -> FrozenTrial:
        """A trial as it is stored."""
        frozen = create_trial(
            state=_state(trial.state, trial.attrs),
            values=self._values(trial, means),
            params=dict(trial.params),
            distributions={name: self.distributions[name] for name in trial.params},
            system_attrs=dict(check_notes(trial.attrs)),
            intermediate_values=dict(means) if self.n_objectives == 1 else {},
        )
        if RUNNING in trial.attrs:
            frozen.system_attrs = with_pickles(frozen, self.study, self._sampler(trial.number))
        return _Kept(
            number=frozen.number,
            state=frozen.state,
            value=None,
            datetime_start=frozen.datetime_start,
            datetime_complete=frozen.datetime_complete,
            params=frozen.params,
            distributions=frozen.distributions,
            user_attrs=frozen.user_attrs,
            system_attrs=frozen.system_attrs,
            intermediate_values=frozen.intermediate_values,
            trial_id=-1,
            values=frozen.values,
        )

    def _update(self, trial: TrialRecord, means: Mapping[int, float]) -> None:
        """Bring a trial that another search loop trains up to date."""
        seen, trial_id = self._trials()[trial.number], self._id(trial.number)
        if seen.state.is_finished() or not trial.config:
            return
        for name, value in trial.params.items() if not seen.params else ():
            self.storage.set_trial_param(
                trial_id, name, self.distributions[name].to_internal_repr(value), self.distributions[name]
            )
        for key, attr in check_notes(trial.attrs).items():
            self.storage.set_trial_system_attr(trial_id, key, attr)
        for epoch, mean in means.items() if self.n_objectives == 1 else ():
            self.storage.set_trial_intermediate_value(trial_id, epoch, mean)
        if (state := _state(trial.state, trial.attrs)).is_finished():
            self.storage.set_trial_state_values(trial_id, state, self._values(trial, means))

    def _values(self, trial: TrialRecord, means: Mapping[int, float]) -> list[float] | None:
        """A trial's values as `Study.tell` has them: the last report of a pruned one."""
        if _state(trial.state, trial.attrs) is TrialState.PRUNED and means and self.n_objectives == 1:
            return [means[max(means)]]
        return None if trial.values is None else list(trial.values)

    def _note(self, trial: TrialRecord) -> None:
        """What its sampler noted about the study when it was suggested."""
        for key, value in trial.attrs.get(NOTED, {}).items():
            self.storage.set_study_system_attr(self.study_id, key, value)

    def _place(self, number: int) -> None:
        """Trials up to a number, those that are new without parameters: what other search loops are about to ask."""
        for _ in range(len(self._trials()), number + 1):
            self.storage.create_new_trial(self.study_id)

    def _trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

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


def _state(state: str, attrs: Mapping[str, Any]) -> TrialState:
    """A trial's state as its sampler sees it."""
    return TrialState.PRUNED if state == "failed" and INFEASIBLE in attrs else STATES[state]


class _Kept(FrozenTrial):
    """A trial that storages need not copy deeply, which takes longer than all else when a large study is opened: they
    replace what stands in it, and change nothing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Kept":
        return copy(self)


class _Study(Study):
    """A study whose trials are asked by their ids, and that remembers `stop` outside of `optimize`, which Optuna's
    exhaustive samplers call."""

    def __init__(self, name: str, storage: InMemoryStorage, *, sampler: BaseSampler, pruner: BasePruner) -> None:
        super().__init__(name, storage, sampler, pruner)
        self.stopped = False

    def begin(self, trial_id: int) -> Trial:
        """`Study.ask` for a trial that exists already."""
        self._thread_local.cached_all_trials = None
        return Trial(self, trial_id)

    def stop(self) -> None:
        self.stopped = True


@contextmanager
def _experiments() -> Iterator[None]:
    """Without Optuna's warnings that something is experimental: the study file asks for it by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
