"""The packed engine: M models on one stacked axis."""

from foldtune.train.packed.check import is_packable
from foldtune.train.packed.engine import PackedEngine
from foldtune.train.packed.errors import NotPackable

__all__ = ["NotPackable", "PackedEngine", "is_packable"]
