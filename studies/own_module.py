"""A net of one's own for `own_module.yaml`: an ordinary `nn.Module`.

`in_features` and `out_features` are not in the study file: they follow from the data and the loss.
"""

import torch
from torch import Tensor, nn


class FourierNet(nn.Module):
    """Random Fourier features, then a linear layer (Rahimi and Recht 2007).

    Args:
        in_features: numeric features per row.
        out_features: answers per row.
        n_frequencies: number of random directions.
        scale: standard deviation of their lengths; larger fits finer detail.
    """

    def __init__(self, in_features: int, out_features: int, n_frequencies: int = 16, scale: float = 1.0) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(scale * torch.randn(in_features, n_frequencies))
        self.head = nn.Linear(2 * n_frequencies, out_features)

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.frequencies
        out: Tensor = self.head(torch.cat([angles.sin(), angles.cos()], dim=1))
        return out
