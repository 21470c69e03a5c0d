"""Categorical columns as learned vectors beside the numeric ones."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ColumnEmbeddings(nn.Module):
    """One embedding table per categorical column, concatenated to the numeric part.

    Args:
        cardinalities: number of codes of each of the Q columns; none at all is fine.
        d_embedding: width of every column's vector; default min(50, ceil(1.6 * cardinality ** 0.56)), the rule of
            fastai (Howard and Gugger 2020, "fastai: A Layered API for Deep Learning").

    Shape:
        numeric (B, *features) float32 and codes (B, Q) int64 -> (B, prod(features) + extra_features) float32.

    Example:
        >>> embed = ColumnEmbeddings([3, 10])
        >>> embed(torch.zeros(4, 2), torch.zeros(4, 2, dtype=torch.int64)).shape[1] == 2 + embed.extra_features
        True
    """

    def __init__(self, cardinalities: Sequence[int] = (), d_embedding: int | None = None) -> None:
        super().__init__()
        widths = [d_embedding or min(50, math.ceil(1.6 * size**0.56)) for size in cardinalities]
        self.tables = nn.ModuleList(
            nn.Embedding(size, width) for size, width in zip(cardinalities, widths, strict=True)
        )
        self.extra_features = sum(widths)

    def forward(self, numeric: Tensor, codes: Tensor | None = None) -> Tensor:
        flat = numeric.flatten(1)  # (B, F)
        if codes is None or len(self.tables) == 0:
            return flat
        return torch.cat([flat, *(table(codes[:, column]) for column, table in enumerate(self.tables))], dim=1)
