"""What is particular to the lockstep engine: schedules, restoring, units, seeds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import (
    EPOCHS,
    ROWS,
    assert_same,
    make_config,
    make_job,
    make_setup,
    train,
)
from foldtune.train.lockstep import LockstepEngine, LockstepRun
from foldtune.values import Config, Fold, Task

BATCHES = 3
"""Batches of an epoch: 20 rows in eights."""


class NoisyInEval(nn.Linear):
    """As who forgets `training=self.training`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5))


class LearningLoss(nn.CrossEntropyLoss):
    """A loss with a temperature of its own to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, answers: Tensor, target: Tensor) -> Tensor:
        return super().forward(answers * self.temperature, target)


SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[torch.optim.Optimizer], LRScheduler], int]] = {
    "one cycle": (
        {"use": "OneCycleLR"},
        lambda o: OneCycleLR(o, max_lr=0.05, total_steps=EPOCHS * BATCHES),
        BATCHES,
    ),
    "one cycle, counted": (
        {"use": "OneCycleLR", "max_lr": 0.5, "epochs": EPOCHS, "steps_per_epoch": BATCHES},
        lambda o: OneCycleLR(o, max_lr=0.5, epochs=EPOCHS, steps_per_epoch=BATCHES),
        BATCHES,
    ),
    "cyclic": (
        {"use": "CyclicLR", "base_lr": 0.01, "step_size_up": 5},
        lambda o: CyclicLR(o, base_lr=0.01, max_lr=0.05, step_size_up=5),
        BATCHES,
    ),
    "step": ({"use": "StepLR", "step_size": 2}, lambda o: StepLR(o, 2), 1),
    "cosine": ({"use": "CosineAnnealingLR"}, lambda o: CosineAnnealingLR(o, T_max=EPOCHS), 1),
    "exponential": ({"use": "ExponentialLR", "gamma": 0.5}, lambda o: ExponentialLR(o, 0.5), 1),
    "multi step": ({"use": "MultiStepLR", "milestones": [1, 3]}, lambda o: MultiStepLR(o, [1, 3]), 1),
    "warm-up": (
        {
            "use": "SequentialLR",
            "schedulers": [{"use": "LinearLR", "total_iters": 2}, {"use": "CosineAnnealingLR", "T_max": 2}],
            "milestones": [2],
        },
        lambda o: SequentialLR(o, [LinearLR(o, total_iters=2), CosineAnnealingLR(o, T_max=2)], milestones=[2]),
        1,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_are_those_of_the_class_driven_by_hand(name: str) -> None:
    node, schedule, steps_per_epoch = SCHEDULES[name]
    run = _run(make_config(scheduler=node))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05, momentum=0.9)
    by_hand = schedule(optimizer)
    for _ in range(EPOCHS):
        run.step()
        for _ in range(steps_per_epoch):
            optimizer.step()
            by_hand.step()
        rates = [trainer.optimizer.param_groups[0]["lr"] for trainer in run.live[0].trainers]
        assert rates == [optimizer.param_groups[0]["lr"]] * 3


@pytest.mark.parametrize(("task", "mode"), [("classification", "max"), ("regression", "min")])
def test_plateau_is_stepped_with_the_mean_of_the_other_folds(task: Task, mode: Any) -> None:
    setup = make_setup(task)
    if mode == "max":
        setup = replace(setup, metrics=setup.metrics[::-1], directions=("maximize",))
    node = {"use": "ReduceLROnPlateau", "patience": 0, "threshold": 0.1}
    config = make_config(task, scheduler=node, training={"epochs": 8, "batch_size": 8})
    run, seen = LockstepEngine(setup).start([make_job(config)]), set()
    optimizers = [torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05) for _ in range(3)]
    by_hand = [ReduceLROnPlateau(optimizer, mode=mode, patience=0, threshold=0.1) for optimizer in optimizers]
    for _ in range(8):
        scores = run.step()[0].scores[:, 0]
        for fold, scheduler in enumerate(by_hand):
            scheduler.step(np.delete(scores, fold).mean())
        rates = [trainer.optimizer.param_groups[0]["lr"] for trainer in run.live[0].trainers]
        assert rates == [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
        seen |= set(rates)
    assert len(seen) > 1, "the test needs a plateau"


def test_optional_sections_left_out_are_their_defaults() -> None:
    spelt = make_config(
        scheduler=None,
        preprocessing={"numeric": None, "categorical": {"min_frequency": 10}, "columns": []},
        regularization={"l1": 0, "l2": 0, "clip_norm": None, "clip_value": None, "early_stopping": None},
        augmentation=None,
    )
    assert_same(train(_run(spelt), 0), train(_run(make_config()), 0))


def test_parts_that_nothing_reads_are_refused() -> None:
    for change in ({"augmentation": {"use": "RandomCrop"}}, {"nonsense": 1}):
        (report,) = _run(make_config(**change)).step()
        assert report.failure is not None and "validation error for ConfigSpec" in report.failure.message


def test_a_net_that_stays_random_in_eval_is_seeded() -> None:
    config = make_config(model={"use": f"{__name__}:NoisyInEval"})
    assert_same(train(_run(config), 0), train(_run(config), 0))


def test_a_loss_of_ones_own_may_learn() -> None:
    run = _run(make_config(loss={"use": f"{__name__}:LearningLoss"}))
    run.step()
    restored = LockstepEngine(make_setup()).start([])
    restored.add(make_job(make_config(loss={"use": f"{__name__}:LearningLoss"})), run.state_dict()[0])
    for trainer, again in zip(run.live[0].trainers, restored.live[0].trainers, strict=True):
        temperature = trainer.loss.get_parameter("temperature")
        assert temperature != 1 and torch.equal(temperature, again.loss.get_parameter("temperature"))


def test_a_waiting_job_has_no_state_and_is_not_built() -> None:
    run = _run(make_config(model={"use": "nowhere:Net"}))
    assert run.state_dict() == {}
    (report,) = run.step()
    assert report.failure is not None and "nowhere" in report.failure.message


def test_random_preprocessing_follows_the_studys_seed() -> None:
    step = {"use": "QuantileTransformer", "n_quantiles": 3, "subsample": 6}
    config = ConfigSpec.model_validate(make_config(preprocessing={"numeric": [step]}))
    folds = make_job({}).folds
    made = [LockstepEngine(make_setup(seed=seed)).folds_data(config, folds)[0].numeric for seed in (0, 0, 1)]
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_rows_are_transformed_once_for_jobs_that_agree() -> None:
    engine, folds = LockstepEngine(make_setup()), make_job({}).folds
    plain = ConfigSpec.model_validate(make_config())
    scaled = [
        ConfigSpec.model_validate(make_config(preprocessing={"numeric": [name]}))
        for name in ("MinMaxScaler", "RobustScaler")
    ]
    first = engine.folds_data(plain, folds)
    engine.folds_data(scaled[0], folds)
    assert engine.folds_data(plain, folds) is first
    assert engine.folds_data(plain, folds[:2]) is not first
    engine.folds_data(scaled[1], folds)
    assert len(engine._fitted) == 2


@pytest.mark.parametrize("targets", [1, 2])
def test_regression_scores_are_in_original_units(targets: int) -> None:
    setup = make_setup("regression", outputs=targets)
    run = LockstepEngine(setup).start([make_job(make_config("regression"))])
    (report,) = run.step()
    target = setup.dataset.target
    for index, trainer in enumerate(run.live[0].trainers):
        fold = make_job({}).folds[index]
        mean, spread = target[fold.train].mean(axis=0), target[fold.train].std(axis=0)
        values = trainer.answers(1).numpy().astype(float) * spread + mean
        error = np.mean((values - target[fold.valid]) ** 2)
        assert report.scores[index, 0] == pytest.approx(error, rel=1e-12)
        assert error > 10, "the test needs targets on a scale of their own"


def test_folds_given_read_only_are_fine() -> None:
    folds = make_job({}).folds
    for fold in folds:
        fold.train.setflags(write=False)
        fold.valid.setflags(write=False)
    run = LockstepEngine(make_setup()).start([make_job(make_config(), folds=folds)])
    assert run.step()[0].failure is None and list(run.state_dict()) == [0]


def test_a_single_fold_trains_and_keeps_its_last_epoch() -> None:
    rows = np.arange(ROWS, dtype=np.int64)
    job = make_job(make_config(), folds=[Fold(rows[:20], rows[20:])])
    assert train(LockstepEngine(make_setup()).start([job]), 0).result.chosen.tolist() == [EPOCHS]


def _run(config: Config) -> LockstepRun:
    return LockstepEngine(make_setup()).start([make_job(config)])
