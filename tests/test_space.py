import json
import math
import random
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune import space
from foldtune.errors import Path, SpecError
from foldtune.spec import domains
from foldtune.spec.domains import Choice, Float, Int, Scalar

optuna.logging.set_verbosity(optuna.logging.WARNING)

KEYS = st.sampled_from(["lr", "width", "layers", "act", "p"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["ReLU", "GELU"]), st.sampled_from([0.1, 2.5])
)


@st.composite
def floats(draw: st.DrawFn) -> dict[str, Any]:
    low, step = draw(st.sampled_from([1e-4, 0.5, 3.0])), draw(st.sampled_from([0.1, 4.0]))
    node: dict[str, Any] = {"float": [low, round(low + draw(st.integers(1, 7)) * step, 6)]}
    node |= draw(st.sampled_from([{}, {"log": True}, {"step": step}]))
    return node | ({"default": round(low + step, 6)} if draw(st.booleans()) else {})


@st.composite
def ints(draw: st.DrawFn) -> dict[str, Any]:
    low, count, log = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.booleans())
    step = 1 if log else draw(st.integers(1, 3))
    node: dict[str, Any] = {"int": [low, low + count * step]}
    node |= {"log": True} if log else {"step": step} if step > 1 else {}
    return node | ({"default": low + step} if draw(st.booleans()) else {})


def choices(nodes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    labels = st.sampled_from(["small", "deep", "wide"])
    listed = st.lists(SCALARS, min_size=1, max_size=4, unique_by=str).filter(_no_equals)
    classes = st.lists(st.sampled_from(["SGD", "Adam", "AdamW"]), min_size=1, max_size=3, unique=True)
    references = classes.flatmap(
        lambda names: st.tuples(*(st.dictionaries(KEYS, nodes, max_size=2).map(_using(name)) for name in names))
    )
    return st.one_of(
        listed.map(lambda options: {"choice": options}),
        references.map(lambda options: {"choice": list(options)}),
        st.dictionaries(labels, nodes, min_size=1, max_size=3).map(lambda options: {"choice": options}),
    )


def _no_equals(options: list[Any]) -> bool:
    return all(left != right for index, left in enumerate(options) for right in options[:index])


def _using(name: str) -> Any:
    return lambda arguments: {"use": name, **arguments}


LEAVES: st.SearchStrategy[Any] = st.one_of(SCALARS, floats(), ints())
NODES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        choices(inner), st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)
SECTIONS = st.sampled_from(["model", "optimizer", "training", "regularization"])
TREES = st.dictionaries(SECTIONS, NODES, min_size=1, max_size=4)


def parsed(plain: Any) -> Any:
    tree, problems = domains.parse(plain)
    assert problems == []
    return tree


