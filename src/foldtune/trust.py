"""What references may import: anything where the user wrote them, a few libraries where a database holds them.

Importing is running code, and a class is called with arguments of the writer's choice. So what comes from a database is
held to classes of the right kind from the libraries that foldtune stands on, and from what the user allows beside.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from foldtune.errors import Path, SpecError

LIBRARIES = ("torch", "torchvision", "sklearn", "optuna", "foldtune")
"""Packages whose classes a study from a database may name."""

UNPICKLING = frozenset({"memory"})
"""Arguments of library classes that name a folder in which joblib finds pickles, and loads them."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_in_force: list[tuple[str, ...]] = []  # of the process: a thread cannot escape it, and two studies get the narrower


def prefixes(names: Sequence[str]) -> tuple[str, ...]:
    """What a user allows, checked.

    Raises:
        SpecError: a name is not that of a package or module.

    Example:
        >>> prefixes(["my_pkg", "other.nets"])
        ('my_pkg', 'other.nets')
    """
    for name in names:
        if not _DOTTED.fullmatch(name):
            hint = "As in `--allow-import my_package`."
            raise SpecError.of((), "an allowed import is the name of a package or module", repr(name), hint)
    return tuple(names)


@contextmanager
def libraries_only(allowed: Sequence[str] = ()) -> Iterator[None]:
    """Inside, references name classes of `LIBRARIES`, and what stands below the allowed prefixes.

    Args:
        allowed: names of packages or modules.

    Example:
        >>> with libraries_only(["my_pkg"]):
        ...     in_force()
        ('my_pkg',)
    """
    entry = prefixes(allowed)
    _in_force.append(entry)
    try:
        yield
    finally:
        _in_force.remove(entry)


def in_force() -> tuple[str, ...] | None:
    """The prefixes allowed beside `LIBRARIES`; None where anything may be imported."""
    if not _in_force:
        return None
    named = dict.fromkeys(prefix for entry in _in_force for prefix in entry)
    return tuple(prefix for prefix in named if all(_below(prefix, entry) for entry in _in_force))


def adopt(allowed: tuple[str, ...] | None) -> None:
    """Hold this process, to its end, to what is in force in the one that started it."""
    if allowed is not None:
        _in_force.append(allowed)


def check_name(name: str, path: Path) -> None:
    """Refuse `package.module:Name` before anything of it is imported.

    Raises:
        SpecError: it may not be imported.
    """
    allowed = in_force()
    module, _, attribute = name.partition(":")
    if allowed is None or (_is_plain(module, attribute) and _below(module, allowed)):
        return
    if not _is_plain(module, attribute) or not _below(module, LIBRARIES):
        raise _refused(name, module, path)
    if any(part.startswith("_") for part in (*module.split("."), attribute)):
        raise SpecError.of(path, "a study from a database may name nothing private", name)


def check_target(name: str, target: Any, path: Path, *, of_a_kind: bool) -> None:
    """Refuse what a name turned out to be: defined elsewhere, or no class.

    Args:
        name: the reference's.
        target: what it names.
        path: its place in the study file.
        of_a_kind: whether its slot asks for a kind of class; where it does not, a library's class may be anything.

    Raises:
        SpecError: it may not be used.
    """
    allowed = in_force()
    home = str(getattr(target, "__module__", ""))
    if allowed is None or _below(home, allowed):
        return
    if not _below(home, LIBRARIES):
        raise _refused(name, home, path)
    if not (inspect.isclass(target) and of_a_kind) and not _is_net_of_torchvision(target):
        rule = "a study from a database may name classes of its libraries, and no functions"
        raise SpecError.of(path, rule, name)


def check_arguments(target: Any, given: Collection[str], path: Path) -> None:
    """Refuse arguments with which a library's class would load pickles.

    Raises:
        SpecError: there is one.
    """
    if in_force() is None or not _below(str(getattr(target, "__module__", "")), LIBRARIES):
        return
    for key in UNPICKLING.intersection(given):
        rule = f"a study from a database may not give `{key}`, a folder of pickles"
        raise SpecError.of((*path, key), rule, hint="Run the study file itself, or leave it out.")


def check_tree(tree: Any) -> Mapping[str, Any]:
    """A stored study's tree, known to have the shape that is relied on before it is validated.

    Raises:
        SpecError: it is no mapping with sections `data` and `search`.
    """
    if isinstance(tree, Mapping) and all(isinstance(tree.get(section), Mapping) for section in ("data", "search")):
        return tree
    raise SpecError.of((), "a stored study must be a mapping of sections", "Another program wrote it: restore a copy.")


def _refused(name: str, module: str, path: Path) -> SpecError:
    package = module.partition(".")[0]
    *others, last = LIBRARIES
    rule = f"a study from a database imports only from {', '.join(others)} and {last}"
    hint = f"If you trust it, allow it: `--allow-import {package}`, in Python `allow_imports=[{package!r}]`."
    return SpecError.of(path, rule, name, hint if _DOTTED.fullmatch(package) else None)


def _is_plain(module: str, attribute: str) -> bool:
    return bool(_DOTTED.fullmatch(module)) and attribute.isidentifier()


def _below(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_net_of_torchvision(target: Any) -> bool:
    """Whether it is one of the functions that torchvision lists as makers of its nets."""
    if not _below(str(target.__module__), ("torchvision.models",)):
        return False
    from torchvision.models import get_model_builder, list_models

    return any(get_model_builder(name) is target for name in list_models())
