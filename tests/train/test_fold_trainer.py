"""Rows, batches and schedules of one fold."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from foldtune.testing.engine_laws import make_config, make_job, make_setup
from foldtune.train.batches import epoch_order
from foldtune.train.fold_trainer import FoldTrainer
from foldtune.train.lockstep import LockstepEngine
from foldtune.values import Config, Fold

NORMED = {"use": "MLP", "n_blocks": 1, "d_block": 4, "norm": "BatchNorm1d"}


def trainers(*sizes: int, **changes: Any) -> list[FoldTrainer]:
    """Those of folds that train on so many rows each, and validate the others."""
    rows = np.arange(31, dtype=np.int64)
    folds = [Fold(rows[:size], rows[size:]) for size in sizes]
    config: Config = make_config(**changes)
    run = LockstepEngine(make_setup()).start([make_job(config, folds=folds)])
    (report,) = run.step()
    assert report.failure is None, report.failure
    return run.live[0].trainers


def orders(trainer: FoldTrainer, epochs: int = 30) -> Iterator[list[int]]:
    made = (epoch_order(trainer.train_rows, trainer.rows_per_epoch, trainer.key, epoch + 1) for epoch in range(epochs))
    return (order.tolist() for order in made)


def test_folds_that_differ_by_one_row_use_the_smaller_number() -> None:
    made = trainers(20, 21, 21)
    assert [trainer.rows_per_epoch for trainer in made] == [20, 20, 20]
    assert [trainer.batches for trainer in made] == [[(0, 8), (8, 16), (16, 20)]] * 3


def test_another_row_is_left_out_each_epoch() -> None:
    left_out = [set(range(21)) - set(order) for order in orders(trainers(20, 21)[1])]
    assert all(len(rows) == 1 for rows in left_out)
    assert len(set.union(*left_out)) > 10


def test_larger_differences_are_not_trimmed() -> None:
    assert [trainer.rows_per_epoch for trainer in trainers(20, 21, 22)] == [20, 21, 22]


def test_every_epoch_has_an_order_of_its_own() -> None:
    seen = list(orders(trainers(20)[0]))
    assert all(sorted(order) == list(range(20)) for order in seen)
    assert len({tuple(order) for order in seen}) == len(seen)


@pytest.mark.parametrize(
    ("size", "model", "bounds"),
    [
        (17, {"use": "MLP"}, [(0, 8), (8, 16), (16, 17)]),
        (17, NORMED, [(0, 8), (8, 16)]),
        (18, NORMED, [(0, 8), (8, 16), (16, 18)]),
        (16, NORMED, [(0, 8), (8, 16)]),
    ],
    ids=["no norm", "a single row is left out", "two rows are kept", "even"],
)
def test_the_last_batch_is_kept_but_for_a_single_row_in_front_of_a_batch_norm(
    size: int, model: dict[str, Any], bounds: list[tuple[int, int]]
) -> None:
    (trainer,) = trainers(size, model=model, scheduler={"use": "OneCycleLR"})
    assert trainer.batches == bounds
    assert trainer.scheduler is not None
    assert trainer.scheduler.state_dict()["total_steps"] == 4 * len(bounds), "a schedule counts the batches there are"


def test_one_row_in_all_in_front_of_a_batch_norm_fails_clearly() -> None:
    with pytest.raises(AssertionError, match="Expected more than 1 value per channel when training"):
        trainers(1, model=NORMED)


def test_answers_are_the_same_in_any_portion() -> None:
    (trainer,) = trainers(20)
    whole = trainer.answers(1)
    trainer.portions.answering = 3
    torch.testing.assert_close(trainer.answers(1), whole)  # kernels differ in the last bit with the number of rows
    assert not whole.requires_grad and whole.shape == (11, 3)
