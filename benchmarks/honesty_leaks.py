"""Experiments on leaks: what must not cross from the rows that score to the rows that train, and from a kill."""

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.feature_selection import SelectKBest

from benchmarks.honesty_claims import Claim, Experiment, near
from foldtune.data.dataset import Dataset
from foldtune.data.locking import lock_test_rows
from foldtune.data.preprocess import fit_fold
from foldtune.data.splitters import make_folds
from foldtune.search.plan import make_plan
from foldtune.search.result import StudyResult, load_study
from foldtune.search.run import run_study
from foldtune.spec.load import load_spec
from foldtune.spec.schema import PreprocessingSpec
from foldtune.values import Floats, Fold, Rows
from tests.chaos.arena import Arena

SCREENED, KEPT = 5000, 100
SCREENING = PreprocessingSpec.model_validate({"numeric": [{"use": "sklearn.feature_selection:SelectKBest", "k": KEPT}]})
GROUPED: tuple[dict[str, Any], ...] = (
    {"use": "GroupKFold", "n_splits": 4},
    {"use": "StratifiedGroupKFold", "n_splits": 4},
    {"use": "GroupShuffleSplit", "n_splits": 4},
)
GAP = 3
TIMED = {"use": "TimeSeriesSplit", "n_splits": 4, "gap": GAP}
KNOWN_AFTER, EMBARGO = 3, 2
PURGED = {"use": "PurgedKFold", "n_splits": 4, "label_duration": KNOWN_AFTER, "embargo": EMBARGO}


def made(numeric: Floats, target: Rows, *, groups: Rows | None = None, time: Floats | None = None) -> Dataset:
    """Numeric columns and two classes."""
    names = tuple(f"x{column}" for column in range(numeric.shape[1]))
    return Dataset(
        numeric=numeric,
        categorical=np.empty((len(target), 0), dtype=object),
        target=target,
        task="classification",
        classes=(0, 1),
        numeric_names=names,
        target_names=("y",),
        groups=groups,
        time=time,
    )


def screening(studies: int) -> list[Claim]:
    """50 rows, 5000 columns of noise, the 100 that fit best are kept, nearest neighbour."""
    outside, inside = [], []
    target = np.arange(50) % 2
    for seed in range(studies):
        noise = np.random.default_rng(seed).standard_normal((len(target), SCREENED))
        chosen = SelectKBest(k=KEPT).fit_transform(noise, target)
        data = made(noise, target)
        for fold in make_folds(data, None, seed):
            outside.append(_nearest(chosen, target, fold))
            inside.append(_nearest(fit_fold(data, SCREENING, fold).numeric, target, fold))
    return [
        Claim("accuracy, columns chosen on all rows", float(np.mean(outside)), low=0.95),
        near("accuracy, columns chosen by `preprocessing` (truth 0.500)", float(np.mean(inside)), 0.5, 0.05),
    ]


def _nearest(x: Any, y: Rows, fold: Fold) -> float:
    distances = ((x[fold.valid][:, None] - x[fold.train]) ** 2).sum(axis=2)
    return float((y[fold.train][distances.argmin(axis=1)] == y[fold.valid]).mean())


def prior(_: int) -> list[Claim]:
    """Leave-one-out on balanced labels: the larger class of the others is always the wrong one."""
    target = np.arange(50) % 2
    folds = make_folds(made(np.zeros((50, 1)), target), "LeaveOneOut", 0)
    hits = [float((target[fold.train].mean() > 0.5) == target[fold.valid[0]]) for fold in folds]
    return [Claim("accuracy of the larger class", float(np.mean(hits)), 0, 0, form=".1f")]


def overlaps(data_sets: int) -> list[Claim]:
    """Pairs of rows, one by one: those of one group, or too near in time, on both sides of a fold."""
    shared = near_in_time = overlapping = locked = 0
    for seed in range(data_sets):
        generator = np.random.default_rng(seed)
        target = np.arange(60) % 2
        groups, time = generator.integers(12, size=60), generator.permutation(60).astype(np.float64)
        grouped, timed = (
            made(np.zeros((60, 1)), target, groups=one, time=two) for one, two in ((groups, None), (None, time))
        )
        for splitter in GROUPED:
            for fold in make_folds(grouped, splitter, seed):
                shared += sum(groups[one] == groups[other] for one, other in product(fold.train, fold.valid))
        for fold in make_folds(timed, TIMED, seed):
            near_in_time += sum(time[other] - time[one] <= GAP for one, other in product(fold.train, fold.valid))
        for fold in make_folds(timed, PURGED, seed):
            until = time[fold.valid].max() + KNOWN_AFTER
            overlapping += sum(
                abs(time[one] - time[other]) <= KNOWN_AFTER for one, other in product(fold.train, fold.valid)
            )
            overlapping += sum(until < time[one] <= until + EMBARGO for one in fold.train)
        development, held = lock_test_rows(grouped, 0.25, seed)
        locked += sum(groups[one] == groups[other] for one, other in product(development, held))
    return [
        Claim("pairs of one group on both sides of a fold", shared, 0, 0, form=".0f"),
        Claim("pairs nearer in time than the gap on both sides of a fold", near_in_time, 0, 0, form=".0f"),
        Claim("labels that overlap, or are in the embargo, when purged", overlapping, 0, 0, form=".0f"),
        Claim("pairs of one group on both sides of the lock", locked, 0, 0, form=".0f"),
    ]


