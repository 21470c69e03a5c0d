"""`use:` — from a name in a study file to a class of torch, scikit-learn, Optuna or the user, and to an object.

A reference is a bare string (`AdamW`) or a mapping whose `use` names a class and whose other keys are that class's own
keyword arguments. There is no registry and no synonym: a bare name is looked up in its slot's home, and
`package.module:Name` is imported. Outside libraries are imported only when a name is resolved.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from foldtune.errors import Path, Problem, SpecError, nearest

WIDTHS = frozenset({"in_features", "in_channels", "input_size", "num_features", "num_channels", "normalized_shape"})
"""Arguments of layers that follow from what flows in, and may be left out of a study file."""


@dataclass(frozen=True)
class Slot:
    """A place in the study file that takes a reference.

    Args:
        name: what stands there, for messages.
        homes: modules in which a bare name is looked up, in order.
        kind: `module:Class` that a class must be a subclass of; "" for any class.
        home_kind: the same for bare names, where a home holds other things too; default `kind`.
        methods: what such a class must be able to do, where there is no common base class.
        function: whether a function that returns such an object will do.
        inner: the slot of references among the arguments; default: the same slot.
    """

    name: str
    homes: tuple[str, ...]
    kind: str = ""
    home_kind: str = ""
    methods: tuple[str, ...] = ()
    function: bool = False
    inner: "Slot | None" = None


LAYER = Slot("layer", ("torch.nn",), "torch.nn:Module")
MODEL = Slot("model", ("foldtune.models",), "torch.nn:Module", function=True, inner=LAYER)
LOSS = Slot("loss", ("torch.nn",), "torch.nn:Module", "torch.nn.modules.loss:_Loss", inner=LAYER)
OPTIMIZER = Slot("optimizer", ("torch.optim",), "torch.optim:Optimizer")
SCHEDULER = Slot("scheduler", ("torch.optim.lr_scheduler",), "torch.optim.lr_scheduler:LRScheduler")
SPLITTER = Slot("splitter", ("sklearn.model_selection",), methods=("split", "get_n_splits"))
PREPROCESSING = Slot("preprocessing step", ("sklearn.preprocessing", "sklearn.impute"), "sklearn.base:TransformerMixin")
SAMPLER = Slot("sampler", ("optuna.samplers",), "optuna.samplers:BaseSampler")
PRUNER = Slot("pruner", ("optuna.pruners",), "optuna.pruners:BasePruner")


def is_reference(node: object) -> bool:
    """Whether a node of a study file is a `use:` mapping."""
    return isinstance(node, Mapping) and "use" in node


def split(node: Any) -> tuple[str, dict[str, Any]]:
    """A reference's name and its arguments.

    Example:
        >>> split({"use": "SGD", "lr": 0.1}), split("ReLU")
        (('SGD', {'lr': 0.1}), ('ReLU', {}))
    """
    if isinstance(node, str):
        return node, {}
    return node["use"], {key: value for key, value in node.items() if key != "use"}


def label(node: Any) -> str:
    """What a reference is called in parameter names and messages: its class's bare name."""
    return str(split(node)[0]).rpartition(":")[2]


def resolve(name: str, slot: Slot, path: Path = ()) -> Any:
    """The class (or function) that a reference names.

    Raises:
        SpecError: the module cannot be imported, the name is unknown, or it is not of the slot's kind.

    Example:
        >>> resolve("SGD", OPTIMIZER).__module__
        'torch.optim.sgd'
    """
    if not isinstance(name, str):
        raise SpecError.of(path, "`use` must name a class", repr(name))
    target = _import(name, path) if ":" in name else _lookup(name, slot, path)
    if not _is_kind(target, slot, own=":" in name) and not (slot.function and inspect.isfunction(target)):
        wanted = f"subclass of {slot.kind}" if slot.kind else f"class with {' and '.join(slot.methods)}"
        raise SpecError.of(path, f"a {slot.name} must be a {wanted}", name)
    return target


def check(node: Any, slot: Slot, path: Path, fill: frozenset[str] = frozenset()) -> list[Problem]:
    """Everything wrong with a reference's names and argument names, nested references included; nothing is built.

    Args:
        node: the reference, without domains.
        slot: where it stands.
        path: its path in the configuration.
        fill: arguments that foldtune supplies when they are left out.
    """
    if not isinstance(node, str) and not is_reference(node):
        return [Problem(path, f"a {slot.name} is a class's name or a mapping with `use`", repr(node))]
    name, kwargs = split(node)
    problems = [
        problem
        for key, value in kwargs.items()
        for problem in _check_inside(value, slot.inner or slot, (*path, key), fill)
    ]
    try:
        target = resolve(name, slot, path)
    except SpecError as error:
        return [*error.problems, *problems]
    return [*_check_arguments(target, kwargs, path, fill | WIDTHS), *problems]


