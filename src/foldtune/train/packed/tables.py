"""The rows that models read, on their device."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from foldtune.data.preprocess import FoldData
from foldtune.train.fold_trainer import inputs_of, target_of
from foldtune.train.losses import Head


class Tables:
    """Transformed rows, kept from stack to stack: most jobs of a study read the same ones.

    Args:
        device: where they lie.
        dtype: of what is no code.
    """

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._kept: dict[Hashable, tuple[Sequence[FoldData], dict[str, Tensor]]] = {}  # keys hold their `id`

    def inputs(self, tables: Sequence[FoldData]) -> dict[str, Tensor]:
        """What nets read, laid end to end: `numeric` (N, *features), and `codes` (N, Q) where there are any."""

        def make() -> dict[str, Tensor]:
            each = [inputs_of(data, self.device, self.dtype) for data in tables]
            names = ("numeric", "codes")[: len(each[0])]
            return {name: torch.cat(parts) for name, parts in zip(names, zip(*each, strict=True), strict=True)}

        return self._once(("inputs", *map(id, tables)), tables, make)

    def target(self, tables: Sequence[FoldData], head: Head) -> Tensor:
        """What losses compare with, laid end to end: (N,) or (N, outputs)."""
        key = ("target", head.codes, *map(id, tables))

        def make() -> dict[str, Tensor]:
            return {"target": torch.cat([target_of(data, head, self.device, self.dtype) for data in tables])}

        return self._once(key, tables, make)["target"]

    def keep(self, tables: Sequence[FoldData]) -> None:
        """Let go of all others."""
        alive = set(map(id, tables))
        self._kept = {key: (own, made) for key, (own, made) in self._kept.items() if alive.issuperset(map(id, own))}

    def _once(
        self, key: Hashable, tables: Sequence[FoldData], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        if key not in self._kept:
            self._kept[key] = tables, make()
        return self._kept[key][1]


class Feed:
    """The rows that models side by side see; models of one table share it.

    Args:
        tables: where rows are kept.
        data: each model's.
    """

    def __init__(self, tables: Tables, data: Sequence[FoldData]) -> None:
        self.tables, self.distinct = tables, list({id(each): each for each in data}.values())
        starts = {id(each): index * len(each.target) for index, each in enumerate(self.distinct)}
        self.offsets = torch.tensor([starts[id(each)] for each in data], device=tables.device)[:, None]  # (m, 1)
        self.inputs = tables.inputs(self.distinct)

    def target(self, head: Head) -> Tensor:
        """What a loss compares with, in the order of the inputs."""
        return self.tables.target(self.distinct, head)

    def batches(self, rows: Tensor, batch: int) -> Sequence[Tensor]:  # (m, S * B) -> S of (m * B,)
        """Rows of the tables laid end to end, for batches one after another."""
        models, count = rows.shape
        numbers = (rows + self.offsets).view(models, count // batch, batch)
        return numbers.transpose(0, 1).reshape(count // batch, -1).unbind()
