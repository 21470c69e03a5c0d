"""Losses of M models at once: each model's mean over its batch."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.train.packed.memory import LANES, columns_first

StackedLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Answers (M, B, outputs), target (M, B) or (M, B, outputs), label smoothing (M, 1) or None -> (M,)."""


def loss_of(loss: nn.Module) -> StackedLoss:
    """The stacked form of a torch loss.

    Raises:
        NotPackable: there is none for its class, or not with these settings.
    """
    kind = type(loss)
    if kind not in LOSSES:
        raise NotPackable(f"`{kind.__name__}` has no stacked form")
    if getattr(loss, "reduction", None) != "mean":
        raise NotPackable(f"`{kind.__name__}` must have the reduction `mean`")
    return LOSSES[kind](loss)


def _of_classes(loss: nn.Module) -> StackedLoss:
    assert isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss)
    if loss.ignore_index >= 0:
        raise NotPackable("`ignore_index` is a class")
    weight, logits = loss.weight, isinstance(loss, nn.CrossEntropyLoss)

    def run(answers: Tensor, target: Tensor, smoothing: Tensor | None) -> Tensor:
        columns = columns_first(answers)  # (M, C, B)
        log = columns.log_softmax(1) if logits else columns
        costs = -log.gather(1, target.unsqueeze(1)).squeeze(1)  # (M, B)
        share = 1.0 if weight is None else weight[target]
        costs = costs * share
        if smoothing is not None:
            all_classes = -(log if weight is None else log * weight[:, None]).sum(1)
            costs = (1 - smoothing) * costs + smoothing / log.shape[1] * all_classes
        return costs.mean(1) if isinstance(share, float) else costs.sum(1) / share.sum(1)

    return run


def _of_numbers(loss: nn.Module) -> StackedLoss:
    """An elementwise loss; padded to whole vectors, as `whole_vectors` says."""
    cost = _unreduced(loss)
    row_weights = getattr(loss, "weight", None), getattr(loss, "pos_weight", None)
    if any(weight is not None and weight.numel() > 1 for weight in row_weights):
        raise NotPackable("a weight for each row of a batch")

    def run(answers: Tensor, target: Tensor, smoothing: Tensor | None) -> Tensor:
        missing = -answers.numel() % LANES
        padded = (F.pad(tensor.reshape(-1), (0, missing)) for tensor in (answers, target))
        return cost(*padded)[: answers.numel()].view(len(answers), -1).mean(1)

    return run


def _unreduced(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    if isinstance(loss, nn.BCEWithLogitsLoss):
        weight, positive = loss.weight, loss.pos_weight
        return lambda x, y: F.binary_cross_entropy_with_logits(x, y, weight, reduction="none", pos_weight=positive)
    if isinstance(loss, nn.SmoothL1Loss):
        return lambda x, y: F.smooth_l1_loss(x, y, reduction="none", beta=loss.beta)
    if isinstance(loss, nn.HuberLoss):
        return lambda x, y: F.huber_loss(x, y, reduction="none", delta=loss.delta)
    if isinstance(loss, nn.L1Loss):
        return lambda x, y: F.l1_loss(x, y, reduction="none")
    return lambda x, y: F.mse_loss(x, y, reduction="none")


LOSSES: Mapping[type[nn.Module], Callable[[nn.Module], StackedLoss]] = {
    nn.CrossEntropyLoss: _of_classes,
    nn.NLLLoss: _of_classes,
    nn.BCEWithLogitsLoss: _of_numbers,
    nn.MSELoss: _of_numbers,
    nn.L1Loss: _of_numbers,
    nn.SmoothL1Loss: _of_numbers,
    nn.HuberLoss: _of_numbers,
}


def smoothing_of(loss: nn.Module) -> float:
    """A loss's label smoothing, which may differ within a pack."""
    return float(getattr(loss, "label_smoothing", 0.0))


def text_of(loss: nn.Module) -> str:
    """The same for losses that one pack may hold: class and arguments, label smoothing aside."""
    settings = {key: value for key, value in vars(loss).items() if not key.startswith("_") and key != "label_smoothing"}
    weights = {name: buffer.tolist() for name, buffer in loss.named_buffers()}
    return f"{type(loss).__name__} {settings} {weights}"


def penalties(params: Tensor, l1: Tensor, l2: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """`l1 * sum |w| + l2 * sum w**2` of each model, (M,), and its gradient.

    Args:
        params: (M, P).
        l1: (M, 1).
        l2: (M, 1).
        where: 1 for numbers that have a penalty, (P,).
    """
    weights = params * where
    value = (l1 * weights.abs()).sum(1) + (l2 * weights * weights).sum(1)
    return value, torch.sign(weights) * l1 + weights * (2 * l2)
