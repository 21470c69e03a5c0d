"""Batches that do not fit into memory go through the net in portions: the same step, whatever the loss."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foldtune.testing.engine_laws import EPOCHS, Trained, assert_same, make_config, make_job, make_setup, saved, train
from foldtune.train.lockstep import LockstepEngine
from foldtune.values import Task


class Tight(nn.Module):
    """Runs out of memory above so many rows."""

    rows: ClassVar[float]
    seen: ClassVar[list[int]]

    def __init__(self, in_features: int, out_features: int, norm: bool = False, rate: float = 0.0) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(in_features, 5), nn.Linear(5, out_features)
        self.norm = nn.BatchNorm1d(5) if norm else nn.Identity()
        self.drop = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.rows:
            raise torch.OutOfMemoryError(f"no room for {len(x)} rows")
        self.seen.append(len(x))
        return self.head(self.drop(torch.tanh(self.norm(self.layer(x)))))  # type: ignore[no-any-return]


class LearningLoss(nn.CrossEntropyLoss):
    """Has a temperature of its own to learn, and looks at all rows at once."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, answers: Tensor, target: Tensor) -> Tensor:
        return super().forward(answers * self.temperature, target) + answers.std()


TIGHT = f"{__name__}:Tight"


@pytest.fixture(autouse=True)
def _plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    _give(monkeypatch, np.inf)


def _give(monkeypatch: pytest.MonkeyPatch, rows: float) -> None:
    monkeypatch.setattr(Tight, "rows", rows, raising=False)
    monkeypatch.setattr(Tight, "seen", [], raising=False)


def trained(task: Task = "classification", net: dict[str, Any] | None = None, **changes: Any) -> Trained:
    config = make_config(task, model={"use": TIGHT, **(net or {})}, **changes)
    return train(LockstepEngine(replace(make_setup(task), dtype="float64")).start([make_job(config)]), 0)


LOSSES: dict[str, tuple[Task, Any]] = {
    "mean": ("classification", {"use": "CrossEntropyLoss"}),
    "weights": ("classification", {"use": "CrossEntropyLoss", "weight": [1, 5, 20]}),
    "sum": ("classification", {"use": "CrossEntropyLoss", "reduction": "sum"}),
    "of the user's own": ("classification", {"use": f"{__name__}:LearningLoss"}),
    "regression": ("regression", {"use": "SmoothL1Loss"}),
}


@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("loss", LOSSES)
def test_portions_are_the_whole_batch(loss: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task, node = LOSSES[loss]
    whole = trained(task, loss=node)
    _give(monkeypatch, rows)
    parts = trained(task, loss=node)
    for one, other in zip(parts.reports, whole.reports, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-12, atol=1e-12)
    assert max(Tight.seen) <= rows


def test_an_optimizer_that_asks_again_gets_portions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = {"use": "LBFGS", "lr": 0.1, "max_iter": 3}
    whole = trained(optimizer=optimizer)
    _give(monkeypatch, 3)
    np.testing.assert_allclose(trained(optimizer=optimizer).result.scores, whole.result.scores, rtol=1e-9)


def test_halvings_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _give(monkeypatch, 2)
    notes = [report.notes for report in trained().reports]
    assert notes[0] == (
        "out of memory: batches pass through the net in portions of 4 rows",
        "out of memory: batches pass through the net in portions of 2 rows",
        "out of memory: validation rows pass through the net in portions of 6",
        "out of memory: validation rows pass through the net in portions of 3",
        "out of memory: validation rows pass through the net in portions of 2",
    )
    assert notes[1:] == [()] * (EPOCHS - 1)


def test_a_job_goes_on_in_the_portions_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    _give(monkeypatch, 3)
    job = make_job(make_config(model={"use": TIGHT, "rate": 0.5}))
    engine = LockstepEngine(make_setup())
    run = engine.start([job])
    run.step()
    state = saved(run)[0]
    rest = train(run, 0)
    other = engine.start([])
    other.add(job, state)
    assert_same(train(other, 0), rest)
    assert all(not report.notes for report in rest.reports)


def test_batch_norms_see_two_rows_at_least_and_count_each_portion_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _give(monkeypatch, 2)
    run = LockstepEngine(make_setup()).start([make_job(make_config(model={"use": TIGHT, "norm": True}))])
    (report,) = run.step()
    assert report.failure is None
    assert report.notes[0].endswith("portions of 4 rows; its batch norms now see one portion at a time")
    (norm,) = (module for module in run.live[0].trainers[1].model.modules() if isinstance(module, nn.BatchNorm1d))
    assert norm.num_batches_tracked == 4 + 4 + 2, "two batches of 8 rows and one of 4, by twos"


@pytest.mark.parametrize(("norm", "rows"), [(False, 0), (True, 1)])
def test_a_job_that_fits_in_no_way_has_failed(norm: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _give(monkeypatch, rows)
    run = LockstepEngine(make_setup()).start([make_job(make_config(model={"use": TIGHT, "norm": norm}))])
    (report,) = run.step()
    assert report.failure is not None
    assert report.failure.kind == "out of memory"
    assert report.failure.message == f"OutOfMemoryError: no room for {rows + 1} rows"
