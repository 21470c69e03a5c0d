"""Which configurations the packed engine takes, and why not the others."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import make_config
from foldtune.train.packed import is_packable
from foldtune.train.packed.kernels.elementwise import FUNCTIONS
from foldtune.train.packed.kernels.layers import ELEMENTWISE
from foldtune.values import DataShape, Task


class Base(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layer, self.spare = nn.Linear(in_features, 5), nn.Linear(5, 5)
        self.head = nn.Linear(5, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))  # type: ignore[no-any-return]

    def hidden(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x))


class Twice(Base):
    def hidden(self, x: Tensor) -> Tensor:
        return self.spare(torch.relu(self.spare(self.layer(x))))  # type: ignore[no-any-return]


class Unused(Base):
    pass


class Branching(Twice):
    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x) if x.sum() > 0 else super().hidden(-x)


class Centred(Twice):
    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x - x.mean(0))


class OtherInEval(Twice):
    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x) * (1.0 if self.training else 0.5)


class Frozen(Twice):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.layer.bias.requires_grad_(False)


class Tied(Twice):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.other = nn.Linear(5, 5)
        self.other.weight = self.spare.weight

    def hidden(self, x: Tensor) -> Tensor:
        return self.other(super().hidden(x))  # type: ignore[no-any-return]


class Looping(Twice):
    """The same layer over and over, in a loop that tracing cannot see."""

    def hidden(self, x: Tensor) -> Tensor:
        hidden = super().hidden(x)
        for _ in range(len(x) // len(x) + 2):
            hidden = torch.sin(self.spare(hidden))
        return hidden


class LoopingWithDropout(Looping):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.dropout = nn.Dropout(0.1)

    def hidden(self, x: Tensor) -> Tensor:
        return self.dropout(super().hidden(x))  # type: ignore[no-any-return]


class LoopingAndRemembering(Looping):
    """Under `vmap`, what is assigned is lost."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("memory", torch.zeros(5))
        self.memory: Tensor

    def hidden(self, x: Tensor) -> Tensor:
        self.memory = self.memory * 0.9 + 1.0
        return super().hidden(x) + self.memory


class LoopingWithoutSpare(Looping):
    def hidden(self, x: Tensor) -> Tensor:
        return self.layer(x) * (len(x) // len(x))  # type: ignore[no-any-return]


class TiedLayers(Twice):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.other = self.spare

    def hidden(self, x: Tensor) -> Tensor:
        return self.other(super().hidden(x))  # type: ignore[no-any-return]


class Recurrent(Base):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        del self.spare
        self.cell: nn.Module = nn.GRU(5, 5, batch_first=True)

    def hidden(self, x: Tensor) -> Tensor:
        return self.cell(self.layer(x)[:, None])[0][:, 0]  # type: ignore[no-any-return]


class Cells(Recurrent):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.cell = nn.GRUCell(5, 5)

    def hidden(self, x: Tensor) -> Tensor:
        return self.cell(self.layer(x))  # type: ignore[no-any-return]


class Scaled(Twice):
    """Computes with parameters before it looks at any row."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.first, self.second = nn.Parameter(torch.ones(5)), nn.Parameter(torch.full((5,), 0.5))

    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x) * (self.first + self.second)


class Functional(Twice):
    def hidden(self, x: Tensor) -> Tensor:
        hidden = nn.functional.linear(super().hidden(x), weight=self.spare.weight)
        return nn.functional.linear(hidden, self.spare.weight, self.spare.bias)


class Scalars(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).exp().sum()


class Remembering(Twice):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("memory", torch.zeros(5))
        self.memory: Tensor

    def hidden(self, x: Tensor) -> Tensor:
        hidden = super().hidden(x)
        self.memory = self.memory * 0.9 + 1.0
        return hidden + self.memory


def reason(*, task: Task = "classification", outputs: int = 3, **changes: Any) -> str | None:
    config = ConfigSpec.model_validate(make_config(task, **changes))
    return is_packable(config, DataShape((4,), (), outputs), task)


def own(net: type[nn.Module]) -> str | None:
    return reason(model={"use": f"{__name__}:{net.__name__}"})


@pytest.mark.parametrize("layer", [*FUNCTIONS, *ELEMENTWISE], ids=lambda layer: layer.__name__)
def test_every_activation_is_taken(layer: type[nn.Module]) -> None:
    node = {"use": "Threshold", "threshold": 0.1, "value": 0.0} if layer is nn.Threshold else layer.__name__
    layers = [{"use": "Linear", "out_features": 5}, node, "Linear"]
    assert reason(model={"use": "Sequential", "layers": layers}) is None


def test_nets_of_ones_own_are_taken() -> None:
    assert own(Twice) is None
    assert own(OtherInEval) is None, "training and evaluation are lowered each by itself"
    assert own(Looping) is None, "`vmap` runs it as a whole"
    assert own(Scaled) is None
    assert own(Functional) is None


@pytest.mark.parametrize(
    ("net", "match"),
    [
        (Unused, "spare.weight is off by"),
        (Branching, "cannot be traced: TraceError"),
        (
            Branching,
            "nor can `vmap` run it as a whole: RuntimeError: vmap: It looks like you're attempting to use a Tensor",
        ),
        (Centred, "its answers depend on the rows beside a row"),
        (Frozen, "parameter `layer.bias` is not trained"),
        (Tied, "`other.weight` has a second name"),
        (TiedLayers, "`other.weight` has a second name"),
        (LoopingWithDropout, "it draws random numbers, which must be each model's own"),
        (LoopingAndRemembering, "the loss is off by"),
        (LoopingWithoutSpare, "spare.weight is off by"),
        (
            Cells,
            "`GRUCell` (at `cell`) has no stacked kernel; nor can `vmap` run it as a whole: `aten::gru_cell`",
        ),
        (Recurrent, "as a whole: RuntimeError: Batching rule not implemented for aten::gru.input"),
        (Scalars, "it does not answer row by row"),
        (Remembering, "the loss is off by"),
    ],
)
def test_nets_that_are_refused(net: type[nn.Module], match: str) -> None:
    found = own(net)
    assert found is not None and match in found, found


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"optimizer": {"use": "LBFGS"}}, "`LBFGS` has no stacked update rule"),
        ({"optimizer": {"use": "Adam", "amsgrad": True}}, "`Adam` has no stacked update rule with these settings"),
        ({"loss": {"use": "CrossEntropyLoss", "reduction": "sum"}}, "not with its `reduction`"),
        ({"loss": {"use": "CrossEntropyLoss", "ignore_index": 1}}, "`ignore_index` is a class"),
        ({"model": {"use": "MLP", "norm": {"use": "BatchNorm1d", "momentum": None}}}, "counts its batches"),
        ({"model": {"use": "MLP", "norm": {"use": "BatchNorm1d", "track_running_stats": False}}}, "rows beside a row"),
        ({"model": {"use": "MLP", "activation": "RReLU"}}, "`RReLU` (at `blocks.activation0`) has no stacked kernel"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], match: str) -> None:
    found = reason(**changes)
    assert found is not None and match in found, found
