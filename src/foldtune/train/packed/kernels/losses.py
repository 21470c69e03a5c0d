"""Losses of m models at once: each model's mean over its batch, and its gradient."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.buffers import LANES, Buffer, numbers_like

Link = Callable[[Tensor], Tensor]
"""From a net's answers (..., outputs) to what a loss reads."""


class LossKernel(Protocol):
    """Bound to answers, target and the place of their gradient."""

    def __call__(self) -> Tensor:
        """Each model's loss, (m,); the gradient of their sum is written."""


BindLoss = Callable[[Buffer, Tensor, Buffer, Tensor], LossKernel]
"""Answers (m, B, outputs), target (m, B) or (m, B, outputs), gradient, label smoothing (m, 1) -> kernel."""


class CrossEntropy:
    """`torch.nn.CrossEntropyLoss`: softmax against a distribution q, with the gradient (softmax * sum q - q) / n."""

    def __init__(
        self, answers: Buffer, target: Tensor, grad: Buffer, smoothing: Tensor, *, weight: Tensor | None
    ) -> None:
        self.x, self.grad = answers.cols, grad.cols  # (m, C, B)
        self.target, (models, classes, batch) = target.unsqueeze(1), self.x.shape
        self.q, self.costs = torch.zeros_like(self.grad), torch.zeros_like(self.grad)
        everywhere = (smoothing / classes).unsqueeze(2).expand(models, classes, 1)
        self.floor = (everywhere if weight is None else everywhere * weight[:, None]).expand_as(self.q)
        self.hit = (1 - smoothing).unsqueeze(2).expand(models, 1, batch).contiguous()  # (m, 1, B)
        self.weight = None if weight is None else weight.to(self.q.dtype)
        (self.share,) = numbers_like(self.q, 1 / batch)

    def __call__(self) -> Tensor:
        log = torch.log_softmax(self.x, 1)
        weights = None if self.weight is None else self.weight[self.target]  # (m, 1, B)
        self.q.copy_(self.floor)
        self.q.scatter_add_(1, self.target, self.hit if weights is None else self.hit * weights)
        share = self.share if weights is None else weights.sum(2, keepdim=True).reciprocal_()
        losses = torch.mul(self.q, log, out=self.costs).sum((1, 2), keepdim=True).mul_(share).neg_()
        softmax = log.exp_() if weights is None else log.exp_().mul_(self.q.sum(1, keepdim=True))
        torch.sub(softmax, self.q, out=self.grad).mul_(share)
        return losses.view(-1)


class Differentiated:
    """Any stacked loss, by autograd."""

    def __init__(
        self, answers: Buffer, target: Tensor, grad: Buffer, cost: Callable[[Tensor, Tensor], Tensor], link: Link
    ) -> None:
        self.answers, self.target, self.grad, self.cost, self.link = answers.rows, target, grad.rows, cost, link

    def __call__(self) -> Tensor:
        with torch.enable_grad():
            leaf = self.answers.detach().requires_grad_()
            losses = self.cost(self.link(leaf), self.target)
            (found,) = torch.autograd.grad(losses.sum(), leaf)
        self.grad.copy_(found)
        return losses.detach()


def loss_of(loss: nn.Module, link: Link) -> BindLoss:
    """The stacked form of a torch loss.

    Raises:
        NotPackable: there is none for its class, or not with these settings.
    """
    if getattr(loss, "reduction", None) != "mean" or type(loss) not in (*COSTS, nn.CrossEntropyLoss):
        raise NotPackable(f"`{type(loss).__name__}` has no stacked form, or not with its `reduction`")
    if getattr(loss, "ignore_index", -1) >= 0:
        raise NotPackable("`ignore_index` is a class")
    if isinstance(loss, nn.CrossEntropyLoss):
        weight = loss.weight
        return lambda answers, target, grad, smoothing: CrossEntropy(answers, target, grad, smoothing, weight=weight)
    cost = COSTS[type(loss)](loss)
    return lambda answers, target, grad, smoothing: Differentiated(answers, target, grad, cost, link)


def _nll(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    assert isinstance(loss, nn.NLLLoss)
    weight = loss.weight

    def run(log: Tensor, target: Tensor) -> Tensor:
        costs = -log.gather(2, target.unsqueeze(2)).squeeze(2)
        return costs.mean(1) if weight is None else (costs * weight[target]).sum(1) / weight[target].sum(1)

    return run


def _multi_margin(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Each row's margins to its own class, as `torch.nn.MultiMarginLoss` defines them."""
    assert isinstance(loss, nn.MultiMarginLoss)
    weight, margin, power = loss.weight, loss.margin, loss.p

    def run(x: Tensor, target: Tensor) -> Tensor:
        codes = target.unsqueeze(2)
        short = (margin - x.gather(2, codes) + x).clamp(min=0) ** power
        if weight is not None:
            short = short * weight[codes]
        return short.scatter(2, codes, 0.0).sum(2).mean(1) / x.shape[2]

    return run


def _of_numbers(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """An elementwise loss; padded to whole vectors, as `foldtune.train.packed.buffers` says."""
    cost = _unreduced(loss)
    row_weights = getattr(loss, "weight", None), getattr(loss, "pos_weight", None)
    if any(weight is not None and weight.numel() > 1 for weight in row_weights):
        raise NotPackable("a weight for each label, or for each row of a batch")

    def run(answers: Tensor, target: Tensor) -> Tensor:
        missing = -answers.numel() % LANES
        padded = (F.pad(tensor.reshape(-1), (0, missing)) for tensor in (answers, target))
        return cost(*padded)[: answers.numel()].view(len(answers), -1).mean(1)

    return run


def _unreduced(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    if isinstance(loss, nn.BCEWithLogitsLoss):
        weight, positive = loss.weight, loss.pos_weight
        return lambda x, y: F.binary_cross_entropy_with_logits(x, y, weight, reduction="none", pos_weight=positive)
    if isinstance(loss, nn.BCELoss):
        return lambda x, y: F.binary_cross_entropy(x, y, loss.weight, reduction="none")
    if isinstance(loss, nn.SmoothL1Loss):
        return lambda x, y: F.smooth_l1_loss(x, y, reduction="none", beta=loss.beta)
    if isinstance(loss, nn.HuberLoss):
        return lambda x, y: F.huber_loss(x, y, reduction="none", delta=loss.delta)
    if isinstance(loss, nn.L1Loss):
        return lambda x, y: F.l1_loss(x, y, reduction="none")
    return lambda x, y: F.mse_loss(x, y, reduction="none")


COSTS: Mapping[type[nn.Module], Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]]] = {
    nn.NLLLoss: _nll,
    nn.MultiMarginLoss: _multi_margin,
    nn.BCEWithLogitsLoss: _of_numbers,
    nn.BCELoss: _of_numbers,
    nn.MSELoss: _of_numbers,
    nn.L1Loss: _of_numbers,
    nn.SmoothL1Loss: _of_numbers,
    nn.HuberLoss: _of_numbers,
}


def smoothing_of(loss: nn.Module) -> float:
    """A loss's label smoothing, which may differ within a pack."""
    return float(getattr(loss, "label_smoothing", 0.0))


def text_of(loss: nn.Module) -> str:
    """The same for losses that one kernel can compute: class and arguments, label smoothing aside."""
    settings = {key: value for key, value in vars(loss).items() if not key.startswith("_") and key != "label_smoothing"}
    weights = {name: buffer.tolist() for name, buffer in loss.named_buffers()}
    return f"{type(loss).__name__} {settings} {weights}"
