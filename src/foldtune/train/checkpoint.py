"""A job's state as bytes: one safetensors buffer, and in its metadata the tree of plain values. Nothing is pickled.

The tree is JSON. What JSON does not know stands as a mapping of one name: `{"tuple": [...]}`, `{"float": "nan"}`,
`{"dict": [[key, value]]}`. `{"tensor": [dtype, shape]}` takes the next numbers of the buffer's only tensor of that
dtype: many small tensors cost little, and no tree can ask for more memory than the buffer has.
"""

import json
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from foldtune.errors import CheckpointError, Path

FORMAT = 2
"""Grows when older readers would misread."""

MAX_HEADER = 2**24
"""The longest header, in bytes of JSON."""

DEEPEST = 32
"""How deep values may be nested."""

_KEY = "foldtune"
_VERSIONS = {"foldtune": version("foldtune"), "torch": str(torch.__version__)}
_DTYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name) for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAPPINGS: Mapping[str, Callable[[list[tuple[Any, Any]]], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
}
_SCALARS = (type(None), bool, int, float, str)


def dump(state: Mapping[str, Any]) -> bytes:
    """A state as bytes; the same state gives the same bytes.

    Args:
        state: a dict of None, booleans, integers, floats, text, NumPy's scalars, tensors, and lists, tuples, dicts and
            counters of these. Tensors may lie anywhere; those that share memory come back apart.

    Raises:
        CheckpointError: something else is in it; the message says where.

    Example:
        >>> load(dump({"epoch": 3, "betas": (0.9, 0.999), "best": float("inf")}))
        {'epoch': 3, 'betas': (0.9, 0.999), 'best': inf}
    """
    writer = _Writer()
    tree = {"format": FORMAT, **_VERSIONS, "state": writer.node(state, ())}
    text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    tensors = {name: torch.cat(parts) for name, parts in writer.parts.items()}
    data = safetensors.torch.save(tensors, {_KEY: text})
    if (length := _header_length(data)) > MAX_HEADER:
        raise CheckpointError.of((), f"a state's tree must have at most {MAX_HEADER} bytes", length)
    return data


def load(data: bytes) -> dict[str, Any]:
    """The state that `dump` was given; tensors have memory of their own, on the processor.

    Raises:
        CheckpointError: the bytes are damaged, or another format or version of foldtune or torch wrote them.
    """
    try:
        tree = _tree(data)
        _check_versions(tree)
        return _state(tree["state"], safetensors.torch.load(data))
    except (SafetensorError, LookupError, ValueError, TypeError, OverflowError, RuntimeError) as error:
        found = f"{len(data)} bytes ({type(error).__name__}: {error})"
        raise CheckpointError.of((), "a checkpoint must be whole", found) from error


class _Writer:
    """Turns values into JSON, and keeps the tensors it meets."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Tensor]] = {}  # flat, by dtype

    def node(self, value: Any, path: Path) -> Any:
        kind = type(value)
        if kind in (float, int):
            return self._number(value, path)
        if kind in _SCALARS:
            return value
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            return {"numpy": [value.dtype.name, self._number(value.item(), path)]}
        if len(path) >= DEEPEST:
            raise CheckpointError.of(path[:3], f"a state must be nested at most {DEEPEST} deep")
        if kind in (list, tuple):
            nodes = [self.node(child, (*path, index)) for index, child in enumerate(value)]
            return nodes if kind is list else {"tuple": nodes}
        if kind in (dict, OrderedDict, Counter):
            return {kind.__name__: [self._item(key, child, path) for key, child in value.items()]}
        raise CheckpointError.of(path, "a state must hold plain values and tensors alone", f"a {kind.__qualname__}")

    def _item(self, key: Any, child: Any, path: Path) -> list[Any]:
        here = (*path, key if isinstance(key, int | str) else repr(key))
        if type(key) not in _SCALARS:
            raise CheckpointError.of(here, "a key must be text, a number, a boolean or None", type(key).__qualname__)
        return [self.node(key, here), self.node(child, here)]

    def _number(self, value: float, path: Path) -> Any:
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        if not -(2**63) <= value < 2**64:
            raise CheckpointError.of(path, "an integer must have at most 64 bits", f"{value.bit_length()} bits")
        return value

    def _tensor(self, value: Tensor, path: Path) -> Any:
        tensor = value.detach()
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            found = f"{tensor.layout}, {tensor.device}"
            raise CheckpointError.of(path, "a tensor must be dense and have values", found)
        if tensor.is_complex():
            return {"complex": self._tensor(torch.view_as_real(tensor.resolve_conj()), path)}
        if tensor.dtype not in _NAMES:
            raise CheckpointError.of(path, f"a tensor must be one of {', '.join(_DTYPES)}", tensor.dtype)
        name, order = _NAMES[tensor.dtype], _order(tensor)
        tensor = tensor if order is None else tensor.permute(order)
        self.parts.setdefault(name, []).append(tensor.resolve_neg().reshape(-1).cpu())
        return {"tensor": [name, list(tensor.shape), *([] if order is None else [order])]}


class _Reader:
    """Turns JSON into values; tensors are cut from `flat`, one after another."""

    def __init__(self, flat: Mapping[str, Tensor]) -> None:
        self.flat = flat
        self.taken = dict.fromkeys(flat, 0)

    def node(self, found: Any, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise ValueError("it is nested too deep")
        if isinstance(found, list):
            return [self.node(child, depth + 1) for child in found]
        if not isinstance(found, dict):
            return found
        ((kind, held),) = found.items()
        if kind in _MAPPINGS:
            return _MAPPINGS[kind]([(_key(self.node(key)), self.node(child, depth + 1)) for key, child in held])
        if kind == "tuple":
            return tuple(self.node(held, depth))
        return {"tensor": self._tensor, "complex": self._complex, "float": _float, "numpy": self._scalar}[kind](held)

    def _tensor(self, held: Any) -> Tensor:
        name, shape, *orders = held
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"a tensor's shape is {shape}")
        start = self.taken[name]
        self.taken[name] = stop = start + math.prod(shape)
        if stop > len(self.flat[name]):
            raise ValueError(f"a tensor of shape {shape} is not there")
        tensor = self.flat[name][start:stop].clone().view(shape)
        for order in orders:
            tensor = tensor.permute([order.index(axis) for axis in range(len(shape))])
        return tensor

    def _complex(self, held: Any) -> Tensor:
        return torch.view_as_complex(self._tensor(held["tensor"]).contiguous())

    def _scalar(self, held: Any) -> Any:
        (name, node), dtype = held, np.dtype(held[0])
        value = self.node(node)
        if dtype.kind not in "biuf" or type(value) not in _SCALARS:
            raise ValueError(f"a number is {name} {value}")
        return dtype.type(value)


def _tree(data: bytes) -> dict[str, Any]:
    """The metadata's JSON."""
    length = _header_length(data)
    if length > min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"a header of {length} bytes is not there")
    tree = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
    if not isinstance(tree, dict):
        raise ValueError("its metadata are no mapping")
    return tree


