"""The mirror answers from the history alone: one that is restored half-way goes on as the one that saw everything."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from foldtune.errors import StoreError
from foldtune.search.mirror import Mirror
from foldtune.search.pickles import RUNNING, are_pickles
from foldtune.spec.domains import Scalar, parse
from foldtune.store.codec import dump, load
from foldtune.store.records import TrialRecord
from foldtune.values import Direction

EPOCHS = 9
SPACE = {
    "model": {"use": "MLP", "n_blocks": {"int": [1, 3]}, "d_block": {"int": [8, 64], "log": True}},
    "optimizer": {"use": "SGD", "lr": {"float": [1e-3, 1.0], "log": True}, "momentum": {"float": [0.0, 0.9]}},
    "training": {"epochs": EPOCHS},
}
BRANCHES = {
    **SPACE,
    "optimizer": {
        "choice": [
            {"use": "AdamW", "lr": {"float": [1e-4, 1e-1], "log": True}},
            {"use": "SGD", "lr": {"float": [1e-3, 1.0], "log": True}, "momentum": {"float": [0.0, 0.9]}},
        ]
    },
}
GRID = {
    "model": {"use": "MLP", "n_blocks": {"int": [1, 3]}, "norm": {"choice": ["BatchNorm1d", None]}},
    "optimizer": {"use": "SGD", "momentum": {"float": [0.0, 0.5], "step": 0.5}},
    "training": {"epochs": EPOCHS},
}
SAMPLERS: dict[str, dict[str, Any] | None] = {
    "default": None,
    "TPE": {"use": "TPESampler"},
    "TPE, multivariate": {"use": "TPESampler", "multivariate": True, "n_startup_trials": 5},
    "random": {"use": "RandomSampler"},
    "QMC": {"use": "QMCSampler"},
    "QMC, scrambled": {"use": "QMCSampler", "scramble": True},
    "CMA-ES": {"use": "CmaEsSampler", "n_startup_trials": 3, "popsize": 4},
    "CMA-ES, margin": {"use": "CmaEsSampler", "n_startup_trials": 3, "popsize": 4, "with_margin": True},
    "NSGA-II": {"use": "NSGAIISampler", "population_size": 4},
    "NSGA-III": {"use": "NSGAIIISampler", "population_size": 4},
    "GP": {"use": "GPSampler", "n_startup_trials": 8},
    "nested": {
        "use": "PartialFixedSampler",
        "fixed_params": {"model.n_blocks": 2},
        "base_sampler": {"use": "TPESampler"},
    },
}
PRUNERS: dict[str, dict[str, Any] | None] = {
    "default": None,
    "halving": {"use": "SuccessiveHalvingPruner"},
    "hyperband": {"use": "HyperbandPruner"},
    "hyperband, bounded": {"use": "HyperbandPruner", "max_resource": EPOCHS},
    "median": {"use": "MedianPruner", "n_startup_trials": 3},
    "percentile": {"use": "PercentilePruner", "percentile": 40.0, "n_startup_trials": 2},
    "patient": {
        "use": "PatientPruner",
        "patience": 1,
        "wrapped_pruner": {"use": "MedianPruner", "n_startup_trials": 1},
    },
    "threshold": {"use": "ThresholdPruner", "upper": 1.4},
}
Event = tuple[object, ...]
TWO: tuple[Direction, ...] = ("minimize", "maximize")


@dataclass
class Session:
    """A search of up to two trials at once by hand, without epochs that are trained: what it asked and was answered."""

    mirror: Mirror
    given: dict[int, dict[str, Scalar]] = field(default_factory=lambda: {3: {"optimizer.lr": 0.5}})
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    means: dict[int, dict[int, float]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    infeasible: frozenset[int] = frozenset()

    def go(self, barriers: int, cohort: int = 2) -> None:
        for _ in range(barriers):
            while (
                sum(trial.state == "running" for trial in self.trials.values()) < cohort and not self.mirror.exhausted
            ):
                self._ask()
            for trial in [trial for trial in self.trials.values() if trial.state == "running"]:
                self._report(trial)

    def _ask(self) -> None:
        number = len(self.trials)
        params, config = self.mirror.ask(number, self.given.get(number))
        self.trials[number] = TrialRecord(
            number, "running", "sampled", False, params, dict(config), self.mirror.attrs(number)
        )
        self.means[number] = {}
        self.events.append(("ask", number, tuple(params.items())))

    def _report(self, trial: TrialRecord) -> None:
        epoch = len(self.means[trial.number]) + 1
        value = _curve(trial, epoch)
        prune = self.mirror.report(trial.number, epoch, value)
        self.means[trial.number][epoch] = value
        self.events.append(("report", trial.number, epoch, prune))
        state = "complete" if epoch == EPOCHS else "pruned" if prune else "failed" if trial.number == 6 else "running"
        state = "failed" if trial.number in self.infeasible else state
        values = (value,) * self.mirror.n_objectives if state == "complete" else None
        if state != "running":
            self.mirror.tell(trial.number, state, values, infeasible=trial.number in self.infeasible)
        attrs = load(dump(self.mirror.attrs(trial.number)))
        self.trials[trial.number] = replace(trial, state=state, values=values, attrs=attrs)  # type: ignore[arg-type]

    def restored(self, mirror: Mirror) -> "Session":
        """The session as another process reads it from the store."""
        trials = {
            number: replace(trial, params=load(dump(trial.params)), attrs=load(dump(trial.attrs)))
            for number, trial in self.trials.items()
        }
        mirror.follow(list(trials.values()), self.means)
        return Session(
            mirror,
            self.given,
            trials,
            {number: dict(means) for number, means in self.means.items()},
            list(self.events),
            self.infeasible,
        )


def _curve(trial: TrialRecord, epoch: int) -> float:
    numbers = [value for value in trial.params.values() if isinstance(value, int | float)]
    return math.sin(sum(numbers) * 7 + trial.number) + 1.0 / epoch + 0.2 * math.sin(epoch * (trial.number + 1))


def _seen(mirror: Mirror) -> list[tuple[object, ...]]:
    """The trials as samplers and pruners see them, apart from what clocks showed."""
    return [
        (trial.state, trial.values, trial.params, trial.distributions, trial.system_attrs, trial.intermediate_values)
        for trial in mirror.study.trials
    ]


def _mirror(
    tree: Mapping[str, Any] = SPACE,
    sampler: Mapping[str, Any] | None = None,
    pruner: Mapping[str, Any] | None = None,
    directions: tuple[Direction, ...] = ("minimize",),
) -> Mirror:
    parsed, problems = parse(tree, ())
    assert not problems
    return Mirror("study", directions, tree=parsed, seed=1, sampler=sampler, pruner=pruner)


@pytest.mark.parametrize("barriers", [3, 30])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_a_restored_mirror_suggests_what_the_whole_one_suggests(sampler: dict[str, Any] | None, barriers: int) -> None:
    whole = Session(_mirror(sampler=sampler))
    whole.go(barriers)
    parts = whole.restored(_mirror(sampler=sampler))
    assert _seen(parts.mirror) == _seen(whole.mirror)
    whole.go(36 - barriers)
    parts.go(36 - barriers)
    assert parts.events == whole.events
    assert len(whole.trials) > 10


@pytest.mark.parametrize(
    "sampler", [None, {"use": "TPESampler"}, {"use": "RandomSampler"}], ids=["default", "TPE", "random"]
)
def test_a_restored_mirror_follows_the_same_branches(sampler: dict[str, Any] | None) -> None:
    whole = Session(_mirror(BRANCHES, sampler))
    whole.go(20)
    parts = whole.restored(_mirror(BRANCHES, sampler))
    whole.go(30)
    parts.go(30)
    assert parts.events == whole.events
    assert len({trial.config["optimizer"]["use"] for trial in whole.trials.values()}) == 2


@pytest.mark.parametrize("sampler", [None, {"use": "NSGAIISampler", "population_size": 3}], ids=["default", "NSGA-II"])
def test_several_objectives_are_restored_and_never_pruned(sampler: dict[str, Any] | None) -> None:
    goals: tuple[Direction, ...] = ("minimize", "maximize")
    whole = Session(_mirror(sampler=sampler, directions=goals))
    whole.go(30)
    parts = whole.restored(_mirror(sampler=sampler, directions=goals))
    whole.go(40)
    parts.go(40)
    assert parts.events == whole.events
    assert {trial.state for trial in whole.trials.values()} == {"complete", "running", "failed"}


@pytest.mark.parametrize(
    ("sampler", "directions"),
    [*((name, ("minimize",)) for name in SAMPLERS), ("default", TWO), ("TPE", TWO), ("NSGA-II", TWO), ("GP", TWO)],
)
def test_infeasible_trials_are_restored(sampler: str, directions: tuple[Direction, ...]) -> None:
    infeasible = frozenset({1, 5, 6, 9})
    whole = Session(_mirror(sampler=SAMPLERS[sampler], directions=directions), infeasible=infeasible)
    whole.go(20)
    parts = whole.restored(_mirror(sampler=SAMPLERS[sampler], directions=directions))
    assert _seen(parts.mirror) == _seen(whole.mirror)
    whole.go(20)
    parts.go(20)
    assert parts.events == whole.events
    assert {whole.trials[number].state for number in infeasible} == {"failed"}


@pytest.mark.parametrize("directions", [("minimize",), TWO], ids=["one", "two"])
@pytest.mark.parametrize("name", ["default", "TPE", "TPE, multivariate"])
def test_the_sampler_learns_what_does_not_fit(name: str, directions: tuple[Direction, ...]) -> None:
    """Wide nets are the better the wider, but above 32 none fits."""
    asked = {}
    for told in (True, False):
        mirror, asked[told] = _mirror(sampler=SAMPLERS[name], directions=directions), 0
        for number in range(80):
            params, _ = mirror.ask(number)
            width, rate = params["model.d_block"], params["optimizer.lr"]
            assert isinstance(width, int) and isinstance(rate, float)
            if width > 32:
                asked[told] += number >= 20
                mirror.tell(number, "failed", None, infeasible=told)
            else:
                value = -float(width) + abs(math.log(rate))
                mirror.tell(number, "complete", (value, -value)[: len(directions)])
    assert asked[True] < asked[False] / 2, asked


@pytest.mark.parametrize("barriers", [2, 21])
@pytest.mark.parametrize("pruner", PRUNERS.values(), ids=PRUNERS.keys())
def test_a_restored_mirror_prunes_what_the_whole_one_prunes(pruner: dict[str, Any] | None, barriers: int) -> None:
    whole = Session(_mirror(pruner=pruner))
    whole.go(barriers, cohort=3)
    parts = whole.restored(_mirror(pruner=pruner))
    whole.go(30 - barriers, cohort=3)
    parts.go(30 - barriers, cohort=3)
    assert parts.events == whole.events
    answers = {event[3] for event in whole.events if event[0] == "report"}
    assert answers == {True, False}


@pytest.mark.parametrize("cohort", [1, 2, 5])
def test_a_grid_tries_every_point_once_and_ends(cohort: int) -> None:
    session = Session(_mirror(GRID, {"use": "GridSampler"}))
    session.mirror.ask(0, {"model.n_blocks": 2, "model.norm": "BatchNorm1d", "optimizer.momentum": 0.0})
    session.mirror.tell(0, "complete", (0.5,))
    asked: list[tuple[object, ...]] = []
    while not session.mirror.exhausted:
        running: list[int] = []
        while len(running) < cohort and not session.mirror.exhausted:
            params, _ = session.mirror.ask(number := len(asked) + 1)
            asked.append(tuple(params.values()))
            running.append(number)
        for number in running:
            session.mirror.tell(number, "complete", (0.5,))
    assert len(asked) == len(set(asked)) == 3 * 2 * 2


def test_a_grid_takes_the_end_of_a_trial_that_it_did_not_suggest() -> None:
    tree = {**GRID, "model": {"use": "MLP", "norm": {"choice": ["BatchNorm1d", None]}}, "optimizer": {"use": "SGD"}}
    mirror = _mirror(tree, {"use": "GridSampler"})
    mirror.ask(0, {"model.norm": None})
    mirror.ask(1)
    mirror.tell(0, "complete", (0.5,))  # one point is left, and nobody tries it
    assert not mirror.exhausted
    mirror.ask(2)
    assert mirror.exhausted


@pytest.mark.parametrize("barriers", [0, 9, 28, 35])
@pytest.mark.parametrize("name", ["GridSampler", "BruteForceSampler"])
def test_an_exhaustive_search_ends_also_after_it_was_restored(name: str, barriers: int) -> None:
    point: dict[str, Scalar] = {"model.n_blocks": 2, "model.norm": None, "optimizer.momentum": 0.5}
    whole = Session(_mirror(GRID, {"use": name}, {"use": "NopPruner"}), {0: point, 3: point})
    whole.go(barriers, cohort=3)
    parts = whole.restored(_mirror(GRID, {"use": name}, {"use": "NopPruner"}))
    assert parts.mirror.exhausted == whole.mirror.exhausted
    whole.go(60 - barriers, cohort=3)
    parts.go(60 - barriers, cohort=3)
    assert parts.events == whole.events
    assert whole.mirror.exhausted and parts.mirror.exhausted
    assert parts.restored(_mirror(GRID, {"use": name})).mirror.exhausted


def test_a_quasi_random_sequence_does_not_begin_anew() -> None:
    session = Session(_mirror(sampler={"use": "QMCSampler"}, pruner={"use": "NopPruner"}))
    for _ in range(6):
        session = session.restored(_mirror(sampler={"use": "QMCSampler"}, pruner={"use": "NopPruner"}))
        session.go(EPOCHS, cohort=3)
    points = [tuple(trial.params.values()) for trial in session.trials.values()]
    assert len(points) == len(set(points)) > 15


def test_what_a_quasi_random_sequence_leaves_out_is_drawn_anew_for_every_trial() -> None:
    mirror = _mirror(BRANCHES, {"use": "QMCSampler", "scramble": True, "warn_independent_sampling": False})
    mirror.ask(0, {"optimizer": "AdamW"})
    mirror.tell(0, "complete", (0.5,))
    drawn = [
        params["optimizer.SGD.lr"]
        for params, _ in (mirror.ask(1 + n) for n in range(9))
        if params["optimizer"] == "SGD"
    ]
    assert len(drawn) == len(set(drawn)) > 2


def test_suggestions_follow_from_the_seed_and_the_number() -> None:
    first, again = _mirror(), _mirror()
    assert first.ask(0) == again.ask(0)
    again.seed = 2
    assert first.ask(1) != again.ask(1)


def test_given_parameters_are_taken_and_the_others_suggested() -> None:
    params, config = _mirror().ask(0, {"optimizer.lr": 0.25})
    assert params["optimizer.lr"] == config["optimizer"]["lr"] == 0.25
    assert list(params) == ["model.n_blocks", "model.d_block", "optimizer.lr", "optimizer.momentum"]


def test_a_path_has_one_distribution_whatever_branch_is_taken() -> None:
    mirror = _mirror(BRANCHES)
    for number in range(12):
        mirror.ask(number)
    for trial in mirror.study.trials:
        assert trial.distributions == {name: mirror.distributions[name] for name in trial.params}


@pytest.mark.parametrize("pruner", [None, {"use": "MedianPruner", "n_startup_trials": 3}], ids=["default", "median"])
@pytest.mark.parametrize("tree", [SPACE, BRANCHES], ids=["space", "branches"])
def test_a_mirror_that_follows_sees_what_one_sees_that_is_restored(
    tree: Mapping[str, Any], pruner: dict[str, Any] | None
) -> None:
    """Another search loop's trials arrive bit by bit, reserved numbers first, the later ones before the earlier."""
    whole, follower = Session(_mirror(tree, pruner=pruner)), _mirror(tree, pruner=pruner)
    for _ in range(30):
        begun = len(whole.trials)
        whole.go(1)
        changed = [replace(trial, attrs=load(dump(trial.attrs))) for trial in whole.trials.values()]
        waiting = [replace(trial, state="waiting", params={}, config={}, attrs={}) for trial in changed[begun:-1]]
        follower.follow([*waiting, *changed[-1:]], whole.means)
        follower.follow(changed, whole.means)
    restored = whole.restored(_mirror(tree, pruner=pruner)).mirror
    assert [_without_order(seen) for seen in _seen(follower)] == [_without_order(seen) for seen in _seen(restored)]
    number = len(whole.trials)
    assert follower.ask(number) == restored.ask(number)