def locked_rows(studies: int) -> list[Claim]:
    """Studies of a net, searched twice: the second time, what stands in the locked rows is something else."""
    differing = reading = 0
    for seed in range(studies):
        generator = np.random.default_rng(seed)
        x, y = generator.standard_normal((120, 4)), np.arange(120) % 2
        plan = make_plan(load_spec(_study(x, y, seed)))
        held = np.zeros(120, bool)
        held[plan.locked] = True
        reading += sum(bool((plan.dataset.numeric == row).all(axis=1).any()) for row in x[held])
        other = np.where(held[:, None], 1e3 * generator.standard_normal(x.shape), x)
        one, two = (_outcome(_searched(_study(inputs, y, seed))) for inputs in (x, other))
        differing += sum(left != right for left, right in zip(one, two, strict=True))
    return [
        Claim("locked rows that a study gets to see", reading, 0, 0, form=".0f"),
        Claim("trials that change with what stands in locked rows", differing, 0, 0, form=".0f"),
    ]


def _study(x: Floats, y: Rows, seed: int) -> dict[str, Any]:
    return {
        "name": "locked",
        "data": {"arrays": {"X": x, "y": y}, "task": "classification", "test_fraction": 0.25},
        "validation": {"use": "StratifiedKFold", "n_splits": 3},
        "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 16]}},
        "optimizer": {"use": "AdamW", "lr": {"float": [1e-3, 1e-1], "log": True}},
        "training": {"epochs": 2, "batch_size": 32},
        "search": {"trials": 3, "seed": seed},
    }


def _searched(study: dict[str, Any]) -> StudyResult:
    with TemporaryDirectory() as folder:
        return run_study(study, storage=f"sqlite:///{folder}/study.db", workers=0)


def _outcome(result: StudyResult) -> list[tuple[object, ...]]:
    """All that a study's trials came to."""
    return [
        (trial.number, trial.state, trial.epochs, dict(trial.params), trial.values, _listed(trial.scores))
        for trial in result.trials
    ]


def _listed(array: Floats | None) -> object:
    return None if array is None else array.tolist()


def killed(kills: int) -> list[Claim]:
    """A study whose processes are killed again and again, beside one that is left alone."""
    results = []
    for faults in (kills, 0):
        with TemporaryDirectory() as folder, Arena(Path(folder), f"sqlite:///{folder}/study.db") as arena:
            process = arena.search("run", str(arena.file))
            while len(arena.faults) < faults and arena.wait_for_epochs(4, process):
                arena.wait_a_moment()
                arena.kill(process)
                process = arena.search()
            process.wait()
            results.append((load_study("chaos", storage=arena.url), len(arena.faults)))
    (one, happened), (two, _) = results
    trials = sum(left != right for left, right in zip(_outcome(one), _outcome(two), strict=True))
    assert one.best is not None and two.best is not None
    return [
        Claim("processes killed", happened, kills, kills, form=".0f"),
        Claim("splits that differ", one.record.split_fingerprint != two.record.split_fingerprint, 0, 0, form=".0f"),
        Claim("trials that differ in any bit", trials, 0, 0, form=".0f"),
        Claim("winners that differ", one.best.number != two.best.number, 0, 0, form=".0f"),
    ]


EXPERIMENTS = (
    Experiment(8, "Screening of 5000 columns of noise, 50 rows", screening, 60, 3),
    Experiment(8, "Leave-one-out on balanced labels, 50 rows", prior, 1, 1),
    Experiment(8, "Group and time splitters and the lock, by brute force over pairs of rows", overlaps, 50, 2),
    Experiment(8, "Rows locked by `test_fraction`, whole studies of a net", locked_rows, 5, 1),
    Experiment(8, "A study killed again and again", killed, 5),
)
