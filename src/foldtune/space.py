"""The search space: a tree with domains, Optuna's distributions, and plain configurations.

A parameter's name is its path, with the label after a choice: `optimizer.AdamW.lr` under a choice of optimizers, else
`optimizer.lr`. One name has one distribution for the life of a study.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from foldtune import refs
from foldtune.errors import Path, Problem, SpecError, dotted, nearest
from foldtune.spec.domains import Choice, Domain, Float, Int, Node, Scalar, on_grid

Params = Mapping[str, Scalar]
Pick = Callable[[str, Domain], Scalar]

SLOTS = {"model": refs.MODEL, "loss": refs.LOSS, "optimizer": refs.OPTIMIZER, "scheduler": refs.SCHEDULER}


def resolve(node: Node, pick: Pick, name: Path = ()) -> Any:
    """Replace every domain of a tree by the value that `pick` gives; domains of options not taken are never asked.

    Args:
        node: spec subtree: mapping, list, domain or plain value. Not changed.
        pick: parameter name and domain -> value; a label for a choice.
        name: path of `node`, labels of choices included.

    Example:
        >>> resolve({"optimizer": {"use": "SGD", "lr": Float(1e-3, 1.0)}}, lambda name, domain: domain.low)
        {'optimizer': {'use': 'SGD', 'lr': 0.001}}
    """
    if isinstance(node, Choice):
        chosen = pick(dotted(name), node)
        return resolve(node.option(chosen).node, pick, (*name, str(chosen)))
    if isinstance(node, Float | Int):
        return pick(dotted(name), node)
    if isinstance(node, Mapping):
        return {key: resolve(child, pick, (*name, key)) for key, child in node.items()}
    if isinstance(node, list):
        return [resolve(child, pick, (*name, index)) for index, child in enumerate(node)]
    return node


def sample(tree: Node, trial: BaseTrial) -> Any:
    """The configuration that an Optuna trial suggests; a `FixedTrial` rebuilds a stored one.

    Example:
        >>> import optuna
        >>> sample({"lr": Float(0.1, 1.0)}, optuna.trial.FixedTrial({"lr": 0.5}))
        {'lr': 0.5}
    """

    def suggest(name: str, domain: Domain) -> Scalar:
        if isinstance(domain, Choice):
            return trial.suggest_categorical(name, domain.labels)
        if isinstance(domain, Int):
            return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
        return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)

    return resolve(tree, suggest)


def configure(tree: Node, params: Params) -> Any:
    """The configuration of stored parameters.

    Raises:
        SpecError: a parameter is missing.
    """

    def given(name: str, domain: Domain) -> Scalar:
        if name not in params:
            raise SpecError.of((name,), "a stored trial must hold every parameter of its branch")
        return params[name]

    return resolve(tree, given)


def domains(tree: Node) -> dict[str, Domain]:
    """Every parameter that a trial may have, by name, in the order of the study file.

    Example:
        >>> list(domains({"a": Int(1, 3), "b": [Float(0.0, 1.0)]}))
        ['a', 'b.0']
    """
    return {name: domain for name, domain, _ in _walk(tree, (), {})}


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's name for a domain."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.labels)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def defaults(tree: Node) -> dict[str, Scalar]:
    """The parameters of trial 0: `default`, else the class's own default when inside, else the (log) middle.

    Example:
        >>> tree = {"optimizer": {"use": "AdamW", "lr": Float(1e-4, 1e-2), "weight_decay": Float(1e-6, 1e-4, log=True)}}
        >>> {name: round(value, 6) for name, value in defaults(tree).items()}
        {'optimizer.lr': 0.001, 'optimizer.weight_decay': 1e-05}
    """
    return taken(tree, _class_defaults(tree))


def taken(tree: Node, given: Params) -> dict[str, Scalar]:
    """The parameters of the branch that `given` leads to; what it leaves out takes its default.

    Args:
        tree: the tree with domains.
        given: some parameters; those of branches not taken are left out.
    """
    params: dict[str, Scalar] = {}

    def pick(name: str, domain: Domain) -> Scalar:
        params[name] = given[name] if name in given else middle(domain)
        return params[name]

    resolve(tree, pick)
    return params


def corners(tree: Node) -> Iterator[dict[str, Scalar]]:
    """Parameters that together reach every option and both ends of every range: the defaults, then one change each."""
    usual = _class_defaults(tree)
    yield taken(tree, usual)
    for name, domain, way in _walk(tree, (), {}):
        ends = domain.labels if isinstance(domain, Choice) else (domain.low, domain.high)
        for value in ends:
            yield taken(tree, {**usual, **way, name: value})


def middle(domain: Domain) -> Scalar:
    """A domain's default: its own, else the (log) middle; a choice's first option.

    Example:
        >>> middle(Float(0.01, 1.0, log=True)), middle(Int(1, 4))
        (0.1, 2)
    """
    if domain.default is not None or isinstance(domain, Choice):
        return domain.default
    low, high = domain.low, domain.high
    center = math.sqrt(low * high) if domain.log else (low + high) / 2
    if domain.step is not None and not domain.log:
        center = low + round((center - low) / domain.step - 1e-9) * domain.step
    return int(center) if isinstance(domain, Int) else center


def check_params(tree: Node, params: Params, path: Path) -> list[Problem]:
    """Everything wrong with parameters that a user gave: unknown names, values outside of their domain, no branch."""
    known, problems = {name: (domain, way) for name, domain, way in _walk(tree, (), {})}, []
    usual = {name: middle(domain) for name, (domain, _) in known.items()}
    for name, value in params.items():
        domain, way = known.get(name, (None, {}))
        missed = [f"{above}={label}" for above, label in way.items() if {**usual, **params}[above] != label]
        if domain is None:
            hint = nearest(name, list(known)) or f"The parameters are {', '.join(known) or 'none'}."
            problems.append(Problem((*path, name), f"there is no parameter `{name}`", hint=hint))
        elif not _inside(domain, value):
            problems.append(Problem((*path, name), f"`{name}` must be {_describe(domain)}", repr(value)))
        elif missed:
            rule = f"`{name}` exists only where {' and '.join(missed)}"
            problems.append(Problem((*path, name), rule, hint="Give that too, or leave this out."))
    return problems


def raw_path(tree: Node, params: Params, path: Path) -> Path:
    """Where a node of a resolved configuration stands in the study file: options of choices included.

    Args:
        tree: the tree with domains.
        params: the parameters that the configuration was resolved with.
        path: path in the configuration.
    """
    node, raw, name = tree, (), ()  # type: Node, Path, Path
    for part in (*path, None):
        while isinstance(node, Choice):
            chosen = params[dotted(name)]
            option = node.option(chosen)
            node, raw, name = option.node, option.where, (*name, str(chosen))
        inside = part in node if isinstance(node, Mapping) else isinstance(node, list) and isinstance(part, int)
        if part is None or not inside:
            return raw
        node, raw, name = node[part], (*raw, part), (*name, part)
    return raw


def _walk(node: Node, name: Path, way: Params) -> Iterator[tuple[str, Domain, Params]]:
    """Every domain with its name and the choices that must be made for it to exist."""
    if isinstance(node, Choice | Float | Int):
        yield dotted(name), node, way
    if isinstance(node, Choice):
        for option in node.options:
            yield from _walk(option.node, (*name, str(option.label)), {**way, dotted(name): option.label})
    elif isinstance(node, Mapping):
        for key, child in node.items():
            yield from _walk(child, (*name, key), way)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _walk(child, (*name, index), way)


def _class_defaults(tree: Node) -> dict[str, Scalar]:
    """Defaults that the classes themselves give to their searched arguments, where they lie inside of the domain."""
    found: dict[str, Scalar] = {}

    def visit(node: Node, name: Path, slot: refs.Slot | None) -> None:
        if isinstance(node, Choice):
            for option in node.options:
                visit(option.node, (*name, str(option.label)), slot)
        elif isinstance(node, Mapping):
            found.update(_own_defaults(node, name, slot) if slot and refs.is_reference(node) else {})
            for key, child in node.items():
                visit(child, (*name, key), SLOTS.get(key) if not name else slot and (slot.inner or slot))
        elif isinstance(node, list):
            for index, child in enumerate(node):
                visit(child, (*name, index), slot)

    visit(tree, (), None)
    return found


def _own_defaults(node: Mapping[str, Any], name: Path, slot: refs.Slot) -> dict[str, Scalar]:
    try:
        target = refs.resolve(node["use"], slot)
    except SpecError:
        return {}  # reported where references are checked
    searched = {key: child for key, child in node.items() if isinstance(child, Float | Int)}
    usual = {key: refs.default(target, key) for key in searched}
    return {
        dotted((*name, key)): float(usual[key]) if isinstance(domain, Float) else usual[key]
        for key, domain in searched.items()
        if domain.default is None and _inside(domain, usual[key])
    }


def _inside(domain: Domain, value: Any) -> bool:
    if isinstance(domain, Choice):
        return any(value == label and isinstance(value, bool) is isinstance(label, bool) for label in domain.labels)
    if isinstance(value, bool) or not isinstance(value, int if isinstance(domain, Int) else int | float):
        return False
    return domain.low <= value <= domain.high and (not domain.step or on_grid(value, domain.low, domain.step))


def _describe(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return f"one of {', '.join(map(str, domain.labels))}"
    noun = "whole number" if isinstance(domain, Int) else "number"
    grid = f" in steps of {domain.step}" if domain.step not in (None, 1) else ""
    return f"a {noun} from {domain.low} to {domain.high}{grid}"
