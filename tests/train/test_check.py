"""What can be known about a configuration before any training."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import make_config
from foldtune.train.check import check_model, check_names, check_optimizer
from foldtune.values import DataShape

SHAPE = DataShape((4,), (), 3)


class PerRow(nn.Module):
    """A loss that forgets to take the mean."""

    def forward(self, answers: Tensor, target: Tensor) -> Tensor:
        return answers.sum(dim=1)


def config(**changes: Any) -> ConfigSpec:
    return ConfigSpec.model_validate(make_config(**changes))


def texts(problems: Any) -> str:
    return "\n".join(problem.text() for problem in problems)


def test_a_good_configuration_has_no_problems() -> None:
    made = config(scheduler={"use": "OneCycleLR"})
    assert check_names(made) == [] and check_model(made, SHAPE, "classification") == ([], 4 * 8 + 8 + 8 * 3 + 3)
    assert check_optimizer(made, nn.Linear(2, 2, device="meta"), 12, "minimize") == []


def test_all_wrong_names_are_reported_at_once() -> None:
    made = config(
        model={"use": "MPL"},
        loss={"use": "CrossEntropyLoss", "smoothing": 0.1},
        optimizer={"use": "AdmaW", "lr": 1},
        scheduler={"use": "StepLR"},
        preprocessing={"numeric": ["StandardScaler", "MinMaxScalar"]},
    )
    found = texts(check_names(made))
    for expected in (
        "model: there is no model `MPL` in foldtune.models. Did you mean MLP",
        "loss.smoothing: `CrossEntropyLoss` has no argument `smoothing`. Did you mean label_smoothing",
        "optimizer: there is no optimizer `AdmaW` in torch.optim. Did you mean",
        "scheduler: `StepLR` needs the argument `step_size`",
        "preprocessing.numeric.1: there is no preprocessing step `MinMaxScalar`",
    ):
        assert expected in found, found


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (
            {"use": "CrossEntropyLoss", "weight": [1, 2]},
            "loss: `CrossEntropyLoss` must accept the answers and the target",
        ),
        ({"use": "CrossEntropyLoss", "label_smoothing": 2.0}, "label_smoothing must be between 0.0"),
        (
            {"use": "CrossEntropyLoss", "reduction": "none"},
            r"must give one number for a batch.*: \(2,\). Leave `reduction`",
        ),
        ({"use": f"{__name__}:PerRow"}, r"`PerRow` must give one number for a batch, however: \(2,\)"),
        ({"use": "CrossEntropyLoss", "reduction": "average"}, "average is not a valid value for reduction"),
    ],
)
def test_a_loss_that_cannot_be_used(loss: dict[str, Any], match: str) -> None:
    problems, _ = check_model(config(loss=loss), SHAPE, "classification")
    assert re.search(match, texts(problems)), texts(problems)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"optimizer": {"use": "SGD", "lr": -1}}, "optimizer: `SGD` must accept its arguments, .* learning rate: -1"),
        ({"optimizer": {"use": "SGD", "nesterov": True}}, "Nesterov momentum requires a momentum"),
        ({"optimizer": {"use": "Adam", "betas": [0.9, 2]}}, "Invalid beta parameter at index 1: 2"),
        ({"optimizer": "SparseAdam"}, "optimizer: `SparseAdam` needs sparse gradients, .*. Use Adam"),
        ({"optimizer": "Muon"}, "Muon only supports 2D parameters"),
        ({"scheduler": {"use": "OneCycleLR", "pct_start": 2.0}}, "Expected float between 0 and 1 pct_start"),
        ({"scheduler": {"use": "ReduceLROnPlateau", "factor": 2.0}}, "Factor should be < 1.0"),
        (
            {
                "scheduler": {
                    "use": "SequentialLR",
                    "schedulers": [{"use": "LinearLR"}, {"use": "OneCycleLR"}],
                    "milestones": [2],
                }
            },
            "`SequentialLR` steps every epoch and cannot hold a schedule that steps every batch, however: OneCycleLR",
        ),
    ],
)
def test_an_optimizer_or_schedule_that_cannot_be_used(changes: dict[str, Any], match: str) -> None:
    problems = check_optimizer(config(**changes), nn.Linear(2, 2, device="meta"), 12, "minimize")
    assert re.search(match, texts(problems)), texts(problems)


def test_nothing_of_the_net_is_changed() -> None:
    net = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    check_optimizer(config(scheduler={"use": "OneCycleLR"}), net, 12, "minimize")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
