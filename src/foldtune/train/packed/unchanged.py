"""Whether a forward pass keeps something in its net: a trace has no place for that, and models would share it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from foldtune.errors import NotPackable


@contextmanager
def unchanged(net: nn.Module) -> Iterator[None]:
    """Watch a net while it runs.

    Args:
        net: any module; what it keeps stays in it.

    Raises:
        NotPackable: one of its attributes or buffers is another one at the end, was changed in place, or grew.
    """
    before = _kept(net)
    yield
    after = _kept(net)
    for name in {**before, **after}:
        if name not in before or name not in after or _differs(before[name], after[name]):
            raise NotPackable(f"its forward pass keeps something in `{name}`")


def _kept(net: nn.Module) -> dict[str, tuple[Any, int]]:
    """Every attribute of every module in it, with its buffers, and how often or far it has changed in place."""
    found = {}
    for path, module in net.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in _TORCHS}
        for key, value in (own | module._buffers).items():
            found[f"{path}.{key}" if path else key] = (value, _mark(value))
    return found


def _differs(before: tuple[Any, int], after: tuple[Any, int]) -> bool:
    return before[0] is not after[0] or before[1] != after[1]


def _mark(value: Any) -> int:
    if isinstance(value, Tensor):
        return value._version
    return len(value) if isinstance(value, list | dict | set) else 0


_TORCHS = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module: flags, hooks, and the dicts of parameters, buffers and modules."""
