"""What is kept of a trial's out-of-fold answers: all of them, the objective row by row, or nothing."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.errors import Problem
from foldtune.selection.answers import predictions
from foldtune.selection.known import is_row_mean, row_values
from foldtune.spec.schema import AnswersChoice
from foldtune.store.records import Kept
from foldtune.values import Fold, Job, OutOfFold

logger = logging.getLogger("foldtune")

MOST_BYTES = 8 * 2**20
"""Of one trial's answers, where the study file does not say what is kept."""

_BYTES = {"classification": 2, "multilabel": 2, "regression": 4}  # of one number


def losses_problems(asked: AnswersChoice, objective: Mapping[str, Any]) -> list[Problem]:
    """Why losses cannot stand for the answers.

    Args:
        asked: `search.out_of_fold`.
        objective: the first one's reference.
    """
    if asked != "losses" or _is_row_mean(objective):
        return []
    hint = "Write answers or none, or choose an objective such as log_loss."
    return [
        Problem(("search", "out_of_fold"), "losses need an objective that is a mean over rows", _name(objective), hint)
    ]


def resolve(
    asked: AnswersChoice, *, objective: Mapping[str, Any], dataset: Dataset, folds: Sequence[Fold]
) -> AnswersChoice:
    """What a new study keeps, once and for all its trials.

    Args:
        asked: `search.out_of_fold`.
        objective: the first one's reference.
        dataset: the development rows.
        folds: their partition.
    """
    if asked != "auto":
        return asked
    size = sum(len(fold.valid) for fold in folds) * dataset.n_outputs * _BYTES[dataset.task]
    if size <= MOST_BYTES:
        return "answers"
    if _is_row_mean(objective):
        return "losses"
    text = "out-of-fold answers take %d MB a trial, and `%s` is no mean over rows: none are kept (search.out_of_fold)"
    logger.warning(text, size // 10**6, _name(objective))
    return "none"


def keep(
    job: Job,
    found: OutOfFold | None,
    *,
    choice: AnswersChoice,
    objective: Mapping[str, Any],
    dataset: Dataset,
) -> tuple[Kept, ...]:
    """What is to be stored of a job's answers: one thing, or nothing.

    Args:
        job: the job, which has ended.
        found: what its models answered.
        choice: what the study keeps.
        objective: the first one's reference.
        dataset: the development rows.
    """
    if found is None or choice == "none":
        return ()
    if choice == "losses":
        rows = np.concatenate([fold.valid for fold in job.folds])
        losses = row_values(_name(objective), dataset.target[rows], predictions(found))
        found = OutOfFold("losses", losses[:, None].astype(np.float32), found.epochs)
    return (Kept(job.trial, job.repeat, found),)


def _is_row_mean(objective: Mapping[str, Any]) -> bool:
    return set(objective) == {"use"} and is_row_mean(_name(objective))


def _name(objective: Mapping[str, Any]) -> str:
    return str(objective["use"])
