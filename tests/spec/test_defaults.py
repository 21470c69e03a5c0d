import pytest

from foldtune.spec.defaults import complete
from foldtune.spec.load import validate
from foldtune.values import Task

BARE = {"name": "a", "data": {"use": "iris"}, "model": "MLP"}


@pytest.mark.parametrize(
    ("task", "loss"),
    [("classification", "CrossEntropyLoss"), ("multilabel", "BCEWithLogitsLoss"), ("regression", "MSELoss")],
)
def test_what_is_left_out_is_filled_in_by_task(task: Task, loss: str) -> None:
    filled = complete(BARE, task)
    validate(filled)
    assert filled["loss"] == {"use": loss} and filled["model"] == {"use": "MLP"}
    assert filled["optimizer"]["use"] == "AdamW" and filled["training"]["epochs"] > 0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_completing_twice_is_completing_once(task: Task) -> None:
    assert complete(complete(BARE, task), task) == complete(BARE, task)


def test_what_is_given_stays() -> None:
    given = {
        **BARE,
        "loss": "L1Loss",
        "training": {"batch_size": 8},
        "optimizer": {"use": "SGD", "lr": 0.1},
        "loss_": 1,
    }
    filled = complete(given, "regression")
    assert filled["loss"] == {"use": "L1Loss"} and filled["optimizer"] == {"use": "SGD", "lr": 0.1}
    assert filled["training"] == {"epochs": 50, "batch_size": 8}
    assert given["loss"] == "L1Loss"
