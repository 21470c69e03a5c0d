"""`use:` — from a name in a study file to a class of torch, scikit-learn, Optuna or the user, and to an object.

A reference is a bare string (`AdamW`) or a mapping whose `use` names a class and whose other keys are that class's own
keyword arguments. There is no registry and no synonym: a bare name is looked up in its slot's home, and
`package.module:Name` is imported. Outside libraries are imported only when a name is resolved.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from pathlib import PurePath
from traceback import extract_tb
from types import ModuleType
from typing import Any, get_overloads

from foldtune import trust
from foldtune.errors import Path, Problem, SpecError, nearest

WIDTHS = frozenset({"in_features", "in_channels", "input_size", "num_features", "num_channels", "normalized_shape"})
"""Arguments of layers that follow from what flows in, and may be left out of a study file."""

FEW = 8
"""A home with at most so many classes is listed whole in a message."""


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
SPLITTER = Slot("splitter", ("sklearn.model_selection", "foldtune.data.splitters"), methods=("split", "get_n_splits"))
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
    """The class (or function) that a reference names. Here alone references are imported.

    Raises:
        SpecError: the module cannot or may not be imported, the name is unknown, or it is not of the slot's kind.

    Example:
        >>> resolve("SGD", OPTIMIZER).__module__
        'torch.optim.sgd'
    """
    if not isinstance(name, str):
        raise SpecError.of(path, "`use` must name a class", repr(name))
    target = _named(name, slot, path) if ":" in name else _lookup(name, slot, path)
    trust.check_target(name, target, path, of_a_kind=bool(slot.kind or slot.methods))
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
        return [Problem(path, f"{_a(slot)} is a class's name or a mapping with `use`", repr(node))]
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
    trust.check_arguments(target, given, path)
    kwargs = {key: _build_inside(value, slot.inner or slot, (*path, key), fill) for key, value in given.items()}
    kwargs |= {key: fill[key] for key in parameters(target) if key in fill and key not in kwargs}
    if slot is LAYER and any(key in WIDTHS for key in missing(target, kwargs)):
        return partial(target, **kwargs)
    try:
        return target(**kwargs)
    except SpecError as error:  # about a bare name among the arguments, which the class looked up itself
        raise SpecError([replace(each, path=_place(each, given, path)) for each in error.problems]) from error
    except Exception as error:  # other people's code may raise anything
        raise SpecError([_refusal(name, target, given, path, error)]) from error


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


@cache
def _signature(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    found = dict(inspect.signature(target).parameters)
    if inspect.isclass(target) and _is_open_ended(found) and (overloads := get_overloads(target.__init__)):
        found = dict(inspect.signature(overloads[0]).parameters)  # nn.LSTM(*args, **kwargs) hides its arguments
        del found["self"]
    return found


def _is_open_ended(found: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found.values())


def _check_arguments(target: Any, given: Mapping[str, Any], path: Path, fill: frozenset[str]) -> list[Problem]:
    known = parameters(target)
    unknown = [] if _is_open_ended(_signature(target)) else [key for key in given if key not in known]
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


def _named(name: str, slot: Slot, path: Path) -> Any:
    trust.check_name(name, path)
    target = _import(name, path)
    if not _fits(target, slot, slot.kind):
        kind = slot.kind.replace(":", ".")
        wanted = f"subclass of {kind}" if kind else f"class with {' and '.join(slot.methods)}"
        raise SpecError.of(path, f"{_a(slot)} must be a {wanted}", name)
    return target


def _import(name: str, path: Path) -> Any:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise SpecError.of(path, "a class of your own is written `package.module:Name`", repr(name))
    try:
        module = import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise SpecError.of(path, f"the module of `{name}` must be importable", _reason(error, own=True)) from error
    if not hasattr(module, attribute):
        raise SpecError.of(path, f"`{module_name}` has no `{attribute}`", hint=nearest(attribute, dir(module)) or None)
    return getattr(module, attribute)


def _lookup(name: str, slot: Slot, path: Path) -> Any:
    kind = slot.home_kind or slot.kind
    homes = [import_module(home) for home in slot.homes]
    for home in homes:
        target = None if name.startswith("_") else _attribute(home, name, path)
        if _fits(target, slot, kind):
            return target
    names = [key for home in homes for key, value in vars(home).items() if _fits(value, slot, kind) and key[0] != "_"]
    concrete = [key for key in names if not any(inspect.isabstract(getattr(home, key, None)) for home in homes)]
    where = " or ".join(slot.homes)
    raise SpecError.of(path, f"there is no {slot.name} `{name}` in {where}", hint=_spelling(name, concrete))


def _attribute(home: ModuleType, name: str, path: Path) -> Any:
    try:
        return getattr(home, name, None)
    except ImportError as error:  # scikit-learn's experimental classes say so
        raise SpecError.of(path, f"`{name}` must be importable", _reason(error)) from error


def _spelling(name: str, names: Sequence[str]) -> str:
    """What to write instead of an unknown bare name."""
    package, dot, last = name.rpartition(".")
    if dot:
        return f"A class of another package is written `{package}:{last}`."
    few = f"There are {', '.join(sorted(names))}. " if len(names) <= FEW else ""
    return nearest(name, names) or f"{few}A class of your own is written `package.module:Name`."


def _fits(target: Any, slot: Slot, kind: str) -> bool:
    if slot.function and inspect.isfunction(target):
        return True
    if not inspect.isclass(target) or not all(hasattr(target, method) for method in slot.methods):
        return False
    return not kind or issubclass(target, _import(kind, ()))


def _refusal(name: str, target: Any, given: Mapping[str, Any], path: Path, error: Exception) -> Problem:
    """What a class says against its arguments; a text or mapping in place of a number is found by its default."""
    bare = label(name)
    for key, value in given.items():
        usual = default(target, key)
        if type(usual) in (int, float) and isinstance(value, str | Mapping):
            hint = nearest(str(next(iter(value), "")), ("float", "int", "choice")) if isinstance(value, Mapping) else ""
            rule = f"`{key}` of `{bare}` must be a number, as its default {usual} is"
            return Problem((*path, key), rule, repr(value), hint or None)
    return Problem(path, f"`{bare}` must accept its arguments", _reason(error, own=":" in name))


def _reason(error: Exception, *, own: bool = False) -> str:
    """An error on one line; with the place in the user's own code that raised it."""
    message = " ".join(str(error).split())
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename != __file__]
    mine = [frame for frame in frames if not re.search(r"^<|site-packages|importlib", frame.filename)]
    if not own or not mine:
        return message or type(error).__name__
    return f"{type(error).__name__}: {message} ({PurePath(mine[-1].filename).name}:{mine[-1].lineno})"


def _place(problem: Problem, given: Any, path: Path) -> Path:
    """Where the name that a problem is about stands among the arguments; else the reference itself."""
    if problem.path:
        return problem.path if problem.path[: len(path)] == path else (*path, *problem.path)
    named = (place for place, leaf in _leaves(given, path) if isinstance(leaf, str) and f"`{leaf}`" in problem.rule)
    return next(named, path)


def _leaves(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    yield path, node
    for key, child in children:
        yield from _leaves(child, (*path, key))


def _a(slot: Slot) -> str:
    return f"{'an' if slot.name[0] in 'aeiou' else 'a'} {slot.name}"
