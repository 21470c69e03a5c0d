"""Layers given by name, as an object, or as a class that still lacks its width."""

import copy
from functools import partial

from torch import nn

from foldtune import refs

Layer = str | nn.Module | partial[nn.Module] | None
"""`"ReLU"`, `nn.ReLU()`, `partial(nn.BatchNorm1d, momentum=0.01)`, or no layer at all."""


def make_layer(layer: Layer, width: int) -> nn.Module:
    """A new layer for tensors of shape (B, width).

    Args:
        layer: what to build; a module is copied, so that every place has parameters of its own.
        width: number of features, for layers that need it and leave it out.

    Example:
        >>> make_layer("ReLU", 8), make_layer(None, 8)
        (ReLU(), Identity())
    """
    if layer is None:
        return nn.Identity()
    if isinstance(layer, nn.Module):
        return copy.deepcopy(layer)
    unbuilt = partial(refs.resolve(layer, refs.LAYER)) if isinstance(layer, str) else layer
    open_widths = (name for name in refs.missing(unbuilt.func, unbuilt.keywords) if name in refs.WIDTHS)
    return unbuilt(**{name: width for name in open_widths})


def check_sizes(*, n_blocks: int, d_block: int) -> None:
    """Refuse what would build another net than the one asked for.

    Raises:
        ValueError: `n_blocks` is negative or `d_block` is not positive.
    """
    if n_blocks < 0 or d_block < 1:
        raise ValueError(f"`n_blocks` must be at least 0 and `d_block` at least 1, not {n_blocks} and {d_block}")
