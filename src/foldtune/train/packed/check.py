"""The equivalence check: a net enters the packed engine only if its stacked form trains as the net itself does."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from foldtune import seeds
from foldtune.errors import NotPackable
from foldtune.models.builder import build_model
from foldtune.spec.schema import ConfigSpec
from foldtune.train.losses import Head, build_loss, make_head
from foldtune.train.packed.frame import Frame
from foldtune.train.packed.losses import smoothing_of
from foldtune.train.packed.masks import Masks
from foldtune.train.packed.program import dropout_rates
from foldtune.train.packed.recipe import RowSettings, Update, recipe_of, train_step
from foldtune.train.packed.rules import RULES
from foldtune.train.packed.schedule import JobSchedule
from foldtune.train.packed.stack import stack_of, trainable
from foldtune.values import DataShape, Task

M, STEPS, ROWS = 2, 3, 6
TOLERANCE = 1e-8
"""In float64 a right stacked form is exact to rounding, 1e-12 and better; a wrong one is off by 1e-3 and more."""

_GENTLE = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "dampening": 0.0, "nesterov": 0.0}
"""Linear in the gradients: Adam and RMSprop would blow up the rounding noise of gradients that are zero in theory."""


def is_packable(config: ConfigSpec, shape: DataShape, task: Task) -> str | None:
    """Why the packed engine cannot train a configuration; None when it can.

    Its folds must train on equal numbers of rows, too, but for one row.

    Args:
        config: the configuration.
        shape: the data's, with the number of classes or of target columns as `outputs`.
        task: what the target asks for.

    Raises:
        SpecError: a name is unknown, or a class refuses its arguments.
    """
    head = make_head(config.loss.node, task, shape.outputs)
    try:
        JobSchedule(config, folds=1, steps=1, direction="minimize")
        return difference(config, DataShape(shape.features, shape.cardinalities, head.outputs), head)
    except NotPackable as reason:
        return str(reason)


def difference(config: ConfigSpec, shape: DataShape, head: Head) -> str | None:
    """Train two nets for three steps in float64, stacked and as they are, without dropout; how they differ, or None.

    Args:
        config: the configuration; its optimizer plays no part, for update rules have laws of their own.
        shape: the data's, with the net's answers as `outputs`.
        head: how the loss meets the net.

    Raises:
        NotPackable: there is no stacked form.
    """
    with seeds.torch_seeded(0, "equivalence"):
        nets = [_undropped(build_model(config.model.node, shape)) for _ in range(M)]
        batches = [_batch(shape, head) for _ in range(STEPS)]
    loss = build_loss(config.loss.node)
    try:
        found = _stacked(nets, loss, head, batches)
        expected = _plain([net.double() for net in nets], loss.double(), head, batches)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        return f"its stacked form does not run: {type(error).__name__}: {error}"
    for name, value in expected.items():
        gap = float((found[name] - value).abs().max()) if value.numel() else 0.0
        if not gap <= TOLERANCE:
            return f"its stacked form is not the net itself: {name} is off by {gap:.1e} after {STEPS} steps"
    return None


def _stacked(
    nets: Sequence[nn.Module], loss: nn.Module, head: Head, batches: Sequence[tuple[list[Tensor], Tensor]]
) -> dict[str, Tensor]:
    recipe = recipe_of(nets[0], loss.double(), head, n_inputs=len(batches[0][0]))
    stack = stack_of(nets, recipe.layout, torch.float64, "cpu")
    leaves = trainable(stack, recipe.layout)
    settings = RowSettings(smoothing=torch.full((M, 1), smoothing_of(loss), dtype=torch.float64))
    rates = {name: torch.zeros(M, dtype=torch.float64) for name in dropout_rates(nets[0])}
    masks = Masks([(0,)] * M, [1] * M, rates, "cpu")
    losses = []
    for step, batch in enumerate(batches, 1):
        values = {**_GENTLE, "t": float(step)}
        factors = RULES[SGD].factors({name: np.full((1, M), value) for name, value in values.items()})
        tensors = {name: torch.from_numpy(value[0])[:, None] for name, value in factors.items()}
        update = Update(RULES[SGD], slice(0, M), tensors)
        losses.append(train_step(recipe, stack, leaves, batch, masks=masks, settings=settings, updates=[update]))
    with torch.no_grad():
        params = recipe.layout.views(stack.flat)
        answers = recipe.answering(Frame(params, stack.buffers, None), batches[0][0])
    return {
        "the loss": torch.stack(losses),
        "the answer": answers,
        **{name: param.detach() for name, param in params.items()},
        **stack.buffers,
    }


def _plain(
    nets: Sequence[nn.Module], loss: nn.Module, head: Head, batches: Sequence[tuple[list[Tensor], Tensor]]
) -> dict[str, Tensor]:
    optimizers = [SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1) for net in nets]
    losses = torch.zeros(STEPS, M, dtype=torch.float64)
    for step, (inputs, target) in enumerate(batches):
        for row, (net, optimizer) in enumerate(zip(nets, optimizers, strict=True)):
            optimizer.zero_grad()
            value = loss(head.link(net.train()(*(part[row] for part in inputs))), target[row])
            value.backward()
            optimizer.step()
            losses[step, row] = value.detach()
    with torch.no_grad():
        first = batches[0][0]
        answers = torch.stack([net.eval()(*(part[row] for part in first)) for row, net in enumerate(nets)])
    states = [net.state_dict() for net in nets]
    return {
        "the loss": losses,
        "the answer": answers,
        **{name: torch.stack([state[name] for state in states]) for name in states[0]},
    }


def _batch(shape: DataShape, head: Head) -> tuple[list[Tensor], Tensor]:
    inputs = [torch.randn(M, ROWS, *shape.features, dtype=torch.float64)]
    if shape.cardinalities:
        inputs.append(torch.stack([torch.randint(size, (M, ROWS)) for size in shape.cardinalities], dim=2))
    if head.codes:
        return inputs, torch.randint(shape.outputs, (M, ROWS))
    return inputs, torch.rand(M, ROWS, shape.outputs, dtype=torch.float64).round(decimals=0)


def _undropped(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if type(module) is nn.Dropout:
            module.p = 0.0
    return net
