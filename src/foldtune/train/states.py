"""States that jobs go on from: copied, checked against what stands there, and taken.

A state may come from a file, and the user's code may have changed since: it is checked before anything reads it, for
torch's fused update rules do not look at the sizes of what they are given.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from foldtune.errors import CheckpointError

State = Mapping[str, Any]


def copied(tree: Any) -> Any:
    """The same values in memory of their own, tensors on the processor."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if type(tree) in (dict, OrderedDict):
        return type(tree)((key, copied(child)) for key, child in tree.items())
    if type(tree) in (list, tuple):
        return type(tree)(map(copied, tree))
    return copy.deepcopy(tree)


@contextmanager
def taking() -> Iterator[None]:
    """What a state that is damaged makes Python and torch raise becomes a `CheckpointError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise CheckpointError.of((), "a state must be as this version writes it", found) from error


def epochs_of(state: State) -> int:
    """The epochs after which a state was taken.

    Raises:
        CheckpointError: that is no number.
    """
    epoch = state.get("epoch")
    if type(epoch) is not int or epoch < 1:
        raise CheckpointError.of(("epoch",), "a state must have trained at least one epoch", repr(epoch))
    return epoch


def check_engine(state: State, engine: str) -> None:
    """Engines differ in the last bits, and what they keep.

    Raises:
        CheckpointError: another engine's job had this state.
    """
    if state.get("engine") != engine:
        raise CheckpointError.of(("engine",), f"the state must be one of the {engine} engine", state.get("engine"))


def check_tensors(own: Mapping[Any, Any], found: Mapping[Any, Any], *path: str | int) -> None:
    """Names, shapes and types of tensors must agree.

    Raises:
        CheckpointError: they do not.
    """
    if own.keys() != found.keys():
        raise CheckpointError.of(path, f"names must be {_listed(own)}", _listed(found))
    for name in own:
        ours, theirs = _form(own[name]), _form(found[name])
        if ours != theirs:
            raise CheckpointError.of((*path, name), f"the tensor must be {ours}", theirs)


def module_state(module: nn.Module) -> dict[str, Any]:
    """Parameters and buffers, also those that `state_dict` leaves out."""
    kept = dict(module.state_dict())
    return {"kept": kept, "rest": {name: value for name, value in module.named_buffers() if name not in kept}}


@torch.no_grad()
def load_module_(module: nn.Module, state: State, *path: str | int) -> None:
    """Go on from a `module_state`."""
    kept, own = module.state_dict(), module_state(module)
    for part in own:
        check_tensors(own[part], state[part], *path, part)
    kept.update(state["kept"])  # keeps the versions that torch notes beside them
    module.load_state_dict(kept)
    for name, values in state["rest"].items():
        module.get_buffer(name).copy_(values)


def load_optimizer_(optimizer: Optimizer, state: State, *path: str | int) -> None:
    """Go on from a `state_dict`."""
    for own, found in zip(optimizer.state_dict()["param_groups"], state["param_groups"], strict=True):
        _check_names(own, found, *path, "param_groups")
        if own["params"] != found["params"]:
            raise CheckpointError.of((*path, "param_groups"), f"parameters must be {own['params']}", found["params"])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state["state"].items():
        if any(group.get("fused") for group in state["param_groups"]):
            like = {name: torch.empty(()) if name == "step" else parameters[index] for name in values}
            _check_shapes(like, values, *path, "state", index)
    optimizer.load_state_dict(copied(state))  # it would train the tensors it is given


def load_scheduler_(scheduler: LRScheduler | None, state: State | None, *path: str | int) -> None:
    """Go on from a `state_dict`; None is a constant rate."""
    _check_names(scheduler.state_dict() if scheduler else {}, state or {}, *path)
    if scheduler is not None:
        scheduler.load_state_dict(copied(state))


def _check_names(own: State, found: State, *path: str | int) -> None:
    """What is there from the start must be there; some schedules note more as they go."""
    if not own.keys() <= found.keys() or "optimizer" in found:
        raise CheckpointError.of(path, f"names must be {_listed(own)}", _listed(found))


def _check_shapes(like: Mapping[str, Tensor], found: Mapping[str, Any], *path: str | int) -> None:
    for name, value in found.items():
        if value is not None and (not isinstance(value, Tensor) or value.shape != like[name].shape):
            raise CheckpointError.of((*path, name), f"the shape must be {list(like[name].shape)}", _form(value))


def _form(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _listed(names: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, names)) or "none"
