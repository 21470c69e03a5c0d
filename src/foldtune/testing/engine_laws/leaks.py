"""Laws of what validation rows may change."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.testing.engine_laws.runs import MakeEngine, Trained, train
from foldtune.testing.engine_laws.studies import folds_apart, make_job
from foldtune.testing.leak_laws import scrambled
from foldtune.train.engine import TrainingSetup
from foldtune.values import Config, Fold, Rows


def check_nothing_crosses(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Features and labels of the rows that validate a fold change none of its training losses.

    The configuration must not be adaptive: ReduceLROnPlateau and early stopping read the other folds' scores, and these
    folds train on the rows in question.
    """
    job = make_job(config)
    plain = train(make(setup).start([job]), 0)
    for index, fold in enumerate(job.folds):
        altered = replace(setup, dataset=_altered(setup.dataset, fold))
        other = train(make(altered).start([job]), 0)
        for one, two in zip(plain.reports, other.reports, strict=True):
            assert one.losses[index] == two.losses[index], f"fold {index} has seen its validation rows"
            assert not np.array_equal(one.scores[index], two.scores[index]), "the law has altered nothing"


def check_schedule_reads_other_folds(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """When one fold's validation rows change, the learning rates that change first are those of other folds.

    Later that fold may follow, for it reads the scores of folds that trained differently.

    Args:
        make: the engine under test.
        setup: the study.
        config: with ReduceLROnPlateau, eager enough to react within the planned epochs.
    """
    for index, (plain, other) in enumerate(_apart(make, setup, config)):
        pairs = zip(plain.reports, other.reports, strict=True)
        changed = [one.losses != two.losses for one, two in pairs if (one.losses != two.losses).any()]
        assert changed, "the law needs a schedule that reacts to scores"
        assert not changed[0][index], f"fold {index} reacts to its own scores"


def check_chosen_epoch_reads_other_folds(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A fold's chosen epoch does not follow its own curve; those of other folds may.

    Args:
        make: the engine under test.
        setup: the study.
        config: without ReduceLROnPlateau, and long enough for epochs to matter.
    """
    moved = False
    for index, (plain, other) in enumerate(_apart(make, setup, config)):
        assert plain.result.chosen[index] == other.result.chosen[index], f"e_{index} follows fold {index}'s own curve"
        moved = moved or not np.array_equal(plain.result.chosen, other.result.chosen)
    assert moved, "the law needs curves whose best epoch can move"


def _apart(make: MakeEngine, setup: TrainingSetup, config: Config) -> Iterator[tuple[Trained, Trained]]:
    """For each fold: a job as it is, and with other rows validating that fold, which no fold trains on."""
    job = make_job(config, folds=folds_apart())
    plain = train(make(setup).start([job]), 0)
    for fold in job.folds:
        altered = replace(setup, dataset=_altered(setup.dataset, fold))
        yield plain, train(make(altered).start([job]), 0)


def _altered(dataset: Dataset, fold: Fold) -> Dataset:
    """Other features and labels in a fold's validation rows, near enough for every loss and metric to stay finite."""
    other = scrambled(dataset, fold.valid, seed=3)
    numeric = dataset.numeric.copy()
    numeric[fold.valid] = -2 * numeric[fold.valid] + 1
    return replace(other, numeric=numeric, target=relabelled(dataset, fold.valid).target)


def relabelled(dataset: Dataset, rows: Rows) -> Dataset:
    """Other targets in some rows."""
    target = dataset.target.copy()
    if dataset.task == "classification":
        target[rows] = (target[rows] + 1) % dataset.n_outputs
    elif dataset.task == "multilabel":
        target[rows] = 1 - target[rows]
    else:
        target[rows] = scrambled(dataset, rows, seed=3).target[rows]
    return replace(dataset, target=target)
