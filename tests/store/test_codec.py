"""Arrays and trees survive to the last bit; damaged bytes are refused, never read half."""

import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from foldtune.errors import StoreError
from foldtune.store import codec
from foldtune.testing.store_laws import same

DTYPES = st.sampled_from(["?", "u1", "i1", "<i4", "<i8", "<f2", "<f4", "<f8"])
ARRAYS = npst.arrays(DTYPES, npst.array_shapes(min_dims=0, min_side=0, max_side=5))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text(max_size=3) | st.sampled_from(["$float", "$", "$$float"])
TREES = st.recursive(SCALARS, lambda node: st.lists(node, max_size=3) | st.dictionaries(KEYS, node, max_size=3))


@given(array=ARRAYS, packed=st.booleans())
def test_arrays_survive(array: NDArray[Any], packed: bool) -> None:
    back = codec.decode(codec.encode(array, packed=packed))
    assert same(back, array)
    assert back.flags.writeable


@given(array=ARRAYS, packed=st.booleans(), data=st.data())
def test_truncated_or_extended_bytes_are_refused(array: NDArray[Any], packed: bool, data: st.DataObject) -> None:
    whole = codec.encode(array, packed=packed)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:cut], whole + b"\0"):
        with pytest.raises(StoreError, match=r"a stored array must be whole, however: \d+ bytes .* damaged"):
            codec.decode(damaged)


def header(dtype: bytes, *shape: int, packed: bool = False) -> bytes:
    return struct.pack(f"<4s?3sB{len(shape)}Q", b"FTA1", packed, dtype, len(shape), *shape)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK" + bytes(40),
        header(b"|O8", 1) + bytes(8),
        header(b"<f8", 2**40),
        header(b"<f8", 2**63, 2**63),
        header(b"|u1", 10, packed=True) + zlib.compress(bytes(10**6)),
        header(b"|u1", 10, packed=True) + b"no zlib at all",
    ],
)
def test_foreign_bytes_and_bombs_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="a stored array must be whole"):
        codec.decode(data)


def test_a_bomb_is_not_unpacked_whole() -> None:
    bomb = header(b"|u1", 10, packed=True) + zlib.compress(bytes(10**7))
    tracemalloc.start()
    with pytest.raises(StoreError, match="compressed bytes are cut, or too many"):
        codec.decode(bomb)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10**6


def test_arrays_of_other_kinds_and_sizes_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"a stored array must be one of .*<f8.*, however: object"):
        codec.encode(np.array([None]))
    monkeypatch.setattr(codec, "MAX_BYTES", 16)
    with pytest.raises(StoreError, match="at most 16 bytes, however: 24"):
        codec.encode(np.zeros(3))
    with pytest.raises(StoreError, match="it claims 24 bytes"):
        codec.decode(header(b"<f8", 3) + bytes(24))


def test_row_numbers_shrink() -> None:
    rows = np.sort(np.random.default_rng(0).permutation(100_000)[:80_000])
    assert len(codec.encode(rows, packed=True)) < rows.nbytes / 25


@given(tree=TREES)
def test_trees_survive(tree: Any) -> None:
    text = codec.dump(tree)
    assert same(codec.load(text), tree)
    assert text.isascii()
    assert "\0" not in text


def test_sequences_come_back_as_lists() -> None:
    assert codec.load(codec.dump({"a": (1, (2.0,))})) == {"a": [1, [2.0]]}


@pytest.mark.parametrize("tree", [{"a": [object]}, {"a": [{1: 2}]}, {"a": [b"x"]}, {"a": [np.int64(1)]}])
def test_other_objects_are_refused_with_their_path(tree: Any) -> None:
    with pytest.raises(StoreError, match=r"a\.0: only text, numbers, .* can be stored, however: "):
        codec.dump(tree)


@pytest.mark.parametrize("text", ["", "{", '{"$float": "one"}', '{"$float": null}', "[" * 100_000])
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="stored JSON must be whole"):
        codec.load(text)


def test_long_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_TEXT", 10)
    with pytest.raises(StoreError, match="at most 10 characters, however: 11"):
        codec.load(" " * 11)
