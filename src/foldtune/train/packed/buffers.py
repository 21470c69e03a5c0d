"""Where the numbers of M models lie: fixed places, so that a step allocates nothing and every address stays."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

LANES = 32
"""Numbers that torch's vector loops take at once, with AVX-512 and 32 bits; what is left goes through scalar code.

A model's numbers begin at a multiple of it and are padded to one: then its last bit does not depend on who else shares
the pack, neither in elementwise loops nor in matrix products.
"""


@dataclass(frozen=True)
class Buffer:
    """A value of m models on a batch, or its gradient.

    Args:
        flat: all of its memory, padding included, (m, slab).
        rows: the value, (m, B, *shape).
        columns: whether memory holds (m, C, B), the order in which batch norms and products of hidden layers are
            cheapest; else (m, B, *shape).
    """

    flat: Tensor
    rows: Tensor
    columns: bool

    @property
    def cols(self) -> Tensor:
        """The value as (m, C, B)."""
        return self.rows.transpose(1, 2)

    def take(self, start: int, stop: int) -> "Buffer":
        """Some of the models, side by side."""
        return Buffer(self.flat[start:stop], self.rows[start:stop], self.columns)

    def like(self, pool: "Pool | None" = None) -> "Buffer":
        """Another of the same form."""
        shape = tuple(self.rows.shape[2:])
        return buffer(len(self.rows), self.rows.shape[1], shape, self.flat, columns=self.columns, pool=pool)


class Pool:
    """Memory of buffers that are not in use at the same time as others."""

    def __init__(self, given: Sequence[Tensor | None] = ()) -> None:
        self.free = sorted((part.view(-1) for part in given if part is not None), key=Tensor.numel)
        self.sizes = [part.numel() for part in self.free]

    def take(self, size: int, like: Tensor) -> Tensor:
        """The smallest piece that is large enough, or zeros."""
        found = bisect_left(self.sizes, size)
        if found == len(self.sizes):
            return like.new_zeros(size)
        self.sizes.pop(found)
        return self.free.pop(found)[:size]


def buffer(
    models: int,
    batch: int,
    shape: Sequence[int],
    like: Tensor,
    *,
    columns: bool | None = None,
    pool: Pool | None = None,
) -> Buffer:
    """A buffer, zero where its memory is not from a pool.

    Args:
        models: m.
        batch: B.
        shape: of one row.
        like: gives dtype and device.
        columns: the memory order; by default columns for rows of one dimension.
        pool: where memory may come from.
    """
    columns = len(shape) == 1 if columns is None else columns
    size = batch * prod(shape)
    slab = size + -size % LANES
    flat = (pool or Pool()).take(models * slab, like).view(models, slab)
    if columns:
        return Buffer(flat, flat[:, :size].view(models, shape[0], batch).transpose(1, 2), columns)
    return Buffer(flat, flat[:, :size].view(models, batch, *shape), columns)


def numbers_like(like: Tensor, *values: float) -> tuple[Tensor, ...]:
    """Tensors of no dimensions: a Python number would be made one at each call, which takes longer than the call."""
    return tuple(like.new_tensor(value) for value in values)