def suggested(tree: Any, seed: int) -> tuple[optuna.trial.FrozenTrial, Any]:
    """What a random trial suggests, and the trial as Optuna keeps it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    config = space.sample(tree, trial)
    study.tell(trial, 0.0)
    return study.trials[0], config


def holds_domain(node: Any) -> bool:
    children = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    return isinstance(node, Float | Int | Choice) or any(holds_domain(child) for child in children)


@given(TREES, st.integers(0, 10))
@settings(deadline=None)
def test_a_stored_trial_rebuilds_the_same_configuration(plain: Any, seed: int) -> None:
    tree = parsed(plain)
    trial, config = suggested(tree, seed)
    stored = json.loads(json.dumps(trial.params))
    assert space.configure(tree, stored) == config
    assert space.sample(tree, optuna.trial.FixedTrial(stored)) == config
    assert space.taken(tree, stored) == stored
    assert not holds_domain(config)


@given(TREES, st.integers(0, 10))
@settings(deadline=None)
def test_parameters_are_scalars_named_by_paths_with_one_distribution_each(plain: Any, seed: int) -> None:
    tree = parsed(plain)
    known = space.domains(tree)
    names = [name for name, _, _ in space._walk(tree, (), {})]
    assert len(names) == len(set(names)) == len(known)
    trial, _ = suggested(tree, seed)
    for name, value in trial.params.items():
        assert isinstance(value, str | int | float | bool | None)
        assert name.split(".")[0] in plain
        assert trial.distributions[name] == space.distribution(known[name])


@given(TREES)
@settings(deadline=None)
def test_defaults_lie_inside_and_are_all_of_their_branch(plain: Any) -> None:
    tree = parsed(plain)
    usual = space.defaults(tree)
    assert space.check_params(tree, usual, ()) == []
    assert space.defaults(tree) == usual
    assert not holds_domain(space.configure(tree, usual))
    assert next(iter(space.corners(tree))) == usual


@given(TREES)
@settings(deadline=None)
def test_corners_reach_every_option_and_both_ends(plain: Any) -> None:
    tree = parsed(plain)
    reached: dict[str, list[Scalar]] = {}
    for params in space.corners(tree):
        assert space.check_params(tree, params, ()) == []
        space.configure(tree, params)
        for name, value in params.items():
            reached.setdefault(name, []).append(value)
    assert set(reached) == set(space.domains(tree))
    for name, domain in space.domains(tree).items():
        ends = domain.labels if isinstance(domain, Choice) else (domain.low, domain.high)
        assert all(end in reached[name] for end in ends)


@given(TREES, st.integers(0, 10))
@settings(deadline=None)
def test_conditional_parameters_exist_only_in_their_branch(plain: Any, seed: int) -> None:
    tree = parsed(plain)
    trial, _ = suggested(tree, seed)
    for name, _, way in space._walk(tree, (), {}):
        taken = all(above in trial.params and trial.params[above] == label for above, label in way.items())
        assert (name in trial.params) is taken


@given(TREES, st.integers(0, 10), st.randoms())
@settings(deadline=None)
def test_every_node_of_a_configuration_is_found_in_the_file(plain: Any, seed: int, chance: random.Random) -> None:
    tree = parsed(plain)
    trial, config = suggested(tree, seed)
    node: Any = config
    path: Path = ()
    while isinstance(node, dict | list) and node:
        key = chance.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
        node, path = node[key], (*path, key)
    written = plain
    for part in space.raw_path(tree, trial.params, path):
        written = written[part]
    leaf = parsed(written)
    assert leaf.low <= node <= leaf.high if isinstance(leaf, Float | Int) else written == node


OPTIMIZER = {
    "optimizer": {
        "choice": [
            {"use": "AdamW", "lr": {"float": [1e-4, 1e-2], "log": True}, "weight_decay": {"float": [0.1, 0.4]}},
            {"use": "SGD", "lr": {"float": [1e-3, 1.0]}, "momentum": {"float": [0.0, 0.9], "default": 0.5}},
        ]
    }
}


def test_names_are_paths_with_the_label_after_a_choice() -> None:
    assert list(space.domains(parsed(OPTIMIZER))) == [
        "optimizer",
        "optimizer.AdamW.lr",
        "optimizer.AdamW.weight_decay",
        "optimizer.SGD.lr",
        "optimizer.SGD.momentum",
    ]
    assert list(space.domains(parsed({"optimizer": {"use": "SGD", "lr": {"float": [0.1, 1]}}}))) == ["optimizer.lr"]
    layers = {"layers": [{"use": "Linear", "out_features": {"int": [4, 8]}}, {"choice": ["ReLU", "GELU"]}]}
    assert list(space.domains(parsed(layers))) == ["layers.0.out_features", "layers.1"]


def test_two_branches_of_one_class_are_told_apart_by_their_labels() -> None:
    blocks = {"int": [1, 4]}
    tree = parsed(
        {"model": {"choice": {"thin": {"use": "MLP", "n_blocks": blocks}, "wide": {"use": "MLP", "n_blocks": blocks}}}}
    )
    assert list(space.domains(tree)) == ["model", "model.thin.n_blocks", "model.wide.n_blocks"]
    assert space.configure(tree, {"model": "wide", "model.wide.n_blocks": 3}) == {
        "model": {"use": "MLP", "n_blocks": 3}
    }


def test_an_option_may_be_a_domain_itself() -> None:
    tree = parsed({"training": {"batch_size": {"choice": {"small": {"int": [8, 16]}, "big": {"choice": [128, 256]}}}}})
    reached = {params.get("training.batch_size.big") for params in space.corners(tree)}
    assert reached == {None, 128, 256}


def test_defaults_are_given_or_the_classs_own_or_the_middle() -> None:
    usual = space.defaults(parsed(OPTIMIZER))
    assert usual == {"optimizer": "AdamW", "optimizer.AdamW.lr": 1e-3, "optimizer.AdamW.weight_decay": 0.25}
    assert space.taken(parsed(OPTIMIZER), {"optimizer": "SGD"})["optimizer.SGD.momentum"] == 0.5
    whole = space.defaults(parsed({"optimizer": {"use": "SGD", "momentum": {"float": [0, 1]}}}))["optimizer.momentum"]
    assert whole == 0.0 and isinstance(whole, float)


def test_the_default_of_a_choice_is_its_first_option_whatever_the_class_says() -> None:
    tree = parsed(
        {"model": {"use": "MLP", "activation": {"choice": ["GELU", "ReLU"]}, "norm": {"choice": [None, "LayerNorm"]}}}
    )
    assert space.defaults(tree) == {"model.activation": "GELU", "model.norm": None}


@pytest.mark.parametrize(
    ("domain", "middle"),
    [
        (Float(0.01, 1.0, log=True), 0.1),
        (Float(0.0, 1.0), 0.5),
        (Float(0.0, 1.0, step=0.25), 0.5),
        (Float(0.0, 0.9, step=0.3), 0.3),
        (Int(1, 4), 2),
        (Int(16, 256, log=True), 64),
        (Int(2, 10, step=4), 6),
    ],
)
def test_the_middle_lies_on_the_grid(domain: Float | Int, middle: float) -> None:
    assert math.isclose(space.middle(domain), middle)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"optimizer.AdamW.lrr": 1.0},
            r"there is no parameter `optimizer\.AdamW\.lrr`\. Did you mean optimizer\.AdamW\.lr",
        ),
        ({"zzz": 1.0}, "The parameters are optimizer, optimizer.AdamW.lr"),
        ({"optimizer": "Adam"}, "`optimizer` must be one of AdamW, SGD, however: 'Adam'"),
        ({"optimizer.AdamW.lr": 2}, r"must be a number from 0\.0001 to 0\.01, however: 2"),
        ({"optimizer.AdamW.lr": True}, "must be a number .*, however: True"),
        ({"optimizer.AdamW.lr": "0.001"}, "must be a number .*, however: '0.001'"),
        ({"optimizer.SGD.lr": 0.1}, r"`optimizer\.SGD\.lr` exists only where optimizer=SGD\. Give that too"),
    ],
)
def test_parameters_of_a_user_are_checked(params: dict[str, Any], message: str) -> None:
    (problem,) = space.check_params(parsed(OPTIMIZER), params, ("search", "enqueue", 0))
    with pytest.raises(SpecError, match=message):
        raise SpecError([problem])


def test_whole_numbers_and_grids_are_checked_too() -> None:
    tree = parsed({"a": {"int": [1, 9], "step": 2}, "b": {"float": [0, 1], "step": 0.25}})
    assert space.check_params(tree, {"a": 5, "b": 0.75}, ()) == []
    assert [p.rule for p in space.check_params(tree, {"a": 4, "b": 0.3}, ())] == [
        "`a` must be a whole number from 1 to 9 in steps of 2",
        "`b` must be a number from 0.0 to 1.0 in steps of 0.25",
    ]
    assert len(space.check_params(tree, {"a": 5.0}, ())) == 1
    assert len(space.check_params(parsed({"bias": {"choice": [0, 1]}}), {"bias": True}, ())) == 1


def test_a_stored_trial_must_hold_every_parameter_of_its_branch() -> None:
    with pytest.raises(SpecError, match=r"optimizer\.SGD\.lr: a stored trial must hold every parameter of its branch"):
        space.configure(parsed(OPTIMIZER), {"optimizer": "SGD"})


def test_a_resolved_path_leads_back_through_options() -> None:
    tree = parsed(OPTIMIZER)
    params = space.taken(tree, {"optimizer": "SGD"})
    assert space.raw_path(tree, params, ("optimizer", "lr")) == ("optimizer", "choice", 1, "lr")
    assert space.raw_path(tree, params, ("optimizer", "nesterov")) == ("optimizer", "choice", 1)
    assert space.raw_path(tree, params, ("training",)) == ()
