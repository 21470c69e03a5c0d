"""States as bytes: exact, refused where they are damaged or hold something else, and never more than is there."""

import json
import math
import pickle
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foldtune.errors import CheckpointError
from foldtune.train import checkpoint
from foldtune.train.checkpoint import dump, load

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
SHAPES: list[tuple[int, ...]] = [(), (0,), (3,), (2, 0, 4), (2, 3), (1, 2, 3, 2)]
NUMPY = [np.float64(0.1), np.float32(0.1), np.float16(-0.0), np.int64(-(2**63)), np.uint64(2**64 - 1), np.bool_(True)]
NUMPY += [np.float32("nan"), np.float64("-inf"), np.uint8(255)]

keys = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
tensors = st.builds(
    lambda dtype, shape, seed: (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 9 - 4).to(dtype),
    st.sampled_from(DTYPES),
    st.sampled_from(SHAPES),
    st.integers(0, 99),
)
leaves = keys | st.floats() | st.sampled_from(NUMPY) | tensors
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(OrderedDict)
        | st.dictionaries(keys, st.integers(-9, 9), max_size=4).map(Counter)
    ),
    max_leaves=12,
)


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, of the same types, in the same order."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, Tensor):
        assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        assert torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
    elif isinstance(one, dict):
        assert_same(list(one.items()), list(other.items()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, float | np.floating):
        assert str(one) == str(other)
    else:
        assert one == other


@given(st.dictionaries(keys, trees, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_state_comes_back_as_it_was(state: dict[Any, Any]) -> None:
    data = dump(state)
    assert_same(load(data), state)
    assert dump(load(data)) == data, "the same state gives other bytes"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_numbers_that_are_none_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    odd = torch.tensor([math.nan, -math.nan, math.inf, -math.inf, -0.0, torch.finfo(dtype).smallest_normal / 4])
    assert_same(load(dump({"odd": odd.to(dtype)})), {"odd": odd.to(dtype)})


def test_tensors_come_back_apart_and_plain() -> None:
    base = torch.arange(12.0)
    state = {"a": base, "b": base, "c": base[2:5], "d": base[::2], "e": base[:1].expand(5), "p": nn.Parameter(base)}
    back = load(dump(state))
    back["a"].zero_()
    assert [back[name].tolist() for name in "bcde"] == [state[name].tolist() for name in "bcde"]
    assert type(back["p"]) is Tensor and not back["p"].requires_grad and base[1] == 1
    assert len({tensor.untyped_storage().data_ptr() for tensor in back.values()}) == len(back)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(3, 4).t(),
        torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.rand(2, 3, 4).permute(2, 0, 1),
        torch.zeros(0, 4).t(),
    ],
    ids=["transposed", "channels last", "permuted", "empty"],
)
def test_dense_tensors_keep_the_order_of_their_axes_in_memory(tensor: Tensor) -> None:
    """Fused update rules go through memory, whatever the shapes."""
    (back,) = load(dump({"x": tensor})).values()
    assert torch.equal(back, tensor) and (back.stride() == tensor.stride() or not tensor.numel())


def test_views_of_conjugates_come_back_as_values() -> None:
    view = torch.tensor([1 + 2j, 3 - 1j]).conj()
    assert torch.equal(load(dump({"c": view, "i": view.imag}))["c"], view)
    assert torch.equal(load(dump({"i": view.imag}))["i"], view.imag)


class Mine:
    """Something of the user's."""


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (Mine(), "must hold plain values and tensors alone, however: a Mine"),
        (defaultdict(int), "a defaultdict"),
        ({1}, "a set"),
        (b"x", "a bytes"),
        (np.zeros(2), "a ndarray"),
        (np.datetime64("2020"), "a datetime64"),
        (print, "a builtin_function_or_method"),
        (torch.Size([1]), "a Size"),
        (1j, "a complex"),
        (2**64, "at most 64 bits, however: 65 bits"),
        (torch.zeros(2, device="meta"), "dense and have values, however: torch.strided, meta"),
        (torch.eye(2).to_sparse(), "dense and have values"),
        (torch.zeros(2, dtype=torch.float8_e5m2), "must be one of float64, .*, however: torch.float8_e5m2"),
        ({(1, 2): 0}, "a key must be text, a number, a boolean or None, however: tuple"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_else_there_is_is_refused_by_its_place(value: Any, match: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^folds\.1\.state\.0.*: .*{match}"):
        dump({"folds": [{}, {"state": {0: value}}]})


def test_values_in_circles_are_refused() -> None:
    tree: dict[str, Any] = {}
    tree["again"] = tree
    with pytest.raises(CheckpointError, match="at most 32 deep"):
        dump(tree)


def test_long_trees_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dump({"x": "y" * 5000})
    monkeypatch.setattr(checkpoint, "MAX_HEADER", 4096)
    with pytest.raises(CheckpointError, match="tree must have at most 4096 bytes"):
        dump({"x": "y" * 5000})
    with pytest.raises(CheckpointError, match="must be whole"):
        load(data)


STATE = {"epoch": 2, "w": torch.arange(6.0).view(2, 3), "n": torch.tensor(7), "best": math.inf, "betas": (0.9, 0.99)}


def test_truncated_bytes_are_refused() -> None:
    data = dump(STATE)
    for length in range(len(data)):
        with pytest.raises(CheckpointError, match="a checkpoint must be whole, however: "):
            load(data[:length])
    with pytest.raises(CheckpointError, match="must be whole"):
        load(data + b"\0")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_bytes_that_were_changed_are_refused_or_read(data: st.DataObject) -> None:
    changed = bytearray(dump(STATE))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(load(bytes(changed)), dict)
    except CheckpointError:
        pass


@given(st.binary(max_size=64))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="must be whole"):
        load(data)


def written(node: Any, **tensors: Tensor) -> bytes:
    """As another program would."""
    tree = {**json.loads(_text(dump({}))), "state": node}
    return safetensors.torch.save(tensors, {"foldtune": json.dumps(tree)})


def _text(data: bytes) -> str:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return str(header["__metadata__"]["foldtune"])


def _nested(depth: int) -> Any:
    node: Any = []
    for _ in range(depth):
        node = [node]
    return node


NODES: dict[str, Any] = {
    "no mapping": [1],
    "two names": {"dict": [], "tuple": []},
    "no name": {},
    "unknown": {"module": "os.system"},
    "no pairs": {"dict": [[1]]},
    "key": {"dict": [[{"tuple": []}, 1]]},
    "unhashable key": {"dict": [[[], 1]]},
    "float": {"dict": [["x", {"float": "1"}]]},
    "numpy object": {"dict": [["x", {"numpy": ["O", 1]}]]},
    "numpy array": {"dict": [["x", {"numpy": ["float64", [1, 2]]}]]},
    "numpy range": {"dict": [["x", {"numpy": ["int8", 300]}]]},
    "no dtype": {"dict": [["x", {"tensor": ["float16", [4]]}]]},
    "too much": {"dict": [["x", {"tensor": ["float32", [5]]}]]},
    "twice": {"dict": [["x", {"tensor": ["float32", [4]]}], ["y", {"tensor": ["float32", [1]]}]]},
    "not all": {"dict": [["x", {"tensor": ["float32", [3]]}]]},
    "negative": {"dict": [["x", {"tensor": ["float32", [-2, -2]]}]]},
    "huge": {"dict": [["x", {"tensor": ["float32", [2**62, 0]]}], ["y", {"tensor": ["float32", [2**80, 0]]}]]},
    "fractional": {"dict": [["x", {"tensor": ["float32", [4.0]]}]]},
    "axes": {"dict": [["x", {"tensor": ["float32", [2, 2], [0, 0]]}]]},
    "complex": {"dict": [["x", {"complex": {"tensor": ["float32", [4]]}}]]},
    "deep": {"dict": [["x", _nested(100)]]},
}


@pytest.mark.parametrize("name", NODES)
def test_trees_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="must be whole"):
        load(written(NODES[name], float32=torch.zeros(4)))


def test_trees_of_any_depth_are_refused() -> None:
    header = json.dumps({"__metadata__": {"foldtune": "[" * 200_000}}).encode()
    with pytest.raises(CheckpointError, match="must be whole"):
        load(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize("tensor", [torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32)], ids=["matrix", "dtype"])
def test_other_tensors_than_are_written_are_refused(tensor: Tensor) -> None:
    with pytest.raises(CheckpointError, match="must be whole"):
        load(written({"dict": [["x", {"tensor": ["float32", [4]]}]]}, float32=tensor))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("format", "must be of format 2, however: 3"),
        ("foldtune", "must be written with foldtune .*, however: 3"),
        ("torch", r"must be written with torch .*, however: 3\. Train the trial from its start\.$"),
    ],
)
def test_other_versions_are_refused(name: str, match: str) -> None:
    tree = {**json.loads(_text(dump({}))), name: 3, "state": "something new"}
    with pytest.raises(CheckpointError, match=match):
        load(safetensors.torch.save({}, {"foldtune": json.dumps(tree)}))


