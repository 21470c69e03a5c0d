"""The convolutional net of sequences, images and volumes."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from foldtune.models.embeddings import ColumnEmbeddings
from foldtune.models.layers import Layer, check_sizes, make_layer

LAYERS: dict[int, tuple[Callable[..., nn.Module], ...]] = {
    1: (nn.Conv1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d),
    2: (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    3: (nn.Conv3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d),
}
"""Convolution, pooling and mean by the number of sizes."""


class ConvNet(nn.Module):
    """Blocks of convolution, norm, activation, max pooling and dropout; then the mean over all places, a linear head.

    Args:
        input_shape: channels, then one to three sizes, of one row; filled in from the data.
        out_features: answers per row; filled in from the loss and the target.
        cardinalities: codes per categorical column; filled in from the data.
        n_blocks: number of convolutions.
        d_block: channels of each.
        kernel_size: of each, an odd number of places along every size.
        pool: places along every size that max pooling makes one, after each block; sizes below it stay as they are.
        activation: a `torch.nn` activation.
        norm: a `torch.nn` normalisation of the right number of sizes, such as BatchNorm2d for images; None for none.
        dropout: probability of zeroing a number after each block.
        d_embedding: width of a categorical column's vector; None: by its cardinality.

    Shape:
        numeric (B, channels, *sizes) float32, codes (B, Q) int64 -> (B, out_features) float32.

    Raises:
        ValueError: rows are no sequences, images or volumes with channels, or a size is none.

    Source: blocks of Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", with one convolution each and
    as many channels in all; the mean in front of the head is that of Lin et al. 2014, "Network In Network", section
    3.2.

    Example:
        >>> import torch
        >>> ConvNet((1, 8, 8), 10, n_blocks=2, d_block=4)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        out_features: int,
        cardinalities: Sequence[int] = (),
        *,
        n_blocks: int = 2,
        d_block: int = 32,
        kernel_size: int = 3,
        pool: int = 2,
        activation: Layer = "ReLU",
        norm: Layer = None,
        dropout: float = 0.0,
        d_embedding: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(n_blocks=n_blocks, d_block=d_block)
        channels, *sizes = input_shape
        _check(sizes, kernel_size=kernel_size, pool=pool)
        convolution, pooling, mean = LAYERS[len(sizes)]
        layers: dict[str, nn.Module] = {}
        for block in range(n_blocks):
            width = d_block if block else channels
            layers[f"conv{block}"] = convolution(width, d_block, kernel_size, padding=kernel_size // 2)
            if norm is not None:
                layers[f"norm{block}"] = make_layer(norm, d_block)
            layers[f"activation{block}"] = make_layer(activation, d_block)
            if (windows := [min(pool, size) for size in sizes]) != [1] * len(sizes):
                layers[f"pool{block}"] = pooling(tuple(windows))
                sizes = [size // window for size, window in zip(sizes, windows, strict=True)]
            if dropout:
                layers[f"dropout{block}"] = nn.Dropout(dropout)
        self.blocks = nn.Sequential(OrderedDict(layers))
        self.mean = mean(1)
        self.embed = ColumnEmbeddings(cardinalities, d_embedding)
        self.head = nn.Linear((d_block if n_blocks else channels) + self.embed.extra_features, out_features)

    def forward(self, numeric: Tensor, codes: Tensor | None = None) -> Tensor:
        out: Tensor = self.head(self.embed(self.mean(self.blocks(numeric)), codes))
        return out


def _check(sizes: Sequence[int], *, kernel_size: int, pool: int) -> None:
    if len(sizes) not in LAYERS:
        found = f"({', '.join(map(str, sizes))}) after the channels"
        raise ValueError(f"`ConvNet` needs rows of channels and one to three sizes, not {found}")
    if kernel_size < 1 or kernel_size % 2 == 0 or pool < 1:
        raise ValueError(f"`kernel_size` must be odd and `pool` at least 1, not {kernel_size} and {pool}")
