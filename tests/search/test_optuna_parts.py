from typing import Any

import optuna
import pytest

from foldtune.errors import SpecError
from foldtune.search.optuna_parts import build_pruner, build_sampler, check_parts, most_epochs, rungs
from foldtune.spec.domains import parse
from foldtune.spec.schema import SearchSpec

TREE, _ = parse(
    {
        "optimizer": {"choice": [{"use": "SGD", "lr": {"float": [0.1, 0.4], "step": 0.1}}, "Adam"]},
        "training": {"epochs": {"int": [4, 8]}},
    }
)


def texts(search: dict[str, Any], n_objectives: int = 1, tree: Any = TREE) -> list[str]:
    return [problem.text() for problem in check_parts(SearchSpec.model_validate(search), tree, n_objectives)]


def test_absent_parts_are_tpe_and_successive_halving() -> None:
    assert isinstance(build_sampler(None, TREE, 0), optuna.samplers.TPESampler)
    assert isinstance(build_pruner(None, 50, 1), optuna.pruners.SuccessiveHalvingPruner)
    assert isinstance(build_pruner(None, 50, 2), optuna.pruners.NopPruner)
    assert texts({}) == []


@pytest.mark.parametrize(
    "name", ["TPESampler", "RandomSampler", "CmaEsSampler", "GPSampler", "QMCSampler", "NSGAIISampler"]
)
def test_samplers_come_by_name_with_a_seed(name: str) -> None:
    assert texts({"sampler": name}) == []
    first, second = (build_sampler({"use": name}, TREE, seed) for seed in (0, 1))
    assert type(first).__name__ == type(second).__name__ == name


def test_equal_seeds_suggest_the_same() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = [
        optuna.create_study(sampler=build_sampler({"use": "RandomSampler"}, TREE, seed)).ask().suggest_float("x", 0, 1)
        for seed in (3, 3, 4)
    ]
    assert asked[0] == asked[1] != asked[2]


def test_a_grid_is_made_from_the_space() -> None:
    grid = build_sampler({"use": "GridSampler"}, TREE, 0)
    assert isinstance(grid, optuna.samplers.GridSampler)
    assert grid._search_space["optimizer"] == ["SGD", "Adam"]
    assert grid._search_space["training.epochs"] == [4, 5, 6, 7, 8]
    assert grid._search_space["optimizer.SGD.lr"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    tree, _ = parse({"optimizer": {"use": "SGD", "lr": {"float": [0.1, 0.4]}}})
    assert texts({"sampler": "GridSampler"}, tree=tree) == [
        "search.sampler: a grid needs a `step` for the real number `optimizer.lr`, however: float: [0.1, 0.4]."
    ]


@pytest.mark.parametrize("name", ["MedianPruner", "HyperbandPruner", "NopPruner", "SuccessiveHalvingPruner"])
def test_pruners_come_by_name(name: str) -> None:
    assert texts({"pruner": name}) == []
    assert type(build_pruner({"use": name}, 9, 1)).__name__ == name


def test_a_pruner_may_wrap_another() -> None:
    wrapped = {"use": "PatientPruner", "patience": 2, "wrapped_pruner": {"use": "MedianPruner"}}
    assert texts({"pruner": wrapped}) == []


@pytest.mark.parametrize(
    "pruner",
    [
        "WilcoxonPruner",
        "optuna.pruners:WilcoxonPruner",
        {"use": "WilcoxonPruner", "p_threshold": 0.2},
        {"use": "PatientPruner", "patience": 2, "wrapped_pruner": {"use": "WilcoxonPruner"}},
    ],
)
def test_wilcoxon_is_refused_with_the_reason(pruner: Any) -> None:
    (text,) = texts({"pruner": pruner})
    assert "`WilcoxonPruner` compares folds step by step, but a step here is an epoch over all folds" in text
    assert "Leave `pruner` out for successive halving" in text


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ({"sampler": "TPESampeler"}, "there is no sampler `TPESampeler` in optuna.samplers. Did you mean TPESampler"),
        (
            {"sampler": {"use": "TPESampler", "n_startup": 3}},
            "`TPESampler` has no argument `n_startup`. Did you mean n_sta",
        ),
        (
            {"sampler": {"use": "NSGAIISampler", "population_size": 1}},
            "`NSGAIISampler` must accept its arguments, however",
        ),
        (
            {"pruner": "MedianPrunner"},
            "there is no pruner `MedianPrunner` in optuna.pruners. Did you mean MedianPruner",
        ),
        ({"pruner": {"use": "MedianPruner", "warmup": 3}}, "Did you mean n_warmup_steps?"),
        ({"pruner": {"use": "PercentilePruner"}}, "`PercentilePruner` needs the argument `percentile`"),
        ({"pruner": {"use": "SuccessiveHalvingPruner", "reduction_factor": 1}}, "must accept its arguments, however"),
        ({"pruner": "TPESampler"}, "there is no pruner `TPESampler`"),
    ],
)
def test_wrong_parts_are_refused(search: dict[str, Any], text: str) -> None:
    assert [text in each for each in texts(search)] == [True]


def test_sampler_and_pruner_are_reported_together() -> None:
    assert len(texts({"sampler": "Nope", "pruner": "Nope"})) == 2


def test_optuna_cannot_prune_with_several_objectives() -> None:
    assert texts({"pruner": "MedianPruner"}, n_objectives=2) == [
        "search.pruner: Optuna cannot prune with several objectives, however: 2 objectives. "
        "Leave `pruner` out, or name one objective."
    ]


def test_a_seed_of_ones_own_is_kept() -> None:
    with pytest.raises(SpecError, match="`TPESampler` must accept its arguments"):
        build_sampler({"use": "TPESampler", "seed": -1}, TREE, 0)


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, (1,)), (2, (1,)), (27, (1, 3, 9, 27)), (50, (1, 3, 9, 27)), (81, (3, 9, 27, 81))]
)
def test_rungs_triple_from_the_first(epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs) == expected


def test_the_longest_trial_counts() -> None:
    assert most_epochs(TREE) == 8
