"""Configurations that cover what a study file can say about training, by name."""

from typing import Any

from foldtune.testing.engine_laws import EPOCHS, make_config
from foldtune.values import Config

NORMED = {"use": "MLP", "n_blocks": 2, "d_block": 8, "norm": "BatchNorm1d", "dropout": 0.3}


def _with(optimizer: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None, **rest: Any) -> Config:
    changes = {"model": NORMED, **rest, **({"optimizer": optimizer} if optimizer else {})}
    return make_config(scheduler=scheduler, **changes)


OPTIMIZERS: dict[str, Config] = {
    "sgd": _with({"use": "SGD", "lr": 0.1}),
    "nesterov": _with({"use": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": _with({"use": "Adam", "lr": 0.01, "amsgrad": True}),
    "adamw": _with({"use": "AdamW", "lr": 0.01}),
    "adamw unfused": _with({"use": "AdamW", "lr": 0.01, "fused": False}),
    "rmsprop": _with({"use": "RMSprop", "lr": 0.01, "centered": True, "momentum": 0.5}),
    "nadam": _with({"use": "NAdam", "lr": 0.01}),
    "lbfgs": _with({"use": "LBFGS", "lr": 0.1, "max_iter": 3}, regularization={"l2": 0.01, "clip_value": 1.0}),
}
EVERY_BATCH: dict[str, Config] = {
    "one cycle": _with(scheduler={"use": "OneCycleLR"}),
    "one cycle, adam": _with({"use": "Adam"}, {"use": "OneCycleLR", "max_lr": 0.02}),
    "cyclic": _with(scheduler={"use": "CyclicLR", "base_lr": 0.001, "step_size_up": 2}),
}
EVERY_EPOCH: dict[str, Config] = {
    "step": _with(scheduler={"use": "StepLR", "step_size": 2}),
    "cosine": _with(scheduler={"use": "CosineAnnealingLR"}),
    "exponential": _with(scheduler={"use": "ExponentialLR", "gamma": 0.5}),
    "multi step": _with(scheduler={"use": "MultiStepLR", "milestones": [1, 3]}),
    "warm-up": _with(
        scheduler={
            "use": "SequentialLR",
            "schedulers": [{"use": "LinearLR", "start_factor": 0.1, "total_iters": 2}, {"use": "CosineAnnealingLR"}],
            "milestones": [2],
        }
    ),
}
PLATEAU: dict[str, Config] = {  # without dropout, whose bits differ between engines, both react alike
    "plateau": _with(
        model={**NORMED, "dropout": 0.0},
        scheduler={"use": "ReduceLROnPlateau", "patience": 0, "threshold": 0.05, "factor": 0.5},
    ),
}
REGULARIZED: dict[str, Config] = {
    "penalties": _with(regularization={"l1": 0.001, "l2": 0.01}),
    "clipped": _with({"use": "AdamW", "lr": 0.01}, regularization={"clip_norm": 0.5, "clip_value": 0.1}),
    "residual": make_config(model={"use": "TabularResNet", "n_blocks": 1, "d_block": 8, "dropout": 0.2}),
    "layers": make_config(
        model={"use": "Sequential", "layers": [{"use": "Linear", "out_features": 5}, "BatchNorm1d", "ReLU", "Linear"]}
    ),
}
FIXED: dict[str, Config] = {**OPTIMIZERS, **EVERY_BATCH, **EVERY_EPOCH, **REGULARIZED}
"""None of these reads a score."""

CONFIGS: dict[str, Config] = {**FIXED, **PLATEAU}

assert all(config["training"]["epochs"] == EPOCHS for config in CONFIGS.values())
