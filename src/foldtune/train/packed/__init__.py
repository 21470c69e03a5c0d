"""The packed engine: M models on one stacked axis."""

from foldtune.train.packed.check import is_packable
from foldtune.train.packed.engine import PackedEngine
from foldtune.train.packed.size import memory_of

__all__ = ["PackedEngine", "is_packable", "memory_of"]
