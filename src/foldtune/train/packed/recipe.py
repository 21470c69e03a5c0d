"""What the models of a pack share, and one training step of them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foldtune.train.losses import Head
from foldtune.train.packed.frame import Frame
from foldtune.train.packed.losses import StackedLoss, loss_of, penalties, text_of
from foldtune.train.packed.masks import Masks
from foldtune.train.packed.program import Program, lower
from foldtune.train.packed.rules import Factors, Rule
from foldtune.train.packed.stack import Layout, Stack, Trainable, layout_of


@dataclass(frozen=True)
class Recipe:
    """A net and a loss on stacked tensors.

    Args:
        layout: where parameters lie.
        training: forward pass in training.
        answering: forward pass in evaluation.
        loss: each model's mean loss.
        link: from answers to what the loss reads.
        text: equal for nets and losses that can share a pack.
    """

    layout: Layout
    training: Program
    answering: Program
    loss: StackedLoss
    link: Callable[[Tensor], Tensor]
    text: str


@dataclass(frozen=True)
class RowSettings:
    """What may differ between the models of a pack, (M, 1) each; None where no model has any.

    Args:
        smoothing: label smoothing.
        l1: strength of that penalty.
        l2: strength of that penalty.
        clip_value: largest absolute gradient; infinity for none.
        clip_norm: largest norm of a model's gradient; infinity for none.
    """

    smoothing: Tensor | None = None
    l1: Tensor | None = None
    l2: Tensor | None = None
    clip_value: Tensor | None = None
    clip_norm: Tensor | None = None


@dataclass(frozen=True)
class Update:
    """One optimizer class and the rows, side by side, which it trains."""

    rule: Rule
    rows: slice
    factors: Factors


def recipe_of(net: nn.Module, loss: nn.Module, head: Head, *, n_inputs: int) -> Recipe:
    """Lower a net and a loss.

    Raises:
        NotPackable: one of them cannot be.
    """
    layout, stacked = layout_of(net), loss_of(loss)
    training, answering = (lower(net, n_inputs=n_inputs, training=training) for training in (True, False))
    shapes = f"{dict(layout.shapes)} {[(name, tuple(buffer.shape)) for name, buffer in net.named_buffers()]}"
    text = "\n".join([training.text, answering.text, shapes, text_of(loss)])
    return Recipe(layout, training, answering, stacked, head.link, text)


def train_step(
    recipe: Recipe,
    stack: Stack,
    leaves: Trainable,
    batch: tuple[Sequence[Tensor], Tensor],  # inputs (M, B, ...), target (M, B) or (M, B, outputs)
    *,
    masks: Masks,
    settings: RowSettings,
    updates: Sequence[Update],
) -> Tensor:  # (M,)
    """Train every model on its batch, in place; each one's loss, penalties included."""
    inputs, target = batch
    direct = {name: view for name, view in leaves.views.items() if name in recipe.training.direct}
    answers = recipe.training(Frame(leaves.params, stack.buffers, masks, direct), inputs)
    losses = recipe.loss(recipe.link(answers), target, settings.smoothing)
    _gradients_(losses, leaves)
    grads = leaves.grads
    with torch.no_grad():
        losses = losses.detach() + _regularize_(stack.flat, grads, settings, recipe.layout.penalised)
        for update in updates:
            params, gradient, first, second = (part[update.rows] for part in (stack.flat, grads, *stack.moments))
            update.rule.update_(params, gradient, first, second, update.factors)
    return losses


def _gradients_(losses: Tensor, leaves: Trainable) -> None:
    """Fill `leaves.grads`; layers put some in themselves, and give none here."""
    found = torch.autograd.grad(losses.sum(), list(leaves.params.values()), allow_unused=True)
    for view, grad in zip(leaves.views.values(), found, strict=True):
        if grad is not None:
            view.copy_(grad)


def _regularize_(params: Tensor, grads: Tensor, settings: RowSettings, where: Tensor) -> Tensor | float:
    """As `foldtune.train.regularize`: penalties, then clipping by value, then by norm."""
    penalty: Tensor | float = 0.0
    if settings.l1 is not None and settings.l2 is not None:
        penalty, gradient = penalties(params, settings.l1, settings.l2, where)
        grads.add_(gradient)
    if settings.clip_value is not None:
        grads.copy_(torch.minimum(torch.maximum(grads, -settings.clip_value), settings.clip_value))
    if settings.clip_norm is not None:
        norms = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
        grads.mul_((settings.clip_norm / (norms + 1e-6)).clamp(max=1.0))
    return penalty
