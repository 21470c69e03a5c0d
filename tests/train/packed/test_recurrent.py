"""Recurrent layers: the kernel against autograd, nets that use them against lockstep, and what is refused."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import check_restored_equals_uninterrupted, make_config, make_job
from foldtune.train.packed import PackedEngine, is_packable
from foldtune.train.packed.kernel import Place
from foldtune.train.packed.kernels.recurrent import KINDS, bind_recurrent, weights_of
from foldtune.train.packed.lowering import lower
from foldtune.values import DataShape
from tests.train.packed.test_engine import assert_equal_engines, exact
from tests.train.packed.test_kernels import check_against, filled, nets_of, place_of, random
from tests.train.packed.test_nets import SEQUENCE, assert_company_changes_nothing, make_configs, make_setup_of

LAYERS: dict[str, Any] = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


class Net(nn.Module):
    """As users write it; `read` is what they use of the answer."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        out_features: int,
        layer: str,
        read: str = "last",
        hidden: int = 7,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.rnn: Any = LAYERS[layer](input_shape[-1], hidden, **{"batch_first": True, **settings})
        self.read = read
        width = settings.get("proj_size", hidden)
        self.head = nn.Linear(width * (2 if self.rnn.bidirectional or read == "two layers" else 1), out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(getattr(self, self.read.replace(" ", "_"))(x))  # type: ignore[no-any-return]

    def last(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return out[:, -1]  # type: ignore[no-any-return]

    def first(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0][:, 0, :]  # type: ignore[no-any-return]

    def mean(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return out.mean(1)  # type: ignore[no-any-return]

    def highest(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return torch.amax(out, dim=-2) + out.sum(dim=[1]) - out[:, 1:3].mean(1, keepdim=True)[:, 0]  # type: ignore[no-any-return]

    def state(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x)
        return h[-1]  # type: ignore[no-any-return]

    def squeezed(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x)
        return h.squeeze(0)  # type: ignore[no-any-return]

    def long_state(self, x: Tensor) -> Tensor:
        _, (h, _) = self.rnn(x)
        return torch.tanh(h[-1, :, :])

    def both_ways(self, x: Tensor) -> Tensor:
        out, h = self.rnn(x)
        return torch.cat([h[-2], h[-1]], dim=1) + out[:, 1]  # type: ignore[no-any-return]

    def two_layers(self, x: Tensor) -> Tensor:
        _, (h, _) = self.rnn(x)
        return torch.cat([h[0], h[1]], dim=1)

    def twice(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        return self.rnn(out)[0][:, -1]  # type: ignore[no-any-return]

    def first_layer(self, x: Tensor) -> Tensor:
        return self.rnn(x)[1][0]  # type: ignore[no-any-return]

    def cell_state(self, x: Tensor) -> Tensor:
        _, (_, c) = self.rnn(x)
        return c[-1]  # type: ignore[no-any-return]

    def all_states(self, x: Tensor) -> Tensor:
        return self.rnn(x)[1].sum(0)  # type: ignore[no-any-return]

    def steps_first(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x.transpose(0, 1))
        return out[-1]  # type: ignore[no-any-return]

    def zeros(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x, torch.zeros(1, x.size(0), 7, dtype=x.dtype).to(x.device))
        return h[-1]  # type: ignore[no-any-return]

    def long_zeros(self, x: Tensor) -> Tensor:
        start = x.new_zeros(2, x.shape[0], 7)
        out, _ = self.rnn(x, (start, torch.zeros_like(start)))
        return out[:, -1, :]  # type: ignore[no-any-return]

    def started(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x, torch.ones(1, x.size(0), 7, dtype=x.dtype))
        return h[-1]  # type: ignore[no-any-return]


def node(layer: str, read: str = "last", **settings: Any) -> dict[str, Any]:
    return {"use": f"{__name__}:{Net.__name__}", "layer": layer, "read": read, **settings}


BOTH: dict[str, Any] = {"bidirectional": True}
DEEP: dict[str, Any] = {"num_layers": 2}
NETS: dict[str, dict[str, Any]] = {
    "RNN": node("RNN"),
    "RNN of rectifiers": node("RNN", "mean", nonlinearity="relu", **DEEP),
    "RNN both ways": node("RNN", "both ways", bias=False, **BOTH),
    "LSTM": node("LSTM"),
    "LSTM state": node("LSTM", "long state", bias=False),
    "LSTM both ways": node("LSTM", "mean", **BOTH, **DEEP),
    "LSTM layers": node("LSTM", "two layers", **DEEP),
    "LSTM ends": node("LSTM", "first", **BOTH),
    "GRU": node("GRU", "state", **DEEP),
    "GRU zeros": node("GRU", "zeros"),
    "LSTM zeros": node("LSTM", "long zeros", **DEEP),
    "GRU first layer": node("GRU", "first layer", **DEEP),
    "GRU squeezed": node("GRU", "squeezed"),
    "GRU both ways": node("GRU", "both ways", **BOTH, **DEEP),
    "GRU highest": node("GRU", "highest", bias=False),
}
over_nets = pytest.mark.parametrize("name", NETS)


@dataclass(frozen=True)
class Case:
    """A layer, and where it works.

    Args:
        mode: by torch's name.
        steps: T.
        features: F.
        hidden: H.
        bias: as in torch.
        bidirectional: as in torch.
        columns: whether its input lies in columns.
        wanted: whether the input has a gradient.
    """

    mode: str
    steps: int
    features: int
    hidden: int
    bias: bool
    bidirectional: bool
    columns: bool
    wanted: bool

    def layer(self) -> nn.RNNBase:
        kind, _, function = self.mode.partition("_")
        settings: dict[str, Any] = {"nonlinearity": function.lower()} if function else {}
        settings |= {"bias": self.bias, "bidirectional": self.bidirectional, "batch_first": True}
        layer: nn.RNNBase = LAYERS[kind](self.features, self.hidden, **settings)
        return layer

    def place(self, nets: list[nn.Module], x: Tensor, out: Tensor) -> Place:
        """The memory of its kernel."""
        place = place_of([filled(x.flatten(2) if self.columns else x)], out, nets, wanted=self.wanted)
        names = weights_of(self.layer(), 0).items()
        params = {ours: place.params[theirs] for ours, theirs in names}
        return replace(place, params=params, grads={ours: place.grads[theirs] for ours, theirs in names})


CASES = st.builds(
    Case,
    mode=st.sampled_from(sorted(KINDS)),
    steps=st.integers(1, 5),
    features=st.integers(1, 4),
    hidden=st.integers(1, 9),
    bias=st.booleans(),
    bidirectional=st.booleans(),
    columns=st.booleans(),
    wanted=st.booleans(),
)


@given(CASES)
@settings(deadline=None)
def test_gradients_are_those_of_autograd(case: Case) -> None:
    nets, trained = nets_of(case.layer()), nets_of(case.layer())
    x = random(case.steps, case.features)
    inputs = [(part.flatten(1) if case.columns else part.clone()).requires_grad_() for part in x]
    answers = [net(part.view(x.shape[1:]))[0].flatten(1) for net, part in zip(trained, inputs, strict=True)]
    place = case.place(nets, x, torch.stack(answers).detach())
    leaves = [[*([part] if case.wanted else []), *net.parameters()] for part, net in zip(inputs, trained, strict=True)]
    check_against(place, bind_recurrent(case.layer(), "layer", x.shape[2:]), answers, leaves)


@over_nets
def test_equals_lockstep(name: str) -> None:
    jobs = [make_job(config, trial) for trial, config in enumerate(make_configs(NETS[name]))]
    assert_equal_engines(jobs, exact(make_setup_of(SEQUENCE)), atol=1e-8)


@over_nets
def test_company_changes_nothing(name: str) -> None:
    assert_company_changes_nothing(make_configs(NETS[name]), make_setup_of(SEQUENCE))


def test_unlike_nets_do_not_touch() -> None:
    configs = [make_config(model=net) for net in NETS.values()]
    assert_company_changes_nothing(configs, make_setup_of(SEQUENCE))


def test_a_pack_restored_goes_on_bitwise() -> None:
    config = make_config(model=NETS["GRU both ways"])
    check_restored_equals_uninterrupted(PackedEngine, make_setup_of(SEQUENCE), config)


def test_dropout_between_layers_is_an_operation_of_training() -> None:
    """Between them alone: nothing follows the last."""
    net = Net(SEQUENCE, 3, "LSTM", num_layers=3, dropout=0.25)
    training, answering = lower(net, DataShape(SEQUENCE, (), 3))
    rates = {op.name: op.dropout for op in training.ops if op.dropout is not None}
    assert rates == {"rnn.layer0.dropout": 0.25, "rnn.layer1.dropout": 0.25}
    assert all(op.dropout is None for op in answering.ops)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("net", "match"),
    [
        (node("GRU", "state", batch_first=False), "`GRU` (at `rnn`) must get (B, T, F), with `batch_first: true`"),
        (node("GRU", "steps first", batch_first=False), "`transpose` has no stacked kernel"),
        (node("LSTM", proj_size=3), "`LSTM` (at `rnn`) has no stacked kernel with `proj_size`"),
        (node("LSTM", "cell state"), "of a recurrent layer, only `output` and parts of `h_n` such as `h_n[-1]`"),
        (node("GRU", "all states"), "of a recurrent layer, only `output` and parts of `h_n` such as `h_n[-1]`"),
        (node("RNN", "started"), "layer `rnn` must get one tensor, and start at zero"),
    ],
)
def test_nets_that_are_refused(net: dict[str, Any], match: str) -> None:
    config = ConfigSpec.model_validate(make_config(model=net))
    found = is_packable(config, DataShape(SEQUENCE, (), 3), "classification")
    assert found is not None and match in found, found


def test_dropout_between_layers_does_not_depend_on_company() -> None:
    configs = make_configs(node("LSTM", num_layers=2, dropout=0.4))
    assert_company_changes_nothing(configs, make_setup_of(SEQUENCE))


@pytest.mark.parametrize(
    ("net", "steps", "expected"),
    [
        (node("LSTM", hidden=64), 256, "packed"),
        (node("LSTM", hidden=64), 257, "lockstep"),
        (node("GRU", hidden=64), 257, "packed"),
        (node("GRU", hidden=128), 2, "packed"),
        (node("GRU", hidden=129), 2, "lockstep"),
        (node("LSTM", hidden=129, **DEEP), 2, "lockstep"),
        (node("RNN", hidden=129), 2, "packed"),
    ],
)
def test_layers_that_torch_computes_faster_are_left_to_it(net: dict[str, Any], steps: int, expected: str) -> None:
    config = make_config(model=net, training={"epochs": 1, "batch_size": 8})
    (report,) = PackedEngine(make_setup_of((steps, 1))).start([make_job(config)]).step()
    assert report.failure is None, report.failure
    assert report.engine == expected
    assert report.reason is not None
    assert ("stacked kernels are slower for `rnn.layer0`" in report.reason) == (expected == "lockstep")
