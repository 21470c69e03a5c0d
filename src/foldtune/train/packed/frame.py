"""What stacked kernels see of a pass through the nets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from foldtune.train.packed.masks import Masks

Kernel = Callable[["Frame", Tensor], Tensor]
"""A layer of M models: inputs (M, B, ...) to outputs (M, B, ...)."""


@dataclass(frozen=True)
class Frame:
    """One pass of M models.

    Args:
        params: {name: (M, *shape)}.
        buffers: {name: (M, *shape)}; changed in place.
        masks: random numbers for dropout; None outside of training.
        grads: where layers that are called once put the gradients of their parameters themselves.
    """

    params: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    masks: Masks | None
    grads: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def training(self) -> bool:
        return self.masks is not None
