"""The lockstep engine against a training loop as PyTorch's tutorials write it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foldtune import seeds
from foldtune.data.preprocess import fit_folds
from foldtune.models import MLP
from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import (
    EPOCHS,
    folds_apart,
    make_config,
    make_job,
    make_setup,
    train,
)
from foldtune.train.engine import TrainingSetup
from foldtune.train.lockstep import LockstepEngine, LockstepRun
from foldtune.values import Config, Job, Task


def hand_written(
    setup: TrainingSetup,
    job: Job,
    fold: int,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    outputs: int,
    column: bool,
    optimizer: Callable[[Any], torch.optim.Optimizer],
    clip: Callable[[Any], object] = lambda parameters: None,
    penalty: Callable[[nn.Module], Tensor | float] = lambda net: 0.0,
) -> Iterator[tuple[float, nn.Module]]:
    """Mean loss and net after each epoch of one fold."""
    data = fit_folds(setup.dataset, ConfigSpec.model_validate(job.config).preprocessing, job.folds, seed=setup.seed)
    x, y = torch.from_numpy(data[fold].numeric), torch.from_numpy(data[fold].target)
    y = y.float().reshape(len(y), -1) if column else y
    rows = torch.from_numpy(job.folds[fold].train)
    least = min(len(other.train) for other in job.folds)
    key = (setup.seed, job.trial, job.repeat, fold)
    torch.manual_seed(seeds.derive(*key, "init"))
    net = MLP(x.shape[1], outputs, n_blocks=1, d_block=8)
    steps = optimizer(net.parameters())
    for epoch in range(1, EPOCHS + 1):
        shuffled = rows[torch.randperm(len(rows), generator=seeds.generator(*key, "shuffle", epoch))][:least]
        total = 0.0
        for batch in torch.split(shuffled, 8):
            steps.zero_grad()
            value = loss(net(x[batch]), y[batch]) + penalty(net)
            value.backward()  # type: ignore[no-untyped-call]
            clip(net.parameters())
            steps.step()
            total += value.item() * len(batch)
        yield total / least, net


def clip_norm(parameters: Any) -> object:
    return nn.utils.clip_grad_norm_(parameters, 0.5)


def clip_value(parameters: Any) -> object:
    return nn.utils.clip_grad_value_(parameters, 0.05)


def bce_on_probabilities(answers: Tensor, target: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy(answers.sigmoid(), target)


def penalties(net: nn.Module) -> Tensor:
    weights = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    return sum((0.01 * w.abs().sum() + 0.02 * w.square().sum() for w in weights), start=torch.zeros(()))


def searched(net: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Losses of a net that LBFGS trains on all rows, its penalties in the loss."""
    optimizer = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe", max_iter=4)

    def closure() -> float:
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(net(x), y) + penalties(net)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    return [optimizer.step(closure) for _ in range(EPOCHS)]  # type: ignore[no-untyped-call]


