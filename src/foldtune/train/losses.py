"""What a loss asks of a net's last layer and of the target, and how answers become predictions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune import refs
from foldtune.errors import Path, SpecError
from foldtune.values import Task


def _identity(answers: Tensor) -> Tensor:
    return answers


def _softmax(answers: Tensor) -> Tensor:
    powers = (answers - answers.amax(-1, keepdim=True)).exp_()  # torch's own takes five times as long for few classes
    return powers.div_(powers.sum(-1, keepdim=True))


def _log_softmax(answers: Tensor) -> Tensor:
    return answers.log_softmax(-1)


def _both_classes(answers: Tensor) -> Tensor:
    positive = answers.sigmoid()
    return torch.cat([1 - positive, positive], dim=-1)


@dataclass(frozen=True)
class Head:
    """How a loss meets a net.

    Args:
        outputs: numbers the net answers per row.
        link: from the net's answers (B, outputs) to what the loss reads.
        codes: whether the loss reads class codes (B,); else floats of shape (B, outputs), 0 and 1 for labels.
        predict: from the net's answers (..., outputs) to probabilities (..., C), those of several labels (..., T), or
            values (..., T).
    """

    outputs: int
    link: Callable[[Tensor], Tensor]
    codes: bool
    predict: Callable[[Tensor], Tensor]


LINKS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "CrossEntropyLoss": _identity,
    "NLLLoss": _log_softmax,
    "MultiMarginLoss": _identity,
}
BINARY_LINKS: Mapping[str, Callable[[Tensor], Tensor]] = {"BCEWithLogitsLoss": _identity, "BCELoss": torch.sigmoid}
REGRESSION = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
FITTING: Mapping[Task, tuple[str, ...]] = {
    "classification": (*LINKS, *BINARY_LINKS),
    "multilabel": tuple(BINARY_LINKS),
    "regression": REGRESSION,
}


def make_head(loss: Mapping[str, Any], task: Task, outputs: int, path: Path = ("loss",)) -> Head:
    """The head that a loss needs; a loss of the user's own gets its task's usual one.

    Args:
        loss: the loss's reference.
        task: what the target asks for.
        outputs: number of classes, or of target columns.
        path: the loss's path, for messages.

    Raises:
        SpecError: the loss does not fit the task.

    Example:
        >>> make_head({"use": "BCEWithLogitsLoss"}, "classification", 2).outputs
        1
    """
    name = loss["use"]
    if task == "classification" and name in BINARY_LINKS:
        if outputs != 2:
            hint = "Use CrossEntropyLoss."
            raise SpecError.of(path, f"`{name}` needs a target with two classes", f"{outputs} classes", hint)
        return Head(1, BINARY_LINKS[name], codes=False, predict=_both_classes)
    if task == "classification" and (name in LINKS or ":" in name):
        return Head(outputs, LINKS.get(name, _identity), codes=True, predict=_softmax)
    if task == "multilabel" and (name in BINARY_LINKS or ":" in name):
        return Head(outputs, BINARY_LINKS.get(name, _identity), codes=False, predict=torch.sigmoid)
    if task == "regression" and (name in REGRESSION or ":" in name):
        return Head(outputs, _identity, codes=False, predict=_identity)
    raise SpecError.of(path, f"a {task} target needs one of {', '.join(FITTING[task])} or a loss of your own", name)


def build_loss(loss: Mapping[str, Any], path: Path = ("loss",)) -> nn.Module:
    """The loss that a reference describes; lists of numbers (`weight`, `pos_weight`) become tensors.

    Example:
        >>> build_loss({"use": "CrossEntropyLoss", "weight": [1, 3]}).weight
        tensor([1., 3.])
    """
    node = {key: torch.tensor(value, dtype=torch.float32) if _numbers(value) else value for key, value in loss.items()}
    built: nn.Module = refs.build(node, refs.LOSS, path)
    return built


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int | float) for item in value)
