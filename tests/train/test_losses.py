"""How losses meet nets."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foldtune.errors import SpecError
from foldtune.train.losses import build_loss, make_head
from foldtune.values import Task


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MultiMarginLoss", "own:Loss"])
def test_losses_of_classes_get_one_number_per_class_and_codes(name: str) -> None:
    head = make_head({"use": name}, "classification", 4)
    assert head.outputs == 4 and head.codes
    torch.testing.assert_close(head.predict(torch.zeros(2, 4)), torch.full((2, 4), 0.25))


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "BCELoss"])
@given(logit=st.floats(-30, 30))
def test_binary_losses_get_one_number_and_give_both_probabilities(name: str, logit: float) -> None:
    head = make_head({"use": name}, "classification", 2)
    probabilities = head.predict(torch.tensor([[logit]], dtype=torch.float64))
    positive = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(probabilities.numpy(), [[1 - positive, positive]], atol=1e-12)
    assert head.outputs == 1 and not head.codes


def test_nll_of_log_softmax_is_cross_entropy() -> None:
    head, answers = make_head({"use": "NLLLoss"}, "classification", 3), torch.randn(5, 3)
    target = torch.tensor([0, 1, 2, 1, 0])
    torch.testing.assert_close(nn.NLLLoss()(head.link(answers), target), nn.CrossEntropyLoss()(answers, target))


@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "own:Loss"])
def test_losses_of_a_regression_read_the_answers_as_they_are(name: str) -> None:
    head, answers = make_head({"use": name}, "regression", 2), torch.randn(3, 2)
    assert head.outputs == 2 and not head.codes
    assert torch.equal(head.link(answers), answers) and torch.equal(head.predict(answers), answers)


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "BCELoss", "own:Loss"])
def test_losses_of_labels_get_one_number_per_label(name: str) -> None:
    head, answers = make_head({"use": name}, "multilabel", 3), torch.randn(5, 3)
    assert head.outputs == 3 and not head.codes
    torch.testing.assert_close(head.predict(answers), 1 / (1 + torch.exp(-answers)))


@pytest.mark.parametrize(
    ("name", "task", "outputs", "match"),
    [
        ("BCEWithLogitsLoss", "classification", 3, r"loss: `BCEWithLogitsLoss` needs a target with two classes, .*: 3"),
        ("MSELoss", "classification", 2, "a classification target needs one of CrossEntropyLoss, .* however: MSELoss"),
        ("CrossEntropyLoss", "multilabel", 3, "a multilabel target needs one of BCEWithLogitsLoss, BCELoss or a loss"),
        ("CrossEntropyLoss", "regression", 1, "a regression target needs one of MSELoss, .* or a loss of your own"),
    ],
)
def test_a_loss_that_does_not_fit_the_target(name: str, task: Task, outputs: int, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        make_head({"use": name}, task, outputs)


def test_lists_of_numbers_become_tensors() -> None:
    loss = build_loss({"use": "BCEWithLogitsLoss", "pos_weight": [2]})
    assert torch.equal(loss.get_buffer("pos_weight"), torch.tensor([2.0]))
