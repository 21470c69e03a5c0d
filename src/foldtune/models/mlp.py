"""The multilayer perceptron."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from foldtune.models.embeddings import ColumnEmbeddings
from foldtune.models.layers import Layer, check_sizes, make_layer


class MLP(nn.Module):
    """Blocks of Linear, norm, activation and dropout, then a linear head.

    Args:
        in_features: numeric features per row, all dimensions together; filled in from the data.
        out_features: answers per row; filled in from the loss and the target.
        cardinalities: codes per categorical column; filled in from the data.
        n_blocks: number of hidden layers.
        d_block: width of every hidden layer.
        activation: a `torch.nn` activation.
        norm: a `torch.nn` normalisation, such as BatchNorm1d or LayerNorm; None for none.
        dropout: probability of zeroing a hidden unit.
        d_embedding: width of a categorical column's vector; None: by its cardinality.

    Shape:
        numeric (B, *features) float32, codes (B, Q) int64 -> (B, out_features) float32.

    Source: `MLP` of Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", equation (1), with a
    norm between the linear layer and the activation.

    Example:
        >>> import torch
        >>> MLP(4, 3, n_blocks=1, d_block=8)(torch.zeros(2, 4)).shape
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
        activation: Layer = "ReLU",
        norm: Layer = None,
        dropout: float = 0.0,
        d_embedding: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(n_blocks=n_blocks, d_block=d_block)
        self.embed = ColumnEmbeddings(cardinalities, d_embedding)
        width = in_features + self.embed.extra_features
        layers: dict[str, nn.Module] = {}
        for block in range(n_blocks):
            layers[f"linear{block}"] = nn.Linear(d_block if block else width, d_block)
            if norm is not None:
                layers[f"norm{block}"] = make_layer(norm, d_block)
            layers[f"activation{block}"] = make_layer(activation, d_block)
            if dropout:
                layers[f"dropout{block}"] = nn.Dropout(dropout)
        self.blocks = nn.Sequential(OrderedDict(layers))
        self.head = nn.Linear(d_block if n_blocks else width, out_features)

    def forward(self, numeric: Tensor, codes: Tensor | None = None) -> Tensor:
        out: Tensor = self.head(self.blocks(self.embed(numeric, codes)))
        return out
