"""The laws of engines, over every engine and a table of configurations."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune.testing import engine_laws as laws
from foldtune.testing.engine_laws import MakeEngine, make_config, make_setup
from foldtune.train.engine import TrainingSetup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine
from foldtune.values import Config, FailureKind, Task

from .configs import CONFIGS, FIXED, PLATEAU

ENGINES: dict[str, MakeEngine] = {"lockstep": LockstepEngine, "packed": PackedEngine}


@pytest.fixture(params=list(ENGINES))
def make(request: pytest.FixtureRequest) -> MakeEngine:
    return ENGINES[request.param]


SOME = ("nesterov", "lbfgs", "one cycle, adam", "warm-up", "plateau", "clipped", "residual")
over_configs: Callable[..., Any] = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
over_some: Callable[..., Any] = pytest.mark.parametrize("config", [CONFIGS[name] for name in SOME], ids=SOME)


class Failing(nn.Linear):
    """Raises as told as soon as it trains; `meta` builds and `eval` are left alone."""

    def __init__(self, in_features: int, out_features: int, error: str) -> None:
        super().__init__(in_features, out_features)
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if self.error == "memory":
            raise MemoryError("no room")
        if self.error == "torch memory":
            torch.empty(10**15)
        if self.error == "nan":
            return super().forward(x) * torch.nan
        raise KeyError("mine")


class Remembering(nn.Module):
    """Keeps what it has seen in a buffer that `state_dict` leaves out, and in an attribute of Python's."""

    seen: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_features, out_features)
        self.register_buffer("seen", torch.ones(()), persistent=False)
        self.steps = 1

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.add_(x.detach().abs().mean().item())
            self.steps += 1
        return self.head(x) * self.seen / self.steps  # type: ignore[no-any-return]

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


