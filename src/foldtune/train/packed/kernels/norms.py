"""Norms of rows (m, B, C), in memory (m, C, B): batch norms reduce over B, the others over C."""

from typing import Any

import torch
from torch import Tensor, nn

from foldtune.train.packed.buffers import Pool, numbers_like
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

    def __init__(self, place: Place, *, dim: int, eps: float, center: bool = True) -> None:
        (source,) = place.inputs
        self.x, self.out, self.dim, self.center = source.cols, place.output.cols, dim, center
        self.weight, self.bias = (_channels(place.params.get(name)) for name in ("weight", "bias"))
        self.hat = source.like().cols if place.training else self.out
        self.scratch = source.like(Pool([place.shared])).cols
        few = self.x.sum(dim, keepdim=True)
        self.mean, self.variance, self.inverse = (torch.zeros_like(few) for _ in range(3))
        self.share, self.small = numbers_like(self.x, 1.0 / self.x.shape[dim], eps)
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
        torch.add(self.variance, self.small, out=self.inverse).rsqrt_()
        torch.mul(centred, self.inverse, out=self.hat)

    def _scale(self, hat: Tensor) -> None:
        if self.weight is None:
            self.out.copy_(hat)
        elif self.bias is None:
            torch.mul(hat, self.weight, out=self.out)
        else:
            torch.mul(hat, self.weight, out=self.out).add_(self.bias)


class BatchNorm:
    """`torch.nn.BatchNorm1d`: statistics of a model are its own.

    Source of the way back: Ioffe and Szegedy 2015, section 3, with as few passes over the batch as torch's functions
    allow. torch's own kernel would make new memory at each step, and what it gives would have to be copied.
    """

    def __init__(self, place: Place, layer: nn.modules.batchnorm._BatchNorm) -> None:
        (source,), self.training, tracked = place.inputs, place.training, layer.track_running_stats
        self.x, self.out = source.cols, place.output.cols
        self.weight, self.bias = (_channels(place.params.get(name)) for name in ("weight", "bias"))
        self.scratch = source.like(Pool([place.shared])).cols
        self.mean, self.variance, self.inverse, factor = (self.x.new_zeros(*self.x.shape[:2], 1) for _ in range(4))
        self.factor = self.inverse if self.weight is None else factor  # what the input without its mean is scaled with
        batch, self.momentum = self.x.shape[2], float(layer.momentum or 0.0)
        self.share, self.small, self.unbias = numbers_like(self.x, 1.0 / batch, layer.eps, batch / max(batch - 1, 1))
        (self.minus_share,) = numbers_like(self.x, -1.0 / batch)
        self.running = [place.buffers[name].unsqueeze(2) for name in ("running_mean", "running_var") if tracked]
        self.count = place.buffers["num_batches_tracked"] if tracked else None
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grad, self.grad_x = place.grad.cols, torch.empty_like(self.x) if grad_x is None else grad_x.cols
            own = (_channels(place.grads.get(name)) for name in ("weight", "bias"))
            self.grad_weight, self.grad_bias = (torch.zeros_like(self.mean) if grad is None else grad for grad in own)

    def forward(self) -> None:
        if self.running and not self.training:
            self._answer()
            return
        self._measure()
        if self.running:
            self._track()
        if self.weight is not None:
            torch.mul(self.inverse, self.weight, out=self.factor)
        self.out.mul_(self.factor)
        if self.bias is not None:
            self.out.add_(self.bias)

    def backward(self) -> None:
        centred = torch.sub(self.x, self.mean, out=self.scratch)
        torch.sum(torch.mul(self.grad, centred, out=self.grad_x), 2, keepdim=True, out=self.grad_weight)
        self.grad_weight.mul_(self.inverse)
        torch.sum(self.grad, 2, keepdim=True, out=self.grad_bias)
        slope = torch.mul(self.grad_weight, self.inverse, out=self.variance).mul_(self.minus_share)
        torch.addcmul(self.grad, centred, slope, out=self.grad_x)
        self.grad_x.sub_(torch.mul(self.grad_bias, self.share, out=self.mean)).mul_(self.factor)

    def _answer(self) -> None:
        """By what was tracked, as one factor and one shift."""
        mean, variance = self.running
        factor = torch.add(variance, self.small, out=self.factor).rsqrt_()
        if self.weight is not None:
            factor.mul_(self.weight)
        shift = torch.mul(mean, factor, out=self.mean).neg_()
        torch.mul(self.x, factor, out=self.out).add_(shift if self.bias is None else shift.add_(self.bias))

    def _measure(self) -> None:
        """Mean, variance and what is left without the mean. torch's own kernel takes three times as long for them."""
        torch.sum(self.x, 2, keepdim=True, out=self.mean).mul_(self.share)
        torch.sub(self.x, self.mean, out=self.out)
        torch.mul(self.out, self.out, out=self.scratch)
        torch.sum(self.scratch, 2, keepdim=True, out=self.variance).mul_(self.share)
        torch.add(self.variance, self.small, out=self.inverse).rsqrt_()

    def _track(self) -> None:
        mean, variance = self.running
        mean.lerp_(self.mean, self.momentum)
        variance.lerp_(self.variance.mul_(self.unbias), self.momentum)
        if self.count is not None:
            self.count.add_(1)


def _channels(param: Tensor | None) -> Tensor | None:  # (m, C) -> (m, C, 1)
    return param.unsqueeze(2) if param is not None else None


def eps_of(layer: Any, like: Tensor) -> float:
    """The constant under the root; RMSNorm's default is the precision itself."""
    return float(torch.finfo(like.dtype).eps if layer.eps is None else layer.eps)
