"""The packed engine: M models on one stacked axis."""

from foldtune.train.packed.check import is_packable
from foldtune.train.packed.engine import PackedEngine

__all__ = ["PackedEngine", "is_packable"]
