"""Mixed precision in the reference engine, and where it is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from foldtune.errors import SpecError
from foldtune.testing.engine_laws import EPOCHS, make_config, make_job, make_setup
from foldtune.train import precision
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.precision import autocast, check_precision, has_bf16
from foldtune.values import Floats

MIXED = {"epochs": EPOCHS, "batch_size": 8, "precision": "bf16-mixed"}


def losses(**changes: Any) -> Floats:
    """Mean losses of all epochs, (EPOCHS, K)."""
    run = LockstepEngine(replace(make_setup(), metrics=({"use": "log_loss"},))).start(
        [make_job(make_config(**changes))]
    )
    reports = [run.step()[0] for _ in range(EPOCHS)]
    assert all(report.failure is None for report in reports), reports
    return np.stack([report.losses for report in reports])


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss"])
def test_products_are_rounded_and_nothing_else(loss: str) -> None:
    exact, mixed = losses(loss={"use": loss}), losses(loss={"use": loss}, training=MIXED)
    assert 1e-5 < abs(exact - mixed).max() < 0.01


@pytest.mark.usefixtures("bfloat16")
def test_a_precision_is_entered_again_and_left() -> None:
    context, x = autocast("bf16-mixed", "cpu"), torch.ones(2, 2)
    for _ in range(2):
        with context:
            assert (x @ x).dtype is torch.bfloat16
        assert (x @ x).dtype is torch.float32


@pytest.mark.parametrize(
    ("capabilities", "found"), [({"avx512_bf16": False, "avx2": True}, False), ({"amx_bf16": True}, True)]
)
def test_a_processor_says_whether_it_has_bfloat16(
    capabilities: dict[str, bool], found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16("cpu") is found


def test_a_device_without_it_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    check_precision("32-true", "cpu")
    message = "training.precision: the device `cpu` must have bfloat16 in hardware, however: bf16-mixed. Leave"
    with pytest.raises(SpecError, match=message):
        check_precision("bf16-mixed", "cpu")
    (report,) = LockstepEngine(make_setup()).start([make_job(make_config(training=MIXED))]).step()
    assert report.failure is not None and report.epoch == 1
    assert message in report.failure.message
