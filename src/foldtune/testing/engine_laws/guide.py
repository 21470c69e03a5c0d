"""Laws of jobs whose schedules follow a given curve."""

from dataclasses import replace

import numpy as np

from foldtune.testing.engine_laws.leaks import relabelled
from foldtune.testing.engine_laws.runs import MakeEngine, Trained, train
from foldtune.testing.engine_laws.studies import folds_apart, make_job
from foldtune.train.engine import TrainingSetup
from foldtune.values import Config, Job


def check_guide_decides(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """With a guide the targets of validation rows change scores alone, and nothing stops early.

    Args:
        make: the engine under test.
        setup: the study.
        config: with ReduceLROnPlateau, eager enough to react within the planned epochs.
    """
    epochs = int(config["training"]["epochs"])
    stopping = {"early_stopping": {"patience": epochs - 2, "min_delta": 1e9}}  # the first is the best
    for folds in (folds_apart(), folds_apart()[:1]):
        plain = make_job({**config, "regularization": stopping}, folds=folds)
        unguided = _with_other_targets(make, setup, plain)
        assert _losses(unguided[0]) != _losses(unguided[1]), "the law needs a schedule that reads scores"
        assert [len(trained.reports) for trained in unguided] == [epochs - 1] * 2, "early stopping does not stop"
        _check_guided(make, setup, plain, (2.0, 1.0, 1.0, 3.0))


def _check_guided(make: MakeEngine, setup: TrainingSetup, job: Job, guide: tuple[float, ...]) -> None:
    epochs = int(job.config["training"]["epochs"])
    one, other = _with_other_targets(make, setup, replace(job, guide=guide))
    assert [report.done for report in one.reports] == [False] * (epochs - 1) + [True], "a guided job stops early"
    assert _losses(one) == _losses(other), "validation rows decide on something"
    scores = zip(one.reports, other.reports, strict=True)
    assert all(not np.array_equal(left.scores, right.scores) for left, right in scores), "the law altered nothing"
    longer = replace(job, guide=(*guide, *guide[-1:] * epochs))
    assert _losses(train(make(setup).start([longer]), 0)) == _losses(one), "the last value does not stand for the rest"
    falling = replace(job, guide=_improving(setup, epochs))
    assert _losses(train(make(setup).start([falling]), 0)) != _losses(one), "the guide decides on nothing"


def _improving(setup: TrainingSetup, epochs: int) -> tuple[float, ...]:
    """Twice as good from epoch to epoch."""
    power = -1 if setup.directions[0] == "minimize" else 1
    return tuple(2.0 ** (power * epoch) for epoch in range(epochs))


def _with_other_targets(make: MakeEngine, setup: TrainingSetup, job: Job) -> tuple[Trained, Trained]:
    """The job as it is, and with other targets in all validation rows."""
    altered = replace(setup, dataset=relabelled(setup.dataset, np.concatenate([fold.valid for fold in job.folds])))
    one, other = (train(make(each).start([job]), 0) for each in (setup, altered))
    return one, other


def _losses(trained: Trained) -> list[list[float]]:
    return [report.losses.tolist() for report in trained.reports]
