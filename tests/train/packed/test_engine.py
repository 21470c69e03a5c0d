"""The packed engine against lockstep, and against itself in other company."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foldtune.testing.engine_laws import (
    EPOCHS,
    ROWS,
    Trained,
    assert_close_answers,
    assert_same,
    folds_apart,
    make_config,
    make_job,
    make_setup,
    saved,
    train,
)
from foldtune.train.engine import TrainingSetup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine
from foldtune.train.packed.engine import PackedRun
from foldtune.train.packed.kernels.linear import Linear
from foldtune.values import Config, EpochReport, Fold, Job, Task, TrialResult

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"use": "SGD", "lr": 0.1, "weight_decay": 0.01},
    "nesterov": {"use": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True},
    "dampened": {"use": "SGD", "lr": 0.1, "momentum": 0.8, "dampening": 0.3},
    "adam": {"use": "Adam", "lr": 0.01, "betas": [0.8, 0.95], "weight_decay": 0.1},
    "adamw": {"use": "AdamW", "lr": 0.01, "weight_decay": 0.1, "eps": 1e-6},
    "rmsprop": {"use": "RMSprop", "lr": 0.01, "momentum": 0.5, "weight_decay": 0.01},
}
PLAIN = {"use": "MLP", "n_blocks": 2, "d_block": 5}
NORMED = {**PLAIN, "norm": "BatchNorm1d", "dropout": 0.3}
NETS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "batch norm": {**PLAIN, "norm": "BatchNorm1d", "activation": "LeakyReLU"},
    "layer norm": {**PLAIN, "norm": "LayerNorm", "activation": "GELU"},
    "rms norm": {**PLAIN, "norm": "RMSNorm", "activation": "PReLU"},
    "group norm": {**PLAIN, "d_block": 6, "norm": {"use": "GroupNorm", "num_groups": 2}, "activation": "SiLU"},
    "residual": {"use": "TabularResNet", "n_blocks": 2, "d_block": 5, "activation": "Tanh"},
    "layers": {"use": "Sequential", "layers": ["Flatten", {"use": "Linear", "out_features": 7}, "Mish", "Linear"]},
    "own": {"use": f"{__name__}:Own"},
}
LOSSES: dict[str, tuple[Task, int, dict[str, Any]]] = {
    "cross-entropy": ("classification", 3, {"use": "CrossEntropyLoss", "label_smoothing": 0.1}),
    "weighted": ("classification", 3, {"use": "CrossEntropyLoss", "weight": [1, 2, 5], "label_smoothing": 0.2}),
    "nll": ("classification", 3, {"use": "NLLLoss", "weight": [1, 2, 5]}),
    "binary": ("classification", 2, {"use": "BCEWithLogitsLoss", "pos_weight": [3]}),
    "labels": ("multilabel", 3, {"use": "BCEWithLogitsLoss", "pos_weight": [3]}),
    "probabilities of labels": ("multilabel", 2, {"use": "BCELoss"}),
    "squares": ("regression", 2, {"use": "MSELoss"}),
    "absolute": ("regression", 1, {"use": "L1Loss"}),
    "smooth": ("regression", 2, {"use": "SmoothL1Loss", "beta": 0.5}),
    "huber": ("regression", 2, {"use": "HuberLoss", "delta": 0.7}),
}
UNLIKE: list[dict[str, Any]] = [
    {**PLAIN, "n_blocks": 1, "dropout": 0.2},
    {**PLAIN, "n_blocks": 3, "norm": "LayerNorm"},
    {**PLAIN, "n_blocks": 3, "norm": "BatchNorm1d", "activation": "GELU"},
    {**PLAIN, "n_blocks": 2, "norm": "BatchNorm1d", "activation": "Tanh", "dropout": 0.3},
    {**PLAIN, "d_block": 7, "activation": "SELU"},
    {**PLAIN, "n_blocks": 0},
    NETS["residual"],
]
"""Every family's own freedom: depth, width, norm, activation, dropout."""
SCHEDULES: tuple[dict[str, Any], ...] = (
    {"use": "OneCycleLR", "max_lr": 0.02},
    {"use": "CyclicLR", "base_lr": 0.001, "step_size_up": 2, "cycle_momentum": False},
    {"use": "CosineAnnealingLR"},
    {"use": "ReduceLROnPlateau", "patience": 0, "threshold": 0.05},
)


