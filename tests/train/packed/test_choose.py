"""Which engine a job gets, and what is said about it."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from foldtune.testing.engine_laws import make_config, make_job, make_setup
from foldtune.train.packed import PackedEngine
from foldtune.values import EpochReport


class Reshaping(nn.Module):
    """Reads its batch's size, which no trace can: `vmap` runs it as a whole."""

    def __init__(self, in_features: int, out_features: int, width: int = 4) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(in_features, width), nn.Linear(width, out_features)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        return self.head(hidden.view(x.shape[0], -1))  # type: ignore[no-any-return]


def first_report(width: int, engine: Literal["auto", "packed"]) -> EpochReport:
    config = make_config(model={"use": f"{__name__}:Reshaping", "width": width})
    setup = replace(make_setup(), engine=engine)
    (report,) = PackedEngine(setup).start([make_job(config)]).step()
    assert report.failure is None, report.failure
    return report


@pytest.mark.parametrize("width", [4, 3000])
def test_nets_of_stacked_kernels_are_packed_whatever_their_size(width: int) -> None:
    job = make_job(make_config(model={"use": "MLP", "d_block": width}, training={"epochs": 1, "batch_size": 16}))
    (report,) = PackedEngine(make_setup()).start([job]).step()
    assert report.engine == "packed"
    assert report.reason is not None and "parameters" in report.reason and "MiB per model" in report.reason


@pytest.mark.parametrize(
    ("width", "engine", "expected"),
    [(4, "auto", "packed"), (20_000, "auto", "lockstep"), (20_000, "packed", "packed")],
)
def test_nets_that_vmap_runs_as_a_whole_are_packed_while_small(
    width: int, engine: Literal["auto", "packed"], expected: str
) -> None:
    report = first_report(width, engine)
    assert report.engine == expected
    assert report.reason is not None
    if expected == "lockstep":
        assert report.reason.startswith("vmap is slower at 160,003 parameters and batches of 8 rows; no stacked")
