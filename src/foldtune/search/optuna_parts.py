"""Samplers and pruners from references, and what a study gets that names none."""

import warnings
from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler

from foldtune import refs, space
from foldtune.errors import Problem, SpecError
from foldtune.spec.domains import Choice, Float, Node
from foldtune.spec.schema import SearchSpec
from foldtune.train.stopping import first_rung

ETA = 3
"""Of the trials that reach a rung, successive halving lets one in so many go on."""

SAMPLER_FILL = frozenset({"seed", "search_space"})
"""Arguments of samplers that foldtune fills in."""


def build_sampler(node: Mapping[str, Any] | None, tree: Node, seed: int) -> BaseSampler:
    """The sampler that a reference describes; absent: TPE, multivariate, by groups, counting running trials as bad.

    Args:
        node: the reference; None for the default.
        tree: the tree with domains, from which a grid is made.
        seed: of this one suggestion.

    Raises:
        SpecError: the class refuses its arguments, or a grid has no end.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if node is None:
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        fill: dict[str, Any] = {"seed": seed}
        if "search_space" in refs.parameters(refs.resolve(node["use"], refs.SAMPLER, ("search", "sampler"))):
            fill["search_space"] = {name: _grid(name, domain) for name, domain in space.domains(tree).items()}
        built: BaseSampler = refs.build(node, refs.SAMPLER, ("search", "sampler"), fill)
        return built


def build_pruner(node: Mapping[str, Any] | None, epochs: int, n_objectives: int) -> BasePruner:
    """The pruner that a reference describes; absent: successive halving, or none for several objectives.

    Args:
        node: the reference; None for the default.
        epochs: the most epochs that a trial may have.
        n_objectives: Optuna cannot prune with more than one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if n_objectives > 1:
            return NopPruner()
        if node is None:
            return SuccessiveHalvingPruner(min_resource=first_rung(epochs), reduction_factor=ETA)
        built: BasePruner = refs.build(node, refs.PRUNER, ("search", "pruner"))
        return built


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs at which successive halving compares trials; the ones that Optuna's own tables get.

    Example:
        >>> rungs(50)
        (1, 3, 9, 27)
    """
    return tuple(rung for power in range(epochs) if (rung := first_rung(epochs) * ETA**power) <= epochs)


def most_epochs(tree: Mapping[str, Any]) -> int:
    """The most epochs that a trial of this tree may have."""
    return max(int(space.configure(tree, params)["training"]["epochs"]) for params in space.corners(tree))


def check_parts(search: SearchSpec, tree: Node, n_objectives: int) -> list[Problem]:
    """Everything wrong with the sampler and the pruner; both are built once."""
    sampler = search.sampler.node if search.sampler else None
    pruner = search.pruner.node if search.pruner else None
    problems = [] if sampler is None else refs.check(sampler, refs.SAMPLER, ("search", "sampler"), SAMPLER_FILL)
    problems += [] if pruner is None else refs.check(pruner, refs.PRUNER, ("search", "pruner"))
    path = ("search", "pruner")
    if any("WilcoxonPruner" in name for name in _names(pruner)):
        rule = "`WilcoxonPruner` compares folds step by step, but a step here is an epoch over all folds"
        hint = "Leave `pruner` out for successive halving: with 5 folds a signed-rank test can save one fold at most."
        problems.append(Problem(path, rule, hint=hint))
    if pruner is not None and n_objectives > 1:
        rule = "Optuna cannot prune with several objectives"
        problems.append(Problem(path, rule, f"{n_objectives} objectives", "Leave `pruner` out, or name one objective."))
    if not problems:
        try:
            build_sampler(sampler, tree, 0)
            build_pruner(pruner, 1, n_objectives)
        except SpecError as error:
            problems += error.problems
    return problems


def _names(node: Any) -> Iterator[str]:
    """The class that a reference names, and those of the references inside it."""
    if refs.is_reference(node):
        yield refs.label(node)
    for child in node.values() if isinstance(node, Mapping) else ():
        yield from _names(child)


def quiet() -> None:
    """Keep Optuna's notes on created studies off the terminal; warnings still come through."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _grid(name: str, domain: Choice | Any) -> list[Any]:
    if isinstance(domain, Choice):
        return list(domain.labels)
    if isinstance(domain, Float) and domain.step is None:
        rule = f"a grid needs a `step` for the real number `{name}`"
        raise SpecError.of(("search", "sampler"), rule, f"float: [{domain.low}, {domain.high}]")
    step = domain.step or 1
    return list(takewhile(lambda value: value <= domain.high + 1e-12, (domain.low + i * step for i in count())))
