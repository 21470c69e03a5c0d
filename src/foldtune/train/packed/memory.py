"""Where numbers lie in memory: for speed, and so that who shares a pack changes no bit."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

LANES = 32
"""Numbers that torch's vector loops take at once, with AVX-512 and 32 bits; what is left goes through scalar code."""


def columns_first(x: Tensor) -> Tensor:  # (M, B, C) -> (M, C, B)
    """The memory order of hidden layers, which costs matrix products and batch norms least."""
    return x.transpose(1, 2)


def in_columns(x: Tensor) -> bool:
    """Whether linear layers made it, or what was made of their answers."""
    return x.dim() == 3 and x.stride(1) == 1 and x.stride(2) != 1


def whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An elementwise function whose vector and scalar code differ in the last bit, by vector code alone.

    Else the last numbers of the last model would depend on how many models share the pack.
    """
    if x[0].numel() % LANES == 0:
        return function(x)
    columns = in_columns(x)
    plain = columns_first(x) if columns else x
    padded = function(F.pad(plain.reshape(-1), (0, -x.numel() % LANES)))
    result = padded[: x.numel()].view(plain.shape)
    return columns_first(result) if columns else result


def slabs(shape: Sequence[int], like: Tensor) -> Tensor:  # (M, R, C), uninitialised
    """Matrices that all begin at whole cache lines: a product's last bit depends on where its operands lie."""
    models, rows, columns = shape
    size = rows * columns
    return like.new_empty(models, size + -size % LANES)[:, :size].view(models, rows, columns)


def aligned(x: Tensor) -> Tensor:  # (M, R, C)
    """The same matrices, copied if they do not begin at whole cache lines."""
    if x.stride(0) % LANES == 0:
        return x
    if in_columns(x):
        return columns_first(aligned(columns_first(x)))
    return slabs(x.shape, like=x).copy_(x)
