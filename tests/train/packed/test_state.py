"""Nets that keep something from one batch to the next."""

from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune.errors import NotPackable
from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import make_config
from foldtune.train.packed import is_packable
from foldtune.train.packed.lowering import lower
from foldtune.values import DataShape

SHAPE = DataShape((6,), (), 2)


class Keeping(nn.Module):
    """`seen` is a buffer, the rest are attributes."""

    seen: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, out_features)
        self.register_buffer("seen", torch.zeros(out_features))
        self.total, self.calls, self.log = torch.zeros(()), 0, list[Any]()

    def forward(self, x: Tensor) -> Tensor:
        answers = self.layer(x)
        self.keep(x, answers)
        return answers + self.seen  # type: ignore[no-any-return]

    def keep(self, x: Tensor, answers: Tensor) -> None:
        raise NotImplementedError


class Sum(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.total = self.total + x.mean()


class SumInPlace(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.total += x.mean()


class ReadSum(Sum):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.total


class Count(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.calls += 1


class Log(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.log.append(answers.mean())


class CountInTraining(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.calls += self.training


class BufferAdded(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.seen += answers.detach().mean(0)


class BufferAssigned(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.seen = 0.9 * self.seen + answers.detach().mean(0)


class BufferInPlace(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.seen.mul_(0.9).add_(answers.detach().mean(0))


class BufferCount(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        self.seen += 1


class BufferInTraining(Keeping):
    def keep(self, x: Tensor, answers: Tensor) -> None:
        if self.training:
            self.seen += answers.detach().mean(0)


ATTRIBUTES = [(Sum, "total"), (ReadSum, "total"), (Count, "calls"), (Log, "log"), (CountInTraining, "calls")]
BUFFERS = [BufferAdded, BufferAssigned, BufferInPlace, BufferCount, BufferInTraining]


@pytest.mark.parametrize(("kind", "name"), ATTRIBUTES)
def test_what_is_kept_in_attributes_trains_in_lockstep(kind: type[Keeping], name: str) -> None:
    with pytest.raises(NotPackable, match=f"its forward pass keeps something in `{name}`"):
        lower(kind(6, 2), SHAPE)


def test_attributes_changed_in_place_train_in_lockstep() -> None:
    with pytest.raises(NotPackable):
        lower(SumInPlace(6, 2), SHAPE)


@pytest.mark.parametrize("kind", [*BUFFERS, SumInPlace, *(kind for kind, _ in ATTRIBUTES)])
def test_the_net_itself_stays_as_it_was(kind: type[Keeping]) -> None:
    net = kind(6, 2)
    with suppress(NotPackable):
        lower(net, SHAPE)
    assert (net.calls, net.log, net.total.item()) == (0, [], 0.0)
    assert type(net.total) is Tensor and torch.equal(net.seen, torch.zeros(2))


@pytest.mark.parametrize("kind", BUFFERS)
def test_buffers_are_stacked_where_that_is_right(kind: type[Keeping]) -> None:
    """What an answer outside of training leaves behind would depend on the rows beside a row."""
    config = ConfigSpec.model_validate(make_config(model={"use": f"{__name__}:{kind.__name__}"}))
    reason = is_packable(config, SHAPE, "classification")
    assert (reason is None) == (kind is BufferInTraining)