class Own(nn.Module):
    """As a user writes it: a residual branch, functions, a parameter of its own."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(in_features, 5), nn.Linear(5, 5, bias=False)
        self.scale = nn.Parameter(torch.full((5,), 0.5))
        self.head = nn.Linear(5 + in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        hidden = hidden + self.scale * torch.relu(self.second(hidden)) / 2
        return self.head(torch.cat([hidden, 2 * x[:, :]], dim=1))  # type: ignore[no-any-return]


def packed(jobs: list[Job], setup: TrainingSetup | None = None) -> PackedRun:
    return PackedEngine(setup or make_setup()).start(jobs)


def assert_equal_engines(jobs: list[Job], setup: TrainingSetup, *, atol: float) -> None:
    """Every job of one pack gives what lockstep gives, epoch by epoch."""
    run, plain = packed(jobs, setup), LockstepEngine(setup).start(jobs)
    for _ in range(EPOCHS):
        for ours, theirs in zip(run.step(), plain.step(), strict=True):
            assert ours.failure is None and theirs.failure is None, (ours.failure, theirs.failure)
            np.testing.assert_allclose(ours.losses, theirs.losses, atol=atol, rtol=atol)
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=atol, rtol=atol)
    assert not run.reasons, run.reasons
    for job in jobs:
        assert_same_result(run.finish(job.trial), plain.finish(job.trial), atol)


def assert_same_result(ours: TrialResult, theirs: TrialResult, atol: float) -> None:
    assert np.array_equal(ours.chosen, theirs.chosen)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=atol, rtol=atol)
    assert_close_answers(ours, theirs, atol=atol)
    assert ours.n_parameters == theirs.n_parameters


def exact(setup: TrainingSetup) -> TrainingSetup:
    """In float64, and without metrics that jump."""
    return replace(setup, dtype="float64", metrics=setup.metrics[:1])


@pytest.mark.parametrize("net", NETS)
def test_every_optimizer_equals_lockstep_in_one_pack(net: str) -> None:
    """RMSprop in front of a batch norm blows up rounding noise: a bias there has no gradient but noise."""
    names = [name for name in OPTIMIZERS if not (net == "batch norm" and name == "rmsprop")]
    jobs = [
        make_job(make_config(model=NETS[net], optimizer=OPTIMIZERS[name]), trial) for trial, name in enumerate(names)
    ]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_equals_lockstep(name: str) -> None:
    task, outputs, loss = LOSSES[name]
    config = make_config(task, model=PLAIN, loss=loss)
    other = {**loss, "label_smoothing": 0.0} if "label_smoothing" in loss else loss
    jobs = [make_job(config, 0), make_job({**config, "loss": other}, 1)]
    assert_equal_engines(jobs, exact(make_setup(task, outputs=outputs)), atol=1e-8)


def test_every_schedule_and_penalty_equals_lockstep_in_one_pack() -> None:
    rules: list[dict[str, Any]] = [{"l1": 0.01}, {"l2": 0.02, "clip_value": 0.1}, {"clip_norm": 0.5}, {}]
    jobs = [
        make_job(make_config(model=PLAIN, optimizer=optimizer, scheduler=scheduler, regularization=rule), trial)
        for trial, (optimizer, scheduler, rule) in enumerate(
            zip(list(OPTIMIZERS.values())[1:5], SCHEDULES, rules, strict=True)
        )
    ]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)


@pytest.mark.parametrize("net", ["plain", "batch norm", "own"])
def test_equals_lockstep_in_float32_to_rounding(net: str) -> None:
    """SGD alone: Adam turns the noise of gradients that are zero in theory into whole steps."""
    jobs = [make_job(make_config(model=NETS[net], optimizer=OPTIMIZERS["nesterov"]), trial) for trial in (0, 1)]
    assert_equal_engines(jobs, replace(make_setup(), metrics=({"use": "log_loss"},)), atol=1e-4)


COMPANY = [
    make_config(
        model={**NORMED, "dropout": 0.1 * (trial % 3 + 1)},
        optimizer=list(OPTIMIZERS.values())[trial],
        loss={"use": "CrossEntropyLoss", "label_smoothing": 0.1 * (trial % 2)},
        regularization={"clip_norm": 0.5} if trial == 2 else {"l1": 0.01} if trial == 3 else {},
    )
    for trial in range(6)
]


ODD = {"epochs": EPOCHS, "batch_size": 11}
"""Products of matrices this odd depend on where their operands lie."""


def with_net(net: dict[str, Any]) -> list[Config]:
    return [{**config, "model": net} for config in COMPANY]


@pytest.mark.parametrize(
    "configs",
    [
        COMPANY,
        with_net(NETS["layer norm"]),
        with_net(NETS["rms norm"]),
        with_net(NETS["group norm"]),
        with_net({**NETS["residual"], "dropout": 0.3, "residual_dropout": 0.1}),
        [{**config, "training": ODD} for config in with_net({**NORMED, "d_block": 33, "activation": "Sigmoid"})],
        with_net(NETS["own"]),
        [{**config, "model": net, "training": ODD} for config, net in zip(COMPANY, UNLIKE, strict=False)],
    ],
    ids=["batch norm", "layer norm", "rms norm", "group norm", "residual", "wide", "own", "unlike"],
)
def test_company_changes_nothing(configs: list[Config]) -> None:
    """Bitwise: dropped, refilled, added in another order; whatever the others' optimizers and strengths."""
    jobs = [make_job(config, trial) for trial, config in enumerate(configs)]
    run = packed([jobs[trial] for trial in (4, 0, 3, 1)])
    reports, results = defaultdict[int, list[EpochReport]](list), {}
    for epoch in range(1, EPOCHS + 3):
        for report in run.step():
            assert report.failure is None, report.failure
            reports[report.trial].append(report)
            if report.done:
                results[report.trial] = run.finish(report.trial)
        if epoch == 1:
            run.drop(1)
        if epoch < 3:
            run.add(jobs[(2, 5)[epoch - 1]])
    assert not run.reasons and run.step() == [] and sorted(results) == [0, 2, 3, 4, 5]
    for trial, result in results.items():
        alone = train(packed([jobs[trial]]), trial)
        assert_same(Trained(tuple(reports[trial]), result), alone)