LOSSES: dict[str, tuple[dict[str, Any], Task, int, int, Callable[[Tensor, Tensor], Tensor]]] = {
    "cross-entropy": ({"use": "CrossEntropyLoss"}, "classification", 3, 3, nn.CrossEntropyLoss()),
    "smoothed, weighted": (
        {"use": "CrossEntropyLoss", "label_smoothing": 0.1, "weight": [1, 2, 0.5]},
        *("classification", 3, 3, nn.CrossEntropyLoss(torch.tensor([1, 2, 0.5]), label_smoothing=0.1)),
    ),
    "logits": (
        {"use": "BCEWithLogitsLoss", "pos_weight": [3.0]},
        *("classification", 2, 1, nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))),
    ),
    "probabilities": ({"use": "BCELoss"}, "classification", 2, 1, bce_on_probabilities),
    "squared": ({"use": "MSELoss"}, "regression", 1, 1, nn.MSELoss()),
    "huber, two targets": ({"use": "HuberLoss", "delta": 0.5}, "regression", 2, 2, nn.HuberLoss(delta=0.5)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_equals_a_hand_written_loop(name: str) -> None:
    loss, task, targets, outputs, function = LOSSES[name]
    setup = make_setup(task, outputs=targets)
    config = make_config(task, loss=loss, optimizer={"use": "SGD", "lr": 0.05, "momentum": 0.9})
    for fold, hand in _folds(
        setup, config, loss=function, outputs=outputs, column=outputs == targets - 1 or task == "regression"
    ):
        _assert_bitwise(fold, hand)


OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": ({"use": "SGD", "lr": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1, fused=True)),
    "adam": ({"use": "Adam", "lr": 0.01}, lambda p: torch.optim.Adam(p, lr=0.01, fused=True)),
    "adamw": (
        {"use": "AdamW", "lr": 0.01, "weight_decay": 0.1, "fused": False},
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ),
    "rmsprop": ({"use": "RMSprop", "lr": 0.01}, lambda p: torch.optim.RMSprop(p, lr=0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_torchs_own(name: str) -> None:
    node, optimizer = OPTIMIZERS[name]
    for fold, hand in _folds(make_setup(), make_config(optimizer=node), optimizer=optimizer):
        _assert_bitwise(fold, hand)


@pytest.mark.parametrize(
    ("rule", "clip"),
    [({"clip_norm": 0.5}, clip_norm), ({"clip_value": 0.05}, clip_value)],
    ids=["norm", "value"],
)
def test_clipping_equals_torchs(rule: dict[str, float], clip: Callable[[Any], object]) -> None:
    for fold, hand in _folds(make_setup(), make_config(regularization=rule), clip=clip):
        _assert_bitwise(fold, hand)


def test_value_is_clipped_before_norm() -> None:
    config = make_config(regularization={"clip_norm": 0.1, "clip_value": 0.05})

    def clip(parameters: Any) -> None:
        parameters = list(parameters)
        nn.utils.clip_grad_value_(parameters, 0.05)
        nn.utils.clip_grad_norm_(parameters, 0.1)

    for fold, hand in _folds(make_setup(), config, clip=clip):
        _assert_bitwise(fold, hand)


def test_penalties_equal_autograd() -> None:
    config = make_config(regularization={"l1": 0.01, "l2": 0.02})
    for fold, hand in _folds(make_setup(), config, penalty=penalties):
        for (mine, mine_net), (other, other_net) in zip(fold, hand, strict=True):
            assert mine == pytest.approx(other, rel=1e-5)  # the penalty's gradient is added after, not summed with
            for left, right in zip(mine_net.parameters(), other_net.parameters(), strict=True):
                torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_a_line_search_sees_the_penalty() -> None:
    optimizer = {"use": "LBFGS", "line_search_fn": "strong_wolfe", "max_iter": 4}
    rule, whole_batch = {"l1": 0.01, "l2": 0.02}, {"epochs": EPOCHS, "batch_size": 64}
    config, folds = make_config(optimizer=optimizer, regularization=rule, training=whole_batch), folds_apart()
    run = LockstepEngine(make_setup()).start([make_job(config, folds=folds)])
    losses = np.stack([run.step()[0].losses for _ in range(EPOCHS)])
    data = fit_folds(make_setup().dataset, ConfigSpec.model_validate(config).preprocessing, folds)
    for fold, rows in enumerate(fold.train for fold in folds):
        with seeds.torch_seeded(0, 0, 0, fold, "init"):
            net = MLP(4, 3, n_blocks=1, d_block=8)
        by_hand = searched(net, torch.from_numpy(data[fold].numeric[rows]), torch.from_numpy(data[fold].target[rows]))
        assert losses[:, fold].tolist() == pytest.approx(by_hand, rel=1e-3)  # rows in another order


@pytest.mark.parametrize("fused", [True, False])
def test_fused_optimizers_agree_with_the_others_to_rounding(fused: bool) -> None:
    node = {"use": "AdamW", "lr": 0.01}
    default = train(_run(make_config(optimizer=node)), 0)
    other = train(_run(make_config(optimizer={**node, "fused": fused})), 0)
    for one, two in zip(default.reports, other.reports, strict=True):
        np.testing.assert_allclose(one.losses, two.losses, rtol=0 if fused else 1e-4)  # another order of operations


def _run(config: Config) -> LockstepRun:
    return LockstepEngine(make_setup()).start([make_job(config)])


def _folds(
    setup: TrainingSetup, config: Config, **by_hand: Any
) -> Iterator[tuple[list[tuple[float, nn.Module]], list[tuple[float, nn.Module]]]]:
    """For each fold its losses and last net by the engine, and by hand."""
    settings = {
        "loss": nn.CrossEntropyLoss(),
        "outputs": 3,
        "column": False,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, fused=True),
        **by_hand,
    }
    job = make_job(config, 4, repeat=1)
    run = LockstepEngine(setup).start([job])
    reports = [run.step()[0] for _ in range(EPOCHS)]
    assert all(report.failure is None for report in reports), reports[0].failure
    for fold, trainer in enumerate(run.live[4].trainers):
        hand = list(hand_written(setup, job, fold, **settings))
        yield [(float(report.losses[fold]), trainer.model) for report in reports], hand


def _assert_bitwise(fold: list[tuple[float, nn.Module]], hand: list[tuple[float, nn.Module]]) -> None:
    for (mine, _), (other, _) in zip(fold, hand, strict=True):
        assert mine == pytest.approx(other, rel=1e-6)  # summed over batches in 32 bits, by hand in 64
    for left, right in zip(fold[-1][1].parameters(), hand[-1][1].parameters(), strict=True):
        assert torch.equal(left, right)
