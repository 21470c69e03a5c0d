"""Layers in a row, written in the study file."""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from foldtune import refs
from foldtune.models.embeddings import ColumnEmbeddings
from foldtune.models.layers import Layer


class Sequential(nn.Module):
    """`torch.nn.Sequential` whose widths may be left out: each layer's follows from what the one before gives.

    Args:
        layers: layers in order, each a `torch.nn` class; the `out_features` of a last Linear may be left out, too.
        input_shape: shape of one row's numeric part; filled in from the data.
        out_features: answers per row; filled in from the loss and the target.
        cardinalities: codes per categorical column; filled in from the data. With any, the layers get a flat row.
        d_embedding: width of a categorical column's vector; None: by its cardinality.

    Shape:
        numeric (B, *features) float32, codes (B, Q) int64 -> (B, out_features) float32.

    Raises:
        ValueError: a layer does not take what the one before gives, or the last does not give `out_features` numbers.

    Example:
        >>> Sequential([partial(nn.Linear, out_features=8), nn.ReLU(), partial(nn.Linear)], (4,), 3).layers[2]
        Linear(in_features=8, out_features=3, bias=True)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: tuple[int, ...],
        out_features: int,
        cardinalities: Sequence[int] = (),
        *,
        d_embedding: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(layers, str):
            raise ValueError(f"`layers` must be a list of layers, not {layers!r}")
        self.embed = ColumnEmbeddings(cardinalities, d_embedding) if cardinalities else None
        if self.embed is not None:
            input_shape = (int(torch.Size(input_shape).numel()) + self.embed.extra_features,)
        built: list[nn.Module] = []
        for position, layer in enumerate(layers):
            last = position == len(layers) - 1
            try:
                built.append(_fit(layer, input_shape, out_features if last else None))
                input_shape = _shape_after(built[-1], input_shape)
            except (TypeError, ValueError, RuntimeError, IndexError) as error:
                raise ValueError(f"layer {position} does not fit rows of shape {input_shape}: {error}") from error
        if input_shape != (out_features,):
            raise ValueError(
                f"the last layer gives {input_shape} per row, but the loss needs ({out_features},); "
                "end with Linear and leave its out_features out"
            )
        self.layers = nn.Sequential(*built)

    def forward(self, numeric: Tensor, codes: Tensor | None = None) -> Tensor:
        out: Tensor = self.layers(numeric if self.embed is None else self.embed(numeric, codes))
        return out


def _fit(layer: Layer, shape: tuple[int, ...], out_features: int | None) -> nn.Module:
    """Build a layer for rows of `shape`; sequences (T, F) count their features last, images (C, H, W) first."""
    if isinstance(layer, nn.Module):
        return layer
    unbuilt = partial(refs.resolve(layer or "Identity", refs.LAYER)) if isinstance(layer, str | None) else layer
    names = refs.missing(unbuilt.func, unbuilt.keywords)
    channels_first = {"in_channels", "num_features", "num_channels"}
    fill = {name: shape[0] if name in channels_first else shape[-1] for name in names if name in refs.WIDTHS}
    if "out_features" in names and out_features is not None:
        fill["out_features"] = out_features
    return unbuilt(**fill)


def _shape_after(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What a layer makes of a row, found on the meta device without any arithmetic."""
    with torch.no_grad():
        memo = {id(tensor): tensor.to("meta") for tensor in (*layer.parameters(), *layer.buffers())}
        out = copy.deepcopy(layer, memo)(torch.empty(2, *shape, device="meta"))  # the weights are not copied
    if not isinstance(out, Tensor):
        raise TypeError(f"its answer is a {type(out).__name__}, not a tensor; use a module of your own")
    return tuple(out.shape[1:])
