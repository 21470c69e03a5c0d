"""Scores of all folds at once are those of each fold alone, in every epoch anew."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from foldtune.spec.schema import ConfigSpec
from foldtune.testing.engine_laws import ROWS, make_config, make_setup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.losses import make_head
from foldtune.train.scoring import Scorer
from foldtune.values import Fold, Task

FOLDS = [Fold(np.setdiff1d(np.arange(ROWS), valid), valid) for valid in np.split(np.arange(ROWS), [13, 20])]


def make_scorer(task: Task, folds: Sequence[Fold] = FOLDS) -> Scorer:
    setup, config = make_setup(task), ConfigSpec.model_validate(make_config(task))
    engine, head = LockstepEngine(setup), make_head(config.loss.node, task, setup.dataset.n_outputs)
    data = engine.folds_data(config, tuple(folds))
    return Scorer(setup.dataset, data, folds, head=head, metrics=engine.metrics, device="cpu")


def make_answers(seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(len(fold.valid), 3, generator=random) for fold in FOLDS]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_a_fold_scores_as_if_it_were_alone(task: Task) -> None:
    scorer = make_scorer(task)
    for epoch in range(2):
        answers = make_answers(epoch)
        alone = [make_scorer(task, [fold]).score([answer])[0] for fold, answer in zip(FOLDS, answers, strict=True)]
        np.testing.assert_allclose(scorer.score(answers), alone, rtol=1e-12)  # sums in another order


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_answer_costs_its_fold_every_score_in_its_epoch_alone(task: Task, bad: float) -> None:
    scorer, answers = make_scorer(task), make_answers(0)
    good = scorer.score(answers)
    ruined = [answer.clone() for answer in answers]
    ruined[1][3, 2] = bad
    found = scorer.score(ruined)
    assert np.isnan(found[1]).all() and np.isfinite(good).all()
    np.testing.assert_array_equal(found[[0, 2]], good[[0, 2]])
    np.testing.assert_array_equal(scorer.score(answers), good)


def test_answers_are_kept_as_logits_and_in_original_units() -> None:
    classes, numbers, answers = make_scorer("classification"), make_scorer("regression"), make_answers(0)
    classes.score(answers), numbers.score(answers)
    logits, values = classes.kept(1, 3), numbers.kept(0, 3)
    assert torch.equal(logits, torch.cat(answers[1:]).to(torch.float16))
    target = torch.from_numpy(make_setup("regression").dataset.target)
    expected = [
        answer.double() * target[fold.train].std(0, correction=0) + target[fold.train].mean(0)
        for fold, answer in zip(FOLDS, answers, strict=True)
    ]
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.cat(expected).float())
    classes.score(make_answers(1))
    assert torch.equal(logits, torch.cat(answers[1:]).to(torch.float16)), "the next epoch overwrites what was kept"
    assert torch.equal(classes.kept(0, 3), torch.cat(make_answers(1)).to(torch.float16))


@pytest.mark.parametrize(("task", "huge"), [("classification", 1e6), ("regression", 1e38)])
def test_answers_beyond_what_they_are_kept_in_are_clipped(task: Task, huge: float) -> None:
    scorer, answers = make_scorer(task), make_answers(0)
    answers[0][:2] = torch.tensor([[huge], [-huge]])
    scorer.score(answers)
    largest = torch.finfo(scorer.dtype).max
    assert scorer.kept(0, 1)[:2].tolist() == [[largest] * 3, [-largest] * 3]