def test_the_error_crosses_processes() -> None:
    error = CheckpointError.of(("a",), "it must be", 1)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("name", ["Adam", "LBFGS", "SGD", "RMSprop", "Adagrad", "NAdam", "Adafactor", "ASGD", "Rprop"])
def test_states_of_torchs_optimizers_come_back(name: str) -> None:
    weights = [nn.Parameter(torch.rand(3, 2)), nn.Parameter(torch.rand(4))]
    optimizer = getattr(torch.optim, name)(weights, lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum(((weight - 1) ** 2).sum() for weight in weights)
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(2):
        optimizer.step(closure)
    assert_same(load(dump(optimizer.state_dict())), optimizer.state_dict())


SCHEDULES: dict[str, dict[str, Any]] = {
    "ReduceLROnPlateau": {},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 9},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2},
    "CosineAnnealingLR": {"T_max": 9},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "MultiStepLR": {"milestones": [1, 1, 3]},
    "PolynomialLR": {},
    "ConstantLR": {},
    "LambdaLR": {"lr_lambda": lambda epoch: 0.5**epoch},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_states_of_torchs_schedules_come_back(name: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **SCHEDULES[name])
    optimizer.step()
    scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    assert_same(load(dump(scheduler.state_dict())), scheduler.state_dict())
