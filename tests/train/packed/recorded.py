"""CUDA graphs without CUDA: a step is recorded operation by operation, and its replay sees nothing but tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foldtune.train.packed.graph import Call

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.lift_fresh.default,  # of `torch.tensor`
}
"""What makes a host wait for its device, or sends numbers of the host there."""

WAYS = ("item", "tolist", "numpy", "cpu", "__array__", "__bool__", "__float__", "__int__")


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operations and keeps them; refuses those that a CUDA graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING:
            raise RuntimeError(f"{func} waits for the device")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, _tensors(out)))
        return out

    def replay(self) -> None:
        """The same operations on the same memory; what was new then is overwritten."""
        for func, args, kwargs, outputs in self.calls:
            for old, new in zip(outputs, _tensors(func(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _tensors(out: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]


@contextmanager
def host_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing passes between tensors and Python."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("a number passes between host and device")

    with monkeypatch.context() as patch:
        for name in WAYS:
            patch.setattr(Tensor, name, refuse)
        for name in ("from_numpy", "tensor", "as_tensor"):
            patch.setattr(torch, name, refuse)
        yield


class Captures:
    """Captures as `foldtune.train.packed.graph.cuda_graph` makes them, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.made, self.replays = monkeypatch, 0, 0

    def __call__(self, step: Call) -> Call:
        recorder = Recorder()
        self.made += 1

        def first() -> None:  # a graph would not run while it is captured
            with host_away(self.monkeypatch), recorder:
                step()

        def later() -> None:
            self.replays += 1
            recorder.replay()

        return lambda: later() if recorder.calls else first()