def test_a_pack_restored_goes_on_bitwise() -> None:
    jobs = [make_job(config, trial) for trial, config in enumerate(COMPANY)]
    whole, run = packed(jobs), packed(jobs)
    whole.step(), run.step()
    restored, states = packed([]), saved(run)
    for job in jobs:
        restored.add(job, states[job.trial])
    for _ in range(EPOCHS - 1):
        for one, other in zip(whole.step(), restored.step(), strict=True):
            assert np.array_equal(one.losses, other.losses) and np.array_equal(one.scores, other.scores)


def test_jobs_with_other_preprocessing_share_a_pack() -> None:
    configs = [make_config(preprocessing={"numeric": [name]}) for name in ("MinMaxScaler", "RobustScaler")]
    jobs = [make_job(config, trial) for trial, config in enumerate([*configs, make_config()])]
    run = packed(jobs)
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)
    run.step()
    assert len(run.stacks) == 1


@pytest.mark.parametrize("nets", [UNLIKE, list(NETS.values())], ids=["families", "all"])
def test_unlike_nets_in_one_stack_equal_lockstep(nets: list[dict[str, Any]]) -> None:
    nets = [{**net, "dropout": 0.0} if net.get("dropout") else net for net in nets]
    configs = [make_config(model=net, optimizer=OPTIMIZERS["adamw"]) for net in nets]
    jobs = [make_job(config, trial) for trial, config in enumerate(configs)]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)
    run = packed(jobs)
    run.step()
    assert len(run.stacks) == 1


def test_neighbours_share_the_products_that_they_have_in_common() -> None:
    """Depth, norm, activation and dropout differ; there is one product for each layer, whoever has it."""
    nets = [{**net, "d_block": 8, "dropout": 0.0} for net in UNLIKE[:4]]
    run = packed([make_job(make_config(model=net), trial) for trial, net in enumerate(nets)])
    run.step()
    (stack,) = run.stacks
    rows = defaultdict(list)
    for block in stack.store.blocks:
        rows[block.name].append(block.stop - block.start)
    folds = len(make_job(make_config()).folds)
    assert rows["blocks.linear0.weight"] == [4 * folds] and rows["head.weight"] == [4 * folds]
    assert rows["blocks.linear2.weight"] == [2 * folds]
    for trainer in stack.trainers.values():
        kernels = [getattr(call, "__self__", None) for call in trainer.tape._forward]
        assert sum(isinstance(kernel, Linear) for kernel in kernels) == len({"linear0", "linear1", "linear2", "head"})


