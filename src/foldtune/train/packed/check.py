"""The equivalence check: a net enters the packed engine only if its stacked form trains as the net itself does."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD

from foldtune import seeds
from foldtune.errors import NotPackable
from foldtune.models.builder import build_model
from foldtune.spec.schema import ConfigSpec
from foldtune.train.losses import Head, build_loss, make_head
from foldtune.train.packed.kernels.losses import loss_of, smoothing_of
from foldtune.train.packed.lowering import lower
from foldtune.train.packed.program import Program
from foldtune.train.packed.rules import RULES
from foldtune.train.packed.schedule import JobSchedule
from foldtune.train.packed.store import Store, state_of
from foldtune.train.packed.tape import Group, Tape
from foldtune.train.packed.update import Update
from foldtune.values import DataShape, Task

Batch = tuple[list[Tensor], Tensor]
"""Inputs and target."""

M, STEPS, ROWS = 2, 3, 6
TOLERANCE = 1e-8
"""In float64 a right stacked form is exact to rounding, 1e-12 and better; a wrong one is off by 1e-3 and more."""

_GENTLE = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "dampening": 0.0, "nesterov": 0.0}
"""Linear in the gradients: Adam and RMSprop would blow up the rounding noise of gradients that are zero in theory."""


def is_packable(config: ConfigSpec, shape: DataShape, task: Task) -> str | None:
    """Why the packed engine cannot train a configuration; None when it can.

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
        shape = DataShape(shape.features, shape.cardinalities, head.outputs)
        return difference(config, shape, head, lower(build_model(config.model.node, shape), shape))
    except NotPackable as reason:
        return str(reason)


def difference(config: ConfigSpec, shape: DataShape, head: Head, programs: tuple[Program, Program]) -> str | None:
    """Train two nets for three steps in float64, stacked and as they are, without dropout; how they differ, or None.

    Args:
        config: the configuration; its optimizer plays no part, for update rules have laws of their own.
        shape: the data's, with the net's answers as `outputs`.
        head: how the loss meets the net.
        programs: the net's, in training and outside of it.

    Raises:
        NotPackable: the loss has no stacked form.
    """
    with seeds.torch_seeded(0, "equivalence"):
        nets = [build_model(config.model.node, shape) for _ in range(M)]
        batches = [_batch(shape, head) for _ in range(STEPS)]
    loss = build_loss(config.loss.node)
    try:
        found = _stacked(nets, loss, programs, head, batches)
        expected = _plain([_undropped(net).double() for net in nets], loss.double(), head, batches)
        independent = _rows_are_independent(nets[0], batches[0][0])
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        return f"its stacked form does not run: {type(error).__name__}: {error}"
    for name, value in expected.items():
        gap = float((found[name] - value).abs().max()) if value.numel() else 0.0
        if not gap <= TOLERANCE:
            return f"its stacked form is not the net itself: {name} is off by {gap:.1e} after {STEPS} steps"
    return None if independent else "its answers depend on the rows beside a row"


def _stacked(
    nets: Sequence[nn.Module],
    loss: nn.Module,
    programs: tuple[Program, Program],
    head: Head,
    batches: Sequence[Batch],
) -> dict[str, Tensor]:
    training, answering = programs
    store = Store([state_of(nets, torch.float64, "cpu")])
    like = torch.empty(0, dtype=torch.float64)
    tape = Tape([Group(training, 0, M)], store, ROWS, like, training=True, rates=_no_dropout(training))
    tape.start_epoch([(0,)] * M, [1] * M)
    (span,) = tape.answers()
    assert span.grad is not None
    target, smoothing = batches[0][1].clone(), torch.full((M, 1), smoothing_of(loss), dtype=torch.float64)
    kernel = loss_of(loss.double(), head.link)(span.value, target, span.grad, smoothing)
    update, losses = Update(store, 0, M, RULES[SGD]), []
    with torch.no_grad():
        for step, batch in enumerate(batches, 1):
            _load(tape, batch[0])
            target.copy_(batch[1])
            tape.forward()
            losses.append(kernel())
            tape.backward()
            update({**_GENTLE, "t": float(step)})
        tape = Tape([Group(answering, 0, M)], store, ROWS, like, training=False)
        _load(tape, batches[0][0])
        tape.forward()
    state = store.take(0, M)
    answers = tape.answers()[0].value.rows
    return {"the loss": torch.stack(losses), "the answer": answers, **state.params, **state.buffers}


def _load(tape: Tape, inputs: Sequence[Tensor]) -> None:
    places = dict(tape.inputs())
    for name, values in zip(("numeric", "codes"), inputs, strict=False):
        if name in places:
            places[name].value.rows.copy_(values)


def _no_dropout(program: Program) -> dict[str, Tensor]:
    return {op.name: torch.zeros(M, dtype=torch.float64) for op in program.ops if op.dropout is not None}


def _plain(nets: Sequence[nn.Module], loss: nn.Module, head: Head, batches: Sequence[Batch]) -> dict[str, Tensor]:
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


def _rows_are_independent(net: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Whether answers after training are the same in a smaller batch: those of the packed engine may be padded."""
    with torch.no_grad():
        whole, part = (net.eval()(*(values[0, :count] for values in inputs)) for count in (ROWS, ROWS // 2))
    return bool((whole[: len(part)] - part).abs().max() <= TOLERANCE)


def _batch(shape: DataShape, head: Head) -> Batch:
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
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return net
