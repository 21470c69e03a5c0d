"""The law of no leak: what a model trains on does not depend on the rows it is scored on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from foldtune.data.dataset import Dataset
from foldtune.data.preprocess import FoldData, fit_fold
from foldtune.spec.schema import PreprocessingSpec
from foldtune.values import Fold, Rows

FitFold = Callable[[Dataset, PreprocessingSpec, Fold], FoldData]


def check_no_leak(
    dataset: Dataset, altered: Dataset, *, spec: PreprocessingSpec, fold: Fold, fit: FitFold = fit_fold
) -> None:
    """Everything a fold trains on is the same, bit for bit, for two data sets that differ outside its training rows.

    Args:
        dataset: N rows.
        altered: the same training rows, others arbitrary.
        spec: the transforms.
        fold: what is training.
        fit: what is under test.

    Raises:
        AssertionError: something of the other rows is seen in the training rows.
    """
    assert dataset.take(fold.train).fingerprint == altered.take(fold.train).fingerprint, "training rows differ"
    plain, other = fit(dataset, spec, fold), fit(altered, spec, fold)
    for name in ("numeric", "codes", "target"):
        left, right = getattr(plain, name)[fold.train], getattr(other, name)[fold.train]
        assert np.array_equal(left, right), f"`{name}` of training rows depends on other rows"
    for name in ("location", "scale"):
        assert np.array_equal(getattr(plain, name), getattr(other, name)), f"`{name}` depends on other rows"


def scrambled(dataset: Dataset, rows: Rows, seed: int) -> Dataset:
    """The data set with other values in these rows: far away, missing or never seen."""
    random = np.random.RandomState(seed)
    numeric, categorical, target = dataset.numeric.copy(), dataset.categorical.copy(), dataset.target.copy()
    noise = random.standard_normal(numeric[rows].shape) * 10.0 ** random.randint(-3, 6) + random.randint(-1000, 1000)
    numeric[rows] = np.where(random.random_sample(noise.shape) < 0.2, np.nan, noise)
    pool = np.array([None, "never seen", "a", "", *categorical.reshape(-1)[:1]], dtype=object)
    categorical[rows] = random.choice(pool, size=categorical[rows].shape)
    if dataset.task == "classification":
        target[rows] = random.randint(0, dataset.n_outputs, size=len(rows))
    elif dataset.task == "multilabel":
        target[rows] = random.randint(0, 2, size=target[rows].shape)
    else:
        target[rows] = random.standard_normal(target[rows].shape) * 1e3
    return replace(dataset, numeric=numeric, categorical=categorical, target=target)
