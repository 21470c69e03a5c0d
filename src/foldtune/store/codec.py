"""Arrays and JSON trees as the database holds them: exact to the last bit, bounded in size, never pickled.

An array is stored as `magic, packed, dtype, ndim, shape..., payload`, little-endian; packed integers as differences,
packed floats as all first bytes, then all second ones, and so on. A tree is JSON text, in which a float that JSON
cannot hold stands as `{"$float": "nan"}`; a mapping's own keys that begin with `$` get one more.
"""

import json
import math
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.errors import Path, StoreError

MAX_BYTES = 2**30
"""The largest array, unpacked."""

MAX_TEXT = 2**26
"""The longest tree, in characters of JSON."""

MAX_DEPTH = 100
"""Mappings and lists inside of each other in a stored tree."""

_HUGE = re.compile(r"[eE]\+?\d{3}|\d{300}")  # numbers that may be none in 64 bits
_MAGIC = b"FTA1"
_HEADER = struct.Struct("<4s?3sB")
_DTYPES = frozenset({"|b1", "|u1", "|i1", "<i4", "<i8", "<f2", "<f4", "<f8"})
_FLOAT = "$float"
_PLAIN = (str, int, bool, NoneType)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
DAMAGED = "Another program wrote it, or the database is damaged: restore a copy."
"""What to do about stored values that nobody of ours can have written."""


def encode(array: NDArray[Any], *, packed: bool = False) -> bytes:
    """An array as bytes, with its dtype and shape.

    Args:
        array: any shape, booleans, integers or floats.
        packed: compress what then is smaller: ascending row numbers shrink to a thirtieth, answers of nets by a
            seventh (float16) or a quarter (float32).

    Raises:
        StoreError: the dtype is none of those stored, or the array is larger than `MAX_BYTES`.

    Example:
        >>> decode(encode(np.array([[0.5, np.inf]])))
        array([[0.5, inf]])
    """
    array = np.asarray(array, order="C")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype.str not in _DTYPES:
        raise StoreError.of((), f"a stored array must be one of {', '.join(sorted(_DTYPES))}", array.dtype)
    if array.nbytes > MAX_BYTES:
        raise StoreError.of((), f"a stored array must have at most {MAX_BYTES} bytes", array.nbytes)
    plain = array.tobytes()
    payload = min(zlib.compress(_regular(array)), plain, key=len) if packed else plain
    header = _HEADER.pack(_MAGIC, payload is not plain, array.dtype.str.encode(), array.ndim)
    return header + struct.pack(f"<{array.ndim}Q", *array.shape) + payload


def decode(data: bytes) -> NDArray[Any]:
    """The array that `encode` was given; a copy of its own.

    Raises:
        StoreError: the bytes are truncated, too long, or not an array of ours.
    """
    try:
        return _decode(memoryview(data))
    except (struct.error, zlib.error, ValueError, TypeError, OverflowError) as error:
        raise StoreError.of((), "a stored array must be whole", f"{len(data)} bytes ({error})", DAMAGED) from error


def dump(tree: Any) -> str:
    """A tree of mappings, sequences, text, numbers, booleans and None as JSON text; order and floats are kept.

    Raises:
        StoreError: something else is in it.

    Example:
        >>> dump({"lr": 0.1, "best": float("nan")})
        '{"lr":0.1,"best":{"$float":"nan"}}'
    """
    return _ENCODER.encode(_tagged(tree, ()))


def load(text: str) -> Any:
    """The tree that `dump` was given; sequences come back as lists.

    Raises:
        StoreError: the text is not ours, or longer than `MAX_TEXT`, or deeper than `MAX_DEPTH`.
    """
    if len(text) > MAX_TEXT:
        raise StoreError.of((), f"stored JSON must have at most {MAX_TEXT} characters", len(text), DAMAGED)
    try:
        numbers = _finite if _HUGE.search(text) else None  # None: Python's own, which is quicker
        tree = json.loads(text, object_hook=_untagged, parse_constant=_finite, parse_float=numbers)
        return tree if text.count("[") + text.count("{") <= MAX_DEPTH else _shallow(tree)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError.of((), "stored JSON must be whole", f"{text[:40]!r} ({error})", DAMAGED) from error


def _regular(array: NDArray[Any]) -> bytes:
    """Differences of integers, modulo the word: those of ascending rows repeat; the bytes of floats by significance."""
    if array.dtype.kind == "i":
        return np.diff(array.ravel(), prepend=array.dtype.type(0)).tobytes()
    return array.reshape(-1, 1).view(np.uint8).T.tobytes()


def _restored(payload: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array of which `_regular` gave the bytes."""
    if dtype.kind == "i":
        return np.cumsum(np.frombuffer(payload, dtype), dtype=dtype)
    planes = np.frombuffer(payload, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype)


def _decode(data: memoryview) -> NDArray[Any]:
    magic, packed, name, ndim = _HEADER.unpack_from(data)
    known, payload = bytes(name).decode(), data[_HEADER.size + 8 * ndim :]
    if magic != _MAGIC or known not in _DTYPES:
        raise ValueError("not an array of foldtune's")
    shape, dtype = struct.unpack_from(f"<{ndim}Q", data, _HEADER.size), np.dtype(known)
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES:
        raise ValueError(f"it claims {size} bytes")
    array = _restored(_unpack(payload, size), dtype) if packed else np.frombuffer(payload, dtype)
    return array.reshape(shape).astype(dtype.newbyteorder("="))


def _unpack(data: memoryview, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    payload = unpacker.decompress(data, size + 1)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("compressed bytes are cut, or too many")
    return payload


def _tagged(node: Any, path: Path) -> Any:
    if isinstance(node, _PLAIN):
        return node
    if isinstance(node, float):
        return node if math.isfinite(node) else {_FLOAT: repr(float(node))}
    if isinstance(node, Mapping) and all(isinstance(key, str) for key in node):
        return {_escaped(key): _tagged(child, (*path, key)) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_tagged(child, (*path, index)) for index, child in enumerate(node)]
    kinds = "text, numbers, booleans, null, lists and mappings with text keys"
    raise StoreError.of(path, f"only {kinds} can be stored", f"{node!r} ({type(node).__name__})")


def _finite(text: str) -> float:
    """A number as JSON says it; what JSON cannot say stands under a name of ours."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it holds a number that JSON cannot say")
    return number


def _shallow(tree: Any) -> Any:
    """The tree, if it is not too deep."""
    level, depth = [tree], 0
    while level := [child for node in level for child in _children(node)]:
        if (depth := depth + 1) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")
    return tree


def _children(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _untagged(mapping: dict[str, Any]) -> Any:
    if _FLOAT in mapping:
        return float(mapping[_FLOAT])
    return {key.removeprefix("$"): child for key, child in mapping.items()}


def _escaped(key: str) -> str:
    return f"${key}" if key.startswith("$") else key