def build(node: Any, slot: Slot, path: Path = (), fill: Mapping[str, Any] | None = None) -> Any:
    """Build what a reference describes, its nested references first.

    A layer whose width is left out is passed on unbuilt, as a `functools.partial` that lacks only the width.

    Args:
        node: the reference, without domains.
        slot: where it stands.
        path: its path in the configuration, for messages.
        fill: arguments used when the class takes them and the reference leaves them out.

    Raises:
        SpecError: a name is unknown or the class refuses its arguments.

    Example:
        >>> build({"use": "Dropout", "p": 0.1}, LAYER)
        Dropout(p=0.1, inplace=False)
    """
    fill = fill or {}
    name, given = split(node)
    target = resolve(name, slot, path)
    kwargs = {key: _build_inside(value, slot.inner or slot, (*path, key), fill) for key, value in given.items()}
    kwargs |= {key: fill[key] for key in parameters(target) if key in fill and key not in kwargs}
    if slot is LAYER and any(key in WIDTHS for key in missing(target, kwargs)):
        return partial(target, **kwargs)
    try:
        return target(**kwargs)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, AssertionError) as error:
        raise SpecError.of(path, f"`{label(node)}` must accept its arguments", f"{error}") from error


def parameters(target: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the keyword arguments that a class or function takes."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(name for name, parameter in _signature(target).items() if parameter.kind in kinds)


def missing(target: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """Arguments that have no default and are not given."""
    required = (name for name in parameters(target) if _signature(target)[name].default is inspect.Parameter.empty)
    return [name for name in required if name not in given]


def default(target: Callable[..., Any], name: str) -> Any:
    """An argument's own default; None when it has none."""
    parameter = _signature(target).get(name)
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def importable(folder: str) -> None:
    """Let `package.module:Name` find modules in a study file's folder, after all installed ones.

    Processes that are spawned later inherit it.
    """
    if folder not in sys.path:
        sys.path.append(folder)


def _signature(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(target).parameters)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        for base in getattr(target, "__mro__", ())[1:-1]:  # nn.LSTM(*args, **kwargs) hides nn.RNNBase's arguments
            inherited = inspect.signature(base.__init__).parameters
            parameters |= {
                name: parameter for name, parameter in inherited.items() if name not in ("self", *parameters)
            }
    return parameters


def _check_arguments(target: Any, given: Mapping[str, Any], path: Path, fill: frozenset[str]) -> list[Problem]:
    known = parameters(target)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values())
    unknown = [] if open_ended else [key for key in given if key not in known]
    return [
        *(
            Problem(
                (*path, key),
                f"`{target.__name__}` has no argument `{key}`",
                hint=nearest(key, known) or f"It takes {', '.join(known) or 'none'}.",
            )
            for key in unknown
        ),
        *(
            Problem(path, f"`{target.__name__}` needs the argument `{key}`")
            for key in missing(target, given)
            if key not in fill
        ),
    ]


def _check_inside(value: Any, slot: Slot, path: Path, fill: frozenset[str]) -> list[Problem]:
    if is_reference(value):
        return check(value, slot, path, fill)
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [problem for key, child in children for problem in _check_inside(child, slot, (*path, key), fill)]


def _build_inside(value: Any, slot: Slot, path: Path, fill: Mapping[str, Any]) -> Any:
    if is_reference(value):
        return build(value, slot, path, fill)
    if isinstance(value, Mapping):
        return {key: _build_inside(child, slot, (*path, key), fill) for key, child in value.items()}
    if isinstance(value, list):
        return [_build_inside(child, slot, (*path, index), fill) for index, child in enumerate(value)]
    return value


def _import(name: str, path: Path) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise SpecError.of(path, f"the module of `{name}` must be importable", f"{error}") from error
    if not hasattr(module, attribute):
        raise SpecError.of(path, f"`{module_name}` has no `{attribute}`", hint=nearest(attribute, dir(module)) or None)
    return getattr(module, attribute)


def _lookup(name: str, slot: Slot, path: Path) -> Any:
    homes = [import_module(home) for home in slot.homes]
    for home in homes:
        if hasattr(home, name) and not name.startswith("_"):
            return getattr(home, name)
    names = [key for home in homes for key, value in vars(home).items() if _is_kind(value, slot) and key[0] != "_"]
    where = " or ".join(slot.homes)
    hint = nearest(name, names) or "A class of your own is written `package.module:Name`."
    raise SpecError.of(path, f"there is no {slot.name} `{name}` in {where}", hint=hint)


def _is_kind(target: Any, slot: Slot, own: bool = False) -> bool:
    kind = slot.kind if own else slot.home_kind or slot.kind
    if not inspect.isclass(target) or not all(hasattr(target, method) for method in slot.methods):
        return False
    return not kind or issubclass(target, _import(kind, ()))
