import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from foldtune.data.dataset import Dataset
from foldtune.data.preprocess import FoldData, fit, fit_fold, fit_folds
from foldtune.data.splitters import make_folds
from foldtune.errors import DataError, SpecError
from foldtune.spec.schema import PreprocessingSpec
from foldtune.testing.leak_laws import check_no_leak, scrambled
from foldtune.values import Fold

from .makers import classes, numbers

HERE = __name__
IMPUTE = {"use": "SimpleImputer", "strategy": "median"}
ONE_HOT = {"use": "OneHotEncoder", "handle_unknown": "ignore", "categories": [["a", "b", "c"]]}
BINS = {"use": "KBinsDiscretizer", "n_bins": 2, "quantile_method": "averaged_inverted_cdf"}
PCA = {"use": "sklearn.decomposition:PCA", "n_components": 1, "svd_solver": "randomized"}
HALVES = Fold(np.arange(40), np.arange(40, 60))


class Own(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Gives what its argument names; the rows in several columns otherwise."""

    def __init__(self, gives: str = "") -> None:
        self.gives = gives

    def fit(self, X: Any, y: Any = None) -> "Own":
        return self

    def transform(self, X: NDArray[Any]) -> Any:
        if self.gives == "frame":
            return pd.DataFrame(X)
        if self.gives == "text":
            return np.full(X.shape, "text", dtype=object)
        if self.gives == "error":
            raise ValueError("no such luck")
        out = np.array(X, dtype=np.float64)
        out[0, -1] = {"nan": np.nan, "inf": np.inf, "huge": 1e300}.get(self.gives, out[0, -1])
        return out


def spec(**section: Any) -> PreprocessingSpec:
    return PreprocessingSpec.model_validate(section)


def images(rows: int = 60) -> Dataset:
    made = classes(rows)
    pixels = np.random.RandomState(1).standard_normal((rows, 2, 3, 3))
    return replace(made, numeric=pixels, numeric_names=(), categorical=made.categorical[:, :0], categorical_names=())


SPECS: list[tuple[str, PreprocessingSpec]] = [
    ("default", spec()),
    ("quantile", spec(numeric=[IMPUTE, {"use": "QuantileTransformer", "n_quantiles": 10, "subsample": 20}])),
    ("power", spec(numeric=[IMPUTE, "RobustScaler", {"use": "MaxAbsScaler"}])),
    ("bins", spec(numeric=[IMPUTE, BINS])),
    ("neighbours", spec(numeric=["StandardScaler", "KNNImputer"])),
    ("indicator", spec(numeric=[{"use": "SimpleImputer", "add_indicator": True}])),
    ("polynomial", spec(numeric=[IMPUTE, "PolynomialFeatures", "StandardScaler"])),
    ("splines", spec(numeric=[IMPUTE, {"use": "SplineTransformer", "n_knots": 3}])),
    ("pca", spec(numeric=[IMPUTE, PCA])),
    ("chosen", spec(numeric=[IMPUTE, {"use": "sklearn.feature_selection:SelectKBest", "k": 1}])),
    ("one hot", spec(categorical=[{"use": "SimpleImputer", "strategy": "most_frequent"}, ONE_HOT])),
    ("target", spec(categorical=["TargetEncoder"])),
    ("rare", spec(categorical={"min_frequency": 12})),
    ("few", spec(categorical={"min_frequency": None, "max_categories": 2})),
    ("one column", spec(columns=[{"columns": ["x"], "steps": [IMPUTE, "MinMaxScaler"]}])),
    ("one category", spec(columns=[{"columns": ["c"], "steps": ["TargetEncoder"]}])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "steps"), SPECS, ids=[name for name, _ in SPECS])
@pytest.mark.parametrize("make", [classes, numbers])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_nothing_leaks_from_validation_rows(make: Any, name: str, steps: PreprocessingSpec, seed: int) -> None:
    data = make(seed=seed % 100)
    fold = make_folds(data, {"use": "KFold", "n_splits": 3}, seed)[seed % 3]
    check_no_leak(data, scrambled(data, fold.valid, seed), spec=steps, fold=fold)


def test_nothing_leaks_in_images() -> None:
    data = images()
    check_no_leak(
        data, replace(data, numeric=np.where(np.arange(60)[:, None, None, None] < 40, data.numeric, 9.0)),
        spec=spec(numeric=["StandardScaler"]), fold=HALVES,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "steps", "message"),
    [
        (classes, spec(), "`numeric` of training rows depends on other rows"),
        (classes, spec(numeric=[IMPUTE], categorical={"min_frequency": 14}), "`codes` of training rows"),
        (numbers, spec(numeric=[{"use": f"{HERE}:Own"}, IMPUTE]), "`target` of training rows"),
        (numbers, spec(numeric=[IMPUTE], categorical=["TargetEncoder"]), "`numeric` of training rows"),
    ],
)
def test_the_law_finds_a_leak(make: Any, steps: PreprocessingSpec, message: str) -> None:
    def leaking(dataset: Dataset, spec: PreprocessingSpec, fold: Fold) -> FoldData:
        return fit_fold(dataset, spec, Fold(np.arange(dataset.n_rows), fold.valid))

    data = make()
    altered = scrambled(data, HALVES.valid, 1)
    if "numeric" not in message:
        numeric = np.where(np.isnan(data.numeric), 0, data.numeric)
        data, altered = replace(data, numeric=numeric), replace(altered, numeric=numeric)
    with pytest.raises(AssertionError, match=message):
        check_no_leak(data, altered, spec=steps, fold=HALVES, fit=leaking)


def test_the_law_compares_like_with_like() -> None:
    data = classes()
    with pytest.raises(AssertionError, match="training rows differ"):
        check_no_leak(data, scrambled(data, HALVES.train, 0), spec=spec(), fold=HALVES)


def test_default_for_tables() -> None:
    data = classes()
    made = fit_fold(data, spec(), HALVES)
    assert made.numeric.dtype == np.float32 and made.numeric.shape == (60, 2)
    train = made.numeric[HALVES.train]
    assert np.abs(train.mean(axis=0)).max() < 1e-6 and np.abs(train.std(axis=0) - 1).max() < 1e-6
    assert made.codes.shape == (60, 1) and made.codes.max() == made.cardinalities[0] - 1
    assert made.target is data.target and made.location.shape == made.scale.shape == (0,)


def test_regression_targets_are_standardised_on_training_rows() -> None:
    data = numbers(targets=2)
    made = fit_fold(data, spec(), HALVES)
    assert made.target.dtype == np.float32
    assert np.allclose(made.target * made.scale + made.location, data.target, atol=1e-4)  # float32
    assert np.allclose(made.target[:40].mean(axis=0), 0, atol=1e-6) and np.allclose(made.target[:40].std(axis=0), 1)


def test_a_target_that_is_constant_in_a_fold_keeps_its_unit() -> None:
    data = numbers()
    target = np.where(np.arange(60) < 40, 0.1, 5.0)[:, None]
    assert fit_fold(replace(data, target=target), spec(), HALVES).scale.tolist() == [1.0]


def test_images_pass_untouched_and_keep_their_shape() -> None:
    data = images()
    assert np.array_equal(fit_fold(data, spec(), HALVES).numeric, data.numeric.astype(np.float32))
    assert fit_fold(data, spec(numeric=["StandardScaler"]), HALVES).numeric.shape == (60, 2, 3, 3)
    flat = spec(numeric=[{"use": "sklearn.decomposition:PCA", "n_components": 4}])
    assert fit_fold(data, flat, HALVES).numeric.shape == (60, 4)


def test_no_numeric_columns() -> None:
    data = replace(classes(), numeric=np.empty((60, 0)), numeric_names=())
    assert fit_fold(data, spec(), HALVES).numeric.shape == (60, 0)


def test_a_column_that_is_all_missing_in_training_stays() -> None:
    data = classes()
    numeric = data.numeric.copy()
    numeric[:40, 0] = np.nan
    for steps in (spec(), spec(numeric=[{"use": "SimpleImputer"}])):
        assert fit_fold(replace(data, numeric=numeric), steps, HALVES).numeric.shape == (60, 2)


def test_sparse_and_frames_become_arrays() -> None:
    sparse = {**ONE_HOT, "sparse_output": True}
    steps = spec(numeric=[IMPUTE, {"use": f"{HERE}:Own", "gives": "frame"}], categorical=[sparse])
    made = fit_fold(classes(), steps, HALVES)
    assert made.numeric.shape == (60, 5) and made.codes.shape == (60, 0) and made.cardinalities == ()
    assert fit_fold(classes(), spec(numeric=[IMPUTE, BINS]), HALVES).numeric.shape == (60, 4)


def test_missing_categories_are_missing_to_scikit_learn() -> None:
    steps = spec(numeric=[IMPUTE], categorical=[{"use": "SimpleImputer", "strategy": "most_frequent"}, ONE_HOT])
    assert (fit_fold(classes(), steps, HALVES).numeric[:, 2:].sum(axis=1) == 1).all()


def test_groups_of_columns_stand_after_the_others() -> None:
    data = classes()
    groups = [{"columns": ["x"], "steps": [{"use": "SimpleImputer", "strategy": "constant", "fill_value": 7.0}]}]
    made = fit_fold(data, spec(columns=groups), HALVES)
    assert made.numeric[0, 1] == 7.0 and abs(made.numeric[:40, 0].mean()) < 1e-6


def test_training_rows_get_what_fit_transform_gives() -> None:
    """A target encoding of training rows must be cross-fitted, or it would tell them their own targets."""
    from sklearn.preprocessing import TargetEncoder

    data = classes(n_classes=2)
    made = fit_fold(data, spec(numeric=[IMPUTE], categorical=[{"use": "TargetEncoder", "random_state": 3}]), HALVES)
    filled = np.where(np.equal(data.categorical, np.array(None)), np.nan, data.categorical)
    encoder = TargetEncoder(random_state=3)
    with warnings.catch_warnings():  # its seed is on its way out
        warnings.simplefilter("ignore")
        crossed = encoder.fit_transform(filled[:40], data.target[:40])
    assert np.allclose(made.numeric[:40, 2:], crossed)
    assert np.allclose(made.numeric[40:, 2:], encoder.transform(filled[40:]))


def test_random_steps_follow_the_seed() -> None:
    steps = spec(numeric=[IMPUTE, {"use": "QuantileTransformer", "n_quantiles": 5, "subsample": 12}])
    outputs = [fit_fold(classes(), steps, HALVES, seed=seed).numeric.tobytes() for seed in (0, 0, 1)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_new_rows_go_through_what_was_fitted() -> None:
    data = classes()
    made = fit_fold(data, spec(), HALVES)
    preprocessor, trained = fit(data, spec(), rows=HALVES.train)
    rest = data.take(HALVES.valid)
    assert np.array_equal(trained, made.numeric[:40])
    assert np.array_equal(preprocessor.transform(rest), made.numeric[40:])
    assert np.array_equal(preprocessor.encode(rest), made.codes[40:])


def test_folds_share_their_cardinalities() -> None:
    data = classes()
    categorical = data.categorical.copy()
    categorical[0, 0] = "only in row 0"
    data = replace(data, categorical=categorical)
    made = fit_folds(data, spec(categorical={"min_frequency": None}), make_folds(data, None, 0))
    assert {fold.cardinalities for fold in made} == {(6,)}
    assert sorted(int(fold.codes[0, 0]) for fold in made)[0] == 1, "unseen in the fold that validates row 0"


def test_folds_must_share_their_width() -> None:
    data = classes()
    categorical = data.categorical.copy()
    categorical[0, 0] = "only in row 0"
    steps = spec(categorical=[{"use": "OneHotEncoder", "handle_unknown": "ignore"}])
    with pytest.raises(
        DataError, match=r"same number of columns, however: 7, .*6.* Give encoders .* their `categories`"
    ):
        fit_folds(replace(data, categorical=categorical), steps, make_folds(data, None, 0))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            spec(numeric=["StandardScaler"]),
            r"^preprocessing\.numeric: .* no missing values, however: `x` is missing .*Add S",
        ),
        (spec(numeric=[]), r"^preprocessing\.numeric: the steps must leave no missing values"),
        (
            spec(numeric=[IMPUTE, {"use": f"{HERE}:Own", "gives": "nan"}]),
            r"^preprocessing\.numeric\.1: `Own` must give finite numbers, however: `z` is missing or infinite in 1 of",
        ),
        (
            spec(numeric=[IMPUTE, {"use": f"{HERE}:Own", "gives": "inf"}, f"{HERE}:Own"]),
            r"^preprocessing\.numeric\.1: `Own` must give finite numbers",
        ),
        (
            spec(numeric=[IMPUTE, "PolynomialFeatures", {"use": f"{HERE}:Own", "gives": "nan"}]),
            r"^preprocessing\.numeric\.2: .* column 5 of its output is missing",
        ),
        (spec(numeric=[IMPUTE, {"use": f"{HERE}:Own", "gives": "huge"}]), r"must fit into 32 bits, however: 1e\+300"),
        (
            spec(numeric=[IMPUTE, {"use": f"{HERE}:Own", "gives": "text"}]),
            r"^preprocessing\.numeric: the last step must give",
        ),
        (
            spec(numeric=[IMPUTE, {"use": f"{HERE}:Own", "gives": "error"}]),
            r"^preprocessing\.numeric\.1: `Own` must be able to transform the rows, however: no such luck",
        ),
        (spec(categorical=["StandardScaler"]), r"^preprocessing\.categorical\.0: `StandardScaler` must be able to"),
        (
            spec(categorical=["OneHotEncoder"]),
            r"`OneHotEncoder` must be able to transform .* unknown categories .*handle_unknown: ignore",
        ),
        (
            spec(columns=[{"columns": ["X"], "steps": []}]),
            r"columns\.0\.columns: .* must be there, however: 'X'. Did you mean x",
        ),
        (spec(columns=[{"columns": [], "steps": []}]), r"a group must have columns"),
        (
            spec(columns=[{"columns": ["x", "c"], "steps": []}]),
            r"must be all numeric or all categorical, however: x, c",
        ),
        (
            spec(columns=[{"columns": ["x"], "steps": []}, {"columns": ["x"], "steps": []}]),
            r"^preprocessing\.columns\.1\.columns: a column must be in one group only, however: 'x'",
        ),
    ],
)
def test_refusals(steps: PreprocessingSpec, message: str) -> None:
    data = classes()
    categorical = data.categorical.copy()
    categorical[50, 0] = "new"
    with pytest.raises(DataError, match=message):
        fit_fold(replace(data, categorical=categorical), steps, HALVES)


def test_images_have_no_columns() -> None:
    with pytest.raises(DataError, match=r"only a table has columns, however: features of shape \(2, 3, 3\)"):
        fit_fold(images(), spec(columns=[{"columns": ["x"], "steps": []}]), HALVES)


def test_unknown_steps() -> None:
    with pytest.raises(SpecError, match=r"^preprocessing\.numeric\.0: there is no preprocessing step `StandardScalar`"):
        fit_fold(classes(), spec(numeric=["StandardScalar"]), HALVES)
