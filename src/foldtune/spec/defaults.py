"""What a study file leaves out, filled in for its task; the completed tree is what a study stores."""

from collections.abc import Mapping
from typing import Any

from foldtune.values import Task

OPTIMIZER = {
    "use": "AdamW",
    "lr": {"float": [1e-4, 3e-2], "log": True},
    "weight_decay": {"float": [1e-6, 1e-1], "log": True},
}
LOSSES: Mapping[Task, str] = {
    "classification": "CrossEntropyLoss",
    "multilabel": "BCEWithLogitsLoss",
    "regression": "MSELoss",
}
EPOCHS = 50


def complete(tree: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The study file's tree with every section present.

    Args:
        tree: the plain tree as the user wrote it; not changed.
        task: what the target asks for.

    Example:
        >>> complete({"name": "a", "data": {"use": "iris"}, "model": "MLP"}, "classification")["loss"]
        {'use': 'CrossEntropyLoss'}
    """
    defaults: dict[str, Any] = {
        "loss": {"use": LOSSES[task]},
        "optimizer": OPTIMIZER,
        "scheduler": None,
        "regularization": {},
        "preprocessing": {},
        "training": {},
        "search": {},
    }
    filled = {**tree, **{key: value for key, value in defaults.items() if tree.get(key) is None}}
    for section in ("model", "loss", "optimizer", "scheduler"):
        filled[section] = {"use": filled[section]} if isinstance(filled[section], str) else filled[section]
    training = filled["training"]
    return {**filled, "training": {"epochs": EPOCHS, **training} if isinstance(training, Mapping) else training}