class Turned(nn.Module):
    """Its weight lies in memory column by column, and so do the moments that an optimizer keeps of it."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(out_features, in_features).t())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


ADAMW = {"use": "AdamW", "lr": 0.01}
OWN: dict[str, Config] = {
    "remembering": make_config(model={"use": f"{__name__}:Remembering"}, optimizer=ADAMW),
    "turned": make_config(model={"use": f"{__name__}:Turned"}, optimizer=ADAMW),
    "bfloat16": make_config(training={"epochs": 4, "batch_size": 8, "precision": "bf16-mixed"}, optimizer=ADAMW),
}
STOPPING = make_config(
    optimizer={"use": "SGD", "lr": 1.0},
    training={"epochs": 12, "batch_size": 8},
    regularization={"early_stopping": {"patience": 3}},
)

FAILURES: dict[str, tuple[Config, FailureKind, str]] = {
    "huge lr": (make_config(optimizer={"use": "SGD", "lr": 1e30}), "diverged", "^DivergedError: .*fold 0"),
    "nan": (make_config(model={"use": f"{__name__}:Failing", "error": "nan"}), "diverged", "is not finite"),
    "raises": (make_config(model={"use": f"{__name__}:Failing", "error": "key"}), "user code", "^KeyError: 'mine'"),
    "memory": (make_config(model={"use": f"{__name__}:Failing", "error": "memory"}), "out of memory", "no room"),
    "torch memory": (
        make_config(model={"use": f"{__name__}:Failing", "error": "torch memory"}),
        "out of memory",
        "can't allocate memory",
    ),
    "no such argument": (make_config(model={"use": "MLP", "depth": 3}), "user code", "argument 'depth'"),
    "preprocessing": (make_config(preprocessing={"columns": [{"columns": ["q"], "steps": []}]}), "data", "q"),
    "batch norm without a batch": (
        make_config(model={"use": "MLP", "norm": "BatchNorm1d"}, training={"epochs": 4, "batch_size": 1}),
        "user code",
        "more than 1 value per channel when training",
    ),
}


@over_some
def test_same_seed_same_numbers(make: MakeEngine, config: Config) -> None:
    laws.check_same_seed_same_numbers(make, make_setup(), config)


@over_configs
def test_restored_equals_uninterrupted(make: MakeEngine, config: Config) -> None:
    laws.check_restored_equals_uninterrupted(make, make_setup(), config)


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("config", [*OWN.values(), STOPPING], ids=[*OWN, "early stopping"])
def test_nets_of_the_users_own_go_on(make: MakeEngine, config: Config) -> None:
    laws.check_restored_equals_uninterrupted(make, make_setup(), config)


def test_early_stopping_stops_where_it_would_have(make: MakeEngine) -> None:
    """Else the law above says nothing of it."""
    assert 3 < laws.train(make(make_setup()).start([laws.make_job(STOPPING)]), 0).result.epochs < 12


def test_restored_in_other_company(make: MakeEngine) -> None:
    configs = [STOPPING, *(CONFIGS[name] for name in SOME), OWN["remembering"], STOPPING, CONFIGS["adamw"]]
    laws.check_restored_in_other_company(make, make_setup(), configs)


def test_restored_regressions_of_another_seed(make: MakeEngine) -> None:
    setup, config = make_setup("regression", outputs=2, seed=5), make_config("regression")
    laws.check_restored_equals_uninterrupted(make, setup, config)
    laws.check_restored_in_other_company(make, setup, [config] * 3)


@over_some
def test_state_of_a_done_job(make: MakeEngine, config: Config) -> None:
    laws.check_state_of_a_done_job(make, make_setup(), config)


@pytest.mark.parametrize("name", ["adam", "nesterov", "plateau", "one cycle, adam", "warm-up"])
def test_state_that_does_not_fit(make: MakeEngine, name: str) -> None:
    laws.check_state_that_does_not_fit(make, make_setup(), CONFIGS[name])


@pytest.mark.parametrize("name", ["no such argument", "preprocessing"])
def test_failure_while_going_on(make: MakeEngine, name: str) -> None:
    laws.check_failure_while_going_on(make, make_setup(), make_config(), FAILURES[name][0])


@over_some
def test_jobs_do_not_touch(make: MakeEngine, config: Config) -> None:
    laws.check_jobs_do_not_touch(make, make_setup(), config)


@over_some
def test_reports(make: MakeEngine, config: Config) -> None:
    laws.check_reports(make, make_setup(), config)


@pytest.mark.parametrize("name", [name for name in SOME if name in FIXED])
def test_nothing_crosses(make: MakeEngine, name: str) -> None:
    laws.check_nothing_crosses(make, make_setup(), FIXED[name])


@pytest.mark.parametrize("outputs", [1, 2])
def test_nothing_crosses_in_a_regression(make: MakeEngine, outputs: int) -> None:
    laws.check_nothing_crosses(make, make_setup("regression", outputs=outputs), make_config("regression"))


def test_nothing_crosses_between_labels(make: MakeEngine) -> None:
    laws.check_nothing_crosses(make, make_setup("multilabel"), make_config("multilabel"))


@pytest.mark.parametrize("config", PLATEAU.values(), ids=PLATEAU)
def test_schedule_reads_other_folds(make: MakeEngine, config: Config) -> None:
    longer = {**config, "training": {"epochs": 9, "batch_size": 8}}
    laws.check_schedule_reads_other_folds(make, make_setup(), longer)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_chosen_epoch_reads_other_folds(make: MakeEngine, task: Task) -> None:
    config = make_config(task, optimizer={"use": "SGD", "lr": 0.5}, training={"epochs": 20, "batch_size": 8})
    laws.check_chosen_epoch_reads_other_folds(make, make_setup(task), config)


LONG = {"epochs": 20, "batch_size": 8}
"""More epochs than may be chosen."""
HEADS: dict[str, tuple[TrainingSetup, Config]] = {
    "softmax": (make_setup(), make_config(training=LONG)),
    "single logit": (make_setup(outputs=2), make_config(training=LONG, loss={"use": "BCEWithLogitsLoss"})),
    "labels": (make_setup("multilabel"), make_config("multilabel", training=LONG)),
    "values": (make_setup("regression", outputs=2), make_config("regression", training=LONG)),
}
over_heads: Callable[..., Any] = pytest.mark.parametrize(("setup", "config"), HEADS.values(), ids=HEADS)


@over_heads
def test_answers_give_the_scores(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    laws.check_answers_give_the_scores(make, setup, config)


@over_heads
def test_answers_not_kept(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    laws.check_answers_not_kept(make, setup, config)


@pytest.mark.parametrize("model", [{"use": "MLP", "norm": "BatchNorm1d"}, {"use": "TabularResNet"}])
@over_heads
def test_counts_parameters(make: MakeEngine, setup: TrainingSetup, config: Config, model: dict[str, Any]) -> None:
    laws.check_counts_parameters(make, setup, {**config, "model": model})


@over_heads
def test_guide_decides(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    eager = {"use": "ReduceLROnPlateau", "patience": 0, "threshold": 0.05, "factor": 0.5}
    steep = {"use": "SGD", "lr": 0.2 if setup.dataset.task == "regression" else 1.0}
    training = {"epochs": 9, "batch_size": 8}
    laws.check_guide_decides(make, setup, {**config, "scheduler": eager, "optimizer": steep, "training": training})


@pytest.mark.parametrize("model", [{"use": "MLP"}, {"use": "TabularResNet", "norm": "LayerNorm"}])
def test_other_key_other_start(make: MakeEngine, model: dict[str, Any]) -> None:
    laws.check_other_key_other_start(make, make_setup(), make_config(model=model))


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_stops_early(make: MakeEngine, patience: int) -> None:
    config = make_config(optimizer={"use": "SGD", "lr": 1.0}, training={"epochs": 12, "batch_size": 8})
    laws.check_stops_early(make, make_setup(), config, patience=patience)


def test_stops_early_where_more_is_better(make: MakeEngine) -> None:
    setup = make_setup()
    swapped = replace(setup, metrics=setup.metrics[::-1], directions=("maximize",))
    config = make_config(optimizer={"use": "SGD", "lr": 1.0}, training={"epochs": 12, "batch_size": 8})
    laws.check_stops_early(make, swapped, config, patience=2)


@pytest.mark.parametrize("name", FAILURES)
def test_failure_is_one_jobs_own(make: MakeEngine, name: str) -> None:
    failing, kind, match = FAILURES[name]
    laws.check_failure_is_one_jobs_own(make, make_setup(), make_config(), failing=failing, kind=kind, match=match)