def _without_order(seen: tuple[object, ...]) -> list[object]:
    return [dict(sorted(part.items())) if isinstance(part, dict) else part for part in seen]


def test_numbers_that_others_reserved_are_left_out() -> None:
    mirror = _mirror()
    mirror.follow([], {})
    for number in (4, 2, 3):
        params, _ = mirror.ask(number, {"optimizer.lr": 0.5} if number == 2 else None)
        assert mirror.study.trials[number].params == params
        assert (params["optimizer.lr"] == 0.5) is (number == 2)
    assert [bool(trial.params) for trial in mirror.study.trials] == [False, False, True, True, True]


CMA_ES = [
    {"use": "CmaEsSampler", "n_startup_trials": 2, "popsize": 4},
    {"use": "CmaEsSampler", "n_startup_trials": 2, "popsize": 4, "use_separable_cma": True},
    {"use": "CmaEsSampler", "n_startup_trials": 2, "popsize": 4, "lr_adapt": True, "consider_pruned_trials": True},
    {
        "use": "PartialFixedSampler",
        "fixed_params": {"model.n_blocks": 2},
        "base_sampler": {"use": "CmaEsSampler", "popsize": 4},
    },
]


@pytest.mark.parametrize("sampler", CMA_ES, ids=["plain", "separable", "adapted, pruned ones too", "nested"])
def test_cma_es_is_restored_without_its_pickles_however_many_train_at_once(sampler: dict[str, Any]) -> None:
    whole = Session(_mirror(sampler=sampler))
    parts = Session(_mirror(sampler=sampler))
    for _ in range(6):
        whole.go(17, cohort=4)
        parts.go(17, cohort=4)
        assert parts.events == whole.events
        parts = parts.restored(_mirror(sampler=sampler))
    noted = [are_pickles(trial.system_attrs) for trial in parts.mirror.study.trials]
    assert noted == [are_pickles(trial.system_attrs) for trial in whole.mirror.study.trials]
    assert sum(noted) > 1
    assert not any(are_pickles(trial.attrs) or "80049" in dump(trial.attrs) for trial in whole.trials.values())


@pytest.mark.parametrize("key", ["cma:optimizer:0", "sepcma:optimizer:0", "cmawm:optimizer:0", "cma:optimizer"])
def test_a_stored_pickle_is_never_loaded(key: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle = f"cos\nsystem\n(S'touch {canary}'\ntR.".encode().hex()
    sampler = {"use": "CmaEsSampler", "n_startup_trials": 1}
    session = Session(_mirror(sampler=sampler))
    session.go(20)
    trials = [replace(trial, attrs={**trial.attrs, key: pickle}) for trial in session.trials.values()]
    with pytest.raises(StoreError, match=f"and no pickle, however: {key}. Another program or an earlier version"):
        _mirror(sampler=sampler).follow(trials, session.means)
    assert not canary.exists()


@pytest.mark.parametrize("noted", [3, [None], [[0]], {"a": 1}, ["x"]])
def test_notes_that_no_sampler_made_are_refused(noted: Any) -> None:
    session = Session(_mirror())
    session.go(12)
    strange = replace(session.trials[1], attrs={**session.trials[1].attrs, RUNNING: noted})
    with pytest.raises(StoreError, match="what a sampler noted must be what it can be asked again"):
        _mirror().follow([session.trials[0], strange], session.means)
