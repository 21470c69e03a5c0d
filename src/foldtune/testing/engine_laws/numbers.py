"""Laws of what a job alone gives."""

from dataclasses import replace

import numpy as np
import torch

from foldtune.testing.engine_laws.runs import MakeEngine, assert_same, train
from foldtune.testing.engine_laws.studies import K, make_job
from foldtune.train.engine import TrainingSetup
from foldtune.train.stopping import eligible_epochs, fold_mean
from foldtune.values import Config


def check_same_seed_same_numbers(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A job gives the same numbers in any engine of the same study, whatever torch's global generator does."""
    engine = make(setup)
    first = train(engine.start([make_job(config)]), 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        assert_same(train(engine.start([make_job(config)]), 0), first)
        assert torch.equal(torch.get_rng_state(), before), "training leaves torch's global generator changed"
    assert_same(train(make(setup).start([make_job(config)]), 0), first)


def check_other_key_other_start(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Another trial number, repeat or seed is another initialisation: scores differ at a learning rate of zero.

    The net must have no batch norm, whose statistics follow the order of the rows.
    """
    frozen = {**config, "optimizer": {"use": "SGD", "lr": 0.0}, "scheduler": None}
    other_seed = replace(setup, seed=setup.seed + 1)
    starts = [
        train(make(setup).start([make_job(frozen)]), 0, 1),
        train(make(setup).start([make_job(frozen, 1)]), 1, 1),
        train(make(setup).start([make_job(frozen, repeat=1)]), 0, 1),
        train(make(other_seed).start([make_job(frozen)]), 0, 1),
    ]
    first_scores = {start.reports[0].scores[:, 0].tobytes() for start in starts}
    assert len(first_scores) == len(starts), "two of them start from the same weights"


def check_reports(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Epochs count from 1 and end where planned; scores of the result are those of its chosen epochs."""
    job = make_job(config, 5, repeat=2)
    trained = train(make(setup).start([job]), 5)
    epochs = int(config["training"]["epochs"])
    assert [(report.trial, report.epoch) for report in trained.reports] == [(5, e) for e in range(1, epochs + 1)]
    assert [report.done for report in trained.reports] == [False] * (epochs - 1) + [True]
    for report in trained.reports:
        assert report.repeat == 2
        assert report.losses.shape == (K,) and report.scores.shape == (K, len(setup.metrics))
        assert np.isfinite(report.losses).all() and report.seconds > 0
    result = trained.result
    assert (result.trial, result.epochs, result.chosen.shape) == (5, epochs, (K,))
    assert set(result.chosen.tolist()) <= set(eligible_epochs(epochs, epochs))
    curves = np.stack([report.scores for report in trained.reports])
    assert np.array_equal(result.scores, curves[result.chosen - 1, np.arange(K)])


def check_stops_early(make: MakeEngine, setup: TrainingSetup, config: Config, *, patience: int) -> None:
    """A job is done as soon as its fold mean has not improved for `patience` epochs, and not before."""
    stopping = {**config, "regularization": {"early_stopping": {"patience": patience}}}
    whole = train(make(setup).start([make_job(config)]), 0)
    signs = [1 if setup.directions[0] == "minimize" else -1] * len(whole.reports)
    means = [sign * fold_mean(report.scores[:, 0]) for sign, report in zip(signs, whole.reports, strict=True)]
    stops = [epoch for epoch in range(1, len(means) + 1) if epoch - (int(np.argmin(means[:epoch])) + 1) >= patience]
    assert stops, "the law needs a configuration whose fold mean gets worse"
    short = train(make(setup).start([make_job(stopping)]), 0)
    assert [report.done for report in short.reports] == [False] * (stops[0] - 1) + [True]
    for one, other in zip(short.reports, whole.reports, strict=False):
        assert np.array_equal(one.scores, other.scores), "early stopping changes an epoch that was trained"
    assert short.result.epochs == stops[0] and short.result.chosen.max() <= stops[0]