def test_losses_with_other_options_share_a_stack() -> None:
    losses = [{"use": "CrossEntropyLoss"}, {"use": "CrossEntropyLoss", "weight": [1, 2, 5]}, {"use": "MultiMarginLoss"}]
    jobs = [make_job(make_config(model=PLAIN, loss=loss), trial) for trial, loss in enumerate(losses)]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)


def test_jobs_of_another_batch_size_get_a_stack_of_their_own() -> None:
    other = make_config(training={"epochs": EPOCHS, "batch_size": 5})
    jobs = [make_job(config, trial) for trial, config in enumerate([make_config(), other, make_config(model=PLAIN)])]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)
    run = packed(jobs)
    run.step()
    assert sorted(len(stack.shares) for stack in run.stacks) == [1, 2]


def test_embeddings_of_categories_equal_lockstep() -> None:
    setup = make_setup()
    random = np.random.RandomState(0)
    categorical = random.choice(np.array(["a", "b", "c"], dtype=object), size=(ROWS, 2))
    dataset = replace(setup.dataset, categorical=categorical, categorical_names=("p", "q"))
    config = make_config(model=PLAIN, preprocessing={"categorical": {"min_frequency": None}})
    jobs = [make_job({**config, "optimizer": OPTIMIZERS[name]}, i) for i, name in enumerate(("adam", "nesterov"))]
    assert_equal_engines(jobs, exact(replace(setup, dataset=dataset)), atol=1e-8)


@pytest.mark.parametrize("scheduler", [None, *SCHEDULES], ids=str)
def test_folds_of_unequal_size_equal_lockstep(scheduler: dict[str, Any] | None) -> None:
    """Each fold takes its own number of steps, beside those of other jobs that take as many."""
    rows = np.arange(ROWS, dtype=np.int64)
    folds = [Fold(rows[:size], rows[size:]) for size in (15, 20, 15)]
    config = make_config(model={**PLAIN, "norm": "BatchNorm1d"}, scheduler=scheduler)
    jobs = [make_job(config, trial, folds=folds) for trial in range(2)]
    assert_equal_engines(jobs, exact(make_setup()), atol=1e-8)
    run = packed(jobs)
    run.step()
    assert [len(stack.keys) for stack in run.stacks] == [4, 2]


def test_jobs_may_have_folds_of_their_own() -> None:
    jobs = [make_job(make_config(model=NORMED), 0, folds=folds_apart()), make_job(make_config(model=NORMED), 1)]
    run = packed(jobs)
    reports = [run.step() for _ in range(EPOCHS)]
    for trial, job in enumerate(jobs):
        own = tuple(both[trial] for both in reports)
        assert_same(Trained(own, run.finish(trial)), train(packed([job]), trial))


def test_an_error_that_no_job_can_be_blamed_for_is_that_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_config(training={"epochs": EPOCHS, "batch_size": 5})
    run = packed([make_job(config, trial) for trial, config in enumerate([make_config(), make_config(), other])])
    run.step()
    broken = next(stack for stack in run.stacks if len(stack.shares) == 2)
    monkeypatch.setattr(broken, "train_epoch", lambda: torch.empty(-1))
    reports = run.step()
    assert [report.failure.kind if report.failure else None for report in reports] == ["user code"] * 2 + [None]
    assert [report.trial for report in run.step()] == [2]


def test_structures_that_differ_in_sizes_alone_are_checked_once() -> None:
    engine = PackedEngine(make_setup())
    nets = [{**PLAIN, "d_block": 5}, {**PLAIN, "d_block": 9}, {**PLAIN, "n_blocks": 1}, {**PLAIN, "activation": "GELU"}]
    forms = [engine.member(make_job(make_config(model=net), trial)).form for trial, net in enumerate(nets)]
    assert forms[0] == forms[1] and len({*forms}) == 3