def _check_versions(tree: Mapping[str, Any]) -> None:
    """Numbers may differ in the last bit between versions, and names in states do."""
    wanted = {"format": FORMAT, **_VERSIONS}
    for name, own in wanted.items():
        if tree[name] != own:
            words = "of format" if name == "format" else f"written with {name}"
            raise CheckpointError.of((), f"a checkpoint must be {words} {own}", str(tree[name])[:40])


def _state(node: Any, flat: Mapping[str, Tensor]) -> dict[str, Any]:
    reader = _Reader({name: flat[name] for name in flat if flat[name].dim() == 1 and flat[name].dtype == _DTYPES[name]})
    state = reader.node(node)
    if not isinstance(state, dict):
        raise ValueError("it is no mapping")
    if reader.taken != {name: len(values) for name, values in flat.items()}:
        raise ValueError("it has tensors that nothing refers to")
    return state


def _header_length(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def _order(tensor: Tensor) -> list[int] | None:
    """The axes from the slowest to the fastest, where memory has them in another order; update rules rely on it."""
    if tensor.is_contiguous():
        return None
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: -strides[axis])
    return order if tensor.permute(order).is_contiguous() else None


def _float(held: Any) -> float:
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[held]


def _key(key: Any) -> Any:
    if type(key) not in _SCALARS:
        raise ValueError(f"a key is a {type(key).__name__}")
    return key
