"""Norms of rows (m, B, C), in memory (m, C, B): batch norms reduce over B, the others over C."""

from typing import Any

import torch
from torch import Tensor, nn

from foldtune.train.packed.buffers import Pool
from foldtune.train.packed.kernel import Place


class Norm:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` along one dimension; its gradient is that of the paper.

    Source: Ioffe and Szegedy 2015, section 3, for `dim` 2; Ba et al. 2016 for `dim` 1; Zhang and Sennrich 2019 without
    `center`.

    Args:
        place: where it works.
        dim: 2 for the rows of a batch, 1 for the channels of a row.
        eps: as the layer says.
        center: whether the mean is subtracted.
    """

    stored = False
    """Whether statistics are those of the training rows, outside of training."""

    def __init__(self, place: Place, *, dim: int, eps: float, center: bool = True) -> None:
        (source,) = place.inputs
        self.x, self.out, self.dim, self.eps, self.center = source.cols, place.output.cols, dim, eps, center
        self.weight, self.bias = (_channels(place.params.get(name)) for name in ("weight", "bias"))
        self.hat = source.like().cols if place.training else self.out
        self.scratch = self.out if self.stored and not place.training else source.like(Pool([place.shared])).cols
        few = self.x.sum(dim, keepdim=True)
        self.mean, self.variance, self.inverse = (torch.zeros_like(few) for _ in range(3))
        self.share = 1.0 / self.x.shape[dim]
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grad, self.grad_x = place.grad.cols, grad_x.cols if grad_x is not None else None
            self.grad_weight, self.grad_bias = (place.grads.get(name) for name in ("weight", "bias"))
            self.first, self.second = torch.zeros_like(few), torch.zeros_like(few)

    def forward(self) -> None:
        self._standardize()
        self._scale(self.hat)

    def backward(self) -> None:
        product = torch.mul(self.grad, self.hat, out=self.scratch)
        if self.grad_weight is not None:
            torch.sum(product, 2, out=self.grad_weight)
        if self.grad_bias is not None:
            torch.sum(self.grad, 2, out=self.grad_bias)
        if self.grad_x is not None:
            self._backward_x(self.grad_x, product)

    def _backward_x(self, grad_x: Tensor, product: Tensor) -> None:
        """The gradient of the input; `product` is that of the output times `hat`, and is overwritten."""
        grad = self.grad
        if self.weight is not None:
            grad = torch.mul(self.grad, self.weight, out=grad_x)
            torch.mul(grad, self.hat, out=product)
        torch.sum(product, self.dim, keepdim=True, out=self.second).mul_(self.share)
        torch.mul(self.hat, self.second, out=product)
        if self.center:
            torch.sum(grad, self.dim, keepdim=True, out=self.first).mul_(self.share)
            product.add_(self.first)
        torch.sub(grad, product, out=grad_x).mul_(self.inverse)

    def _standardize(self) -> None:
        if self.center:
            torch.sum(self.x, self.dim, keepdim=True, out=self.mean).mul_(self.share)
            torch.sub(self.x, self.mean, out=self.hat)
        centred = self.hat if self.center else self.x
        torch.mul(centred, centred, out=self.scratch)
        torch.sum(self.scratch, self.dim, keepdim=True, out=self.variance).mul_(self.share)
        torch.add(self.variance, self.eps, out=self.inverse).rsqrt_()
        torch.mul(centred, self.inverse, out=self.hat)

    def _scale(self, hat: Tensor) -> None:
        if self.weight is None:
            self.out.copy_(hat)
        elif self.bias is None:
            torch.mul(hat, self.weight, out=self.out)
        else:
            torch.mul(hat, self.weight, out=self.out).add_(self.bias)


class BatchNorm(Norm):
    """`torch.nn.BatchNorm1d`: statistics of a model are its own."""

    def __init__(self, place: Place, layer: nn.modules.batchnorm._BatchNorm) -> None:
        self.stored = layer.track_running_stats
        super().__init__(place, dim=2, eps=layer.eps)
        self.momentum, self.tracked = float(layer.momentum or 0.0), layer.track_running_stats
        self.from_batch = place.training or not self.tracked
        if self.tracked:
            self.count = place.buffers["num_batches_tracked"]
            self.running = [place.buffers[name].unsqueeze(2) for name in ("running_mean", "running_var")]
            batch = self.x.shape[2]
            self.unbias = batch / max(batch - 1, 1)
            self.updates = place.training

    def _backward_x(self, grad_x: Tensor, product: Tensor) -> None:
        """Sums over the batch are the gradients of weight and bias, where there are these."""
        if self.weight is None or self.grad_weight is None or self.grad_bias is None:
            super()._backward_x(grad_x, product)
            return
        torch.mul(self.hat, self.grad_weight.unsqueeze(2) * self.share, out=product)
        product.add_(self.grad_bias.unsqueeze(2) * self.share)
        torch.sub(self.grad, product, out=grad_x).mul_(self.inverse * self.weight)

    def forward(self) -> None:
        if self.from_batch:
            super().forward()
        else:
            mean, variance = self.running
            torch.add(variance, self.eps, out=self.inverse).rsqrt_()
            self._scale(torch.sub(self.x, mean, out=self.out).mul_(self.inverse))
        if self.tracked and self.updates:
            mean, variance = self.running
            mean.lerp_(self.mean, self.momentum)
            variance.lerp_(self.variance.mul_(self.unbias), self.momentum)
            self.count.add_(1)


def _channels(param: Tensor | None) -> Tensor | None:  # (m, C) -> (m, C, 1)
    return param.unsqueeze(2) if param is not None else None


def eps_of(layer: Any, like: Tensor) -> float:
    """The constant under the root; RMSNorm's default is the precision itself."""
    return float(torch.finfo(like.dtype).eps if layer.eps is None else layer.eps)
