"""The residual net for tables."""

from collections.abc import Sequence

from torch import Tensor, nn

from foldtune.models.embeddings import ColumnEmbeddings
from foldtune.models.layers import Layer, check_sizes, make_layer


class TabularResNet(nn.Module):
    """Residual blocks of norm, Linear, activation, dropout, Linear, dropout; then norm, activation and a linear head.

    Args:
        in_features: numeric features per row, all dimensions together; filled in from the data.
        out_features: answers per row; filled in from the loss and the target.
        cardinalities: codes per categorical column; filled in from the data.
        n_blocks: number of residual blocks.
        d_block: width between blocks.
        d_hidden_multiplier: width inside of a block, as a multiple of `d_block`.
        activation: a `torch.nn` activation.
        norm: a `torch.nn` normalisation; None for none.
        dropout: probability inside of a block.
        residual_dropout: probability at a block's end.
        d_embedding: width of a categorical column's vector; None: by its cardinality.

    Shape:
        numeric (B, *features) float32, codes (B, Q) int64 -> (B, out_features) float32.

    Source: `ResNet` of Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", equation (2).

    Example:
        >>> import torch
        >>> TabularResNet(4, 3, n_blocks=1, d_block=8)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        cardinalities: Sequence[int] = (),
        *,
        n_blocks: int = 2,
        d_block: int = 128,
        d_hidden_multiplier: float = 2.0,
        activation: Layer = "ReLU",
        norm: Layer = "BatchNorm1d",
        dropout: float = 0.0,
        residual_dropout: float = 0.0,
        d_embedding: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(n_blocks=n_blocks, d_block=d_block)
        self.embed = ColumnEmbeddings(cardinalities, d_embedding)
        d_hidden = round(d_block * d_hidden_multiplier)
        self.stem = nn.Linear(in_features + self.embed.extra_features, d_block)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                make_layer(norm, d_block),
                nn.Linear(d_block, d_hidden),
                make_layer(activation, d_hidden),
                nn.Dropout(dropout),
                nn.Linear(d_hidden, d_block),
                nn.Dropout(residual_dropout),
            )
            for _ in range(n_blocks)
        )
        self.head = nn.Sequential(
            make_layer(norm, d_block), make_layer(activation, d_block), nn.Linear(d_block, out_features)
        )

    def forward(self, numeric: Tensor, codes: Tensor | None = None) -> Tensor:
        x = self.stem(self.embed(numeric, codes))
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.head(x)
        return out
