"""Temperatures and intervals, against known truths and the formulas one row at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from foldtune.errors import DataError
from foldtune.selection import calibrate as module
from foldtune.selection.calibrate import (
    calibrate,
    calibration_error,
    cv_plus,
    fit_temperature,
    log_loss,
    residual_quantile,
    softmax,
)
from foldtune.values import Floats, Rows
from tests.selection.worlds import folds


def calibrated(n_rows: int, n_classes: int, seed: int = 0) -> tuple[Floats, Rows]:
    """Logits that keep their word, and classes."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(n_rows, n_classes))
    return logits, (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_logits_give_their_factor(factor: float, n_classes: int) -> None:
    logits, classes = calibrated(5000, n_classes)
    found = calibrate(factor * logits, classes, folds(5000))
    assert found is not None
    assert found.kept
    assert found.temperature == pytest.approx(factor, rel=0.05)
    assert found.log_loss[1] < found.log_loss[0]
    assert found.error[1] < 0.5 * found.error[0]


def test_logits_that_keep_their_word_are_left_alone() -> None:
    kept = []
    for seed in range(20):
        logits, classes = calibrated(1000, 3, seed)
        found = calibrate(logits, classes, folds(1000))
        assert found is not None
        assert found.temperature == 1.0 or found.kept
        kept.append(found.kept)
    assert sum(kept) < 15  # a temperature fitted and judged on the same rows would always be kept


def test_a_folds_own_rows_do_not_choose_its_temperature() -> None:
    logits, classes = calibrated(600, 2)
    fold = folds(600, 2)
    found = calibrate(2 * logits, classes, fold)
    assert found is not None
    parts = []
    for one in (0, 1):
        cooled = 2 * logits[fold == one] / fit_temperature(2 * logits[fold != one], classes[fold != one])
        parts.append(log_loss(softmax(cooled), classes[fold == one]))
    assert found.log_loss[1] == pytest.approx(np.mean(parts), rel=1e-12)  # summation order


def test_one_logit_is_that_of_the_second_class() -> None:
    logits, classes = calibrated(500, 2)
    assert calibrate(logits[:, 1] - logits[:, 0], classes, folds(500)) == calibrate(
        logits - logits[:, :1], classes, folds(500)
    )


def test_few_rows_are_not_calibrated() -> None:
    logits, classes = calibrated(199, 2)
    assert calibrate(logits, classes, folds(199)) is None


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
@settings(deadline=None, max_examples=15)
def test_no_other_temperature_loses_less(seed: int, n_classes: int) -> None:
    generator = np.random.default_rng(seed)
    logits, classes = generator.normal(size=(50, n_classes)), generator.integers(n_classes, size=50)
    best = fit_temperature(logits, classes)
    least = log_loss(softmax(logits / best), classes)
    for other in (best * 0.9, best * 1.1, *np.geomspace(0.01, 100, 9)):
        assert least <= log_loss(softmax(logits / np.clip(other, 0.01, 100)), classes) + 1e-12
    assert least == pytest.approx(sklearn_log_loss(classes, softmax(logits / best), labels=range(n_classes)))


def test_logits_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="logits must be finite, however: 1"):
        fit_temperature(np.array([[0.0, np.nan]]), np.array([0]))


def test_calibration_error_is_the_mean_gap() -> None:
    sure = np.array([[1.0, 0.0]] * 10)
    assert calibration_error(sure, np.array([0] * 7 + [1] * 3)) == pytest.approx(0.3)
    assert calibration_error(sure, np.zeros(10, np.int64)) == 0.0


def plain_cv_plus(predictions: Floats, residuals: Floats, fold: Rows, level: float) -> tuple[Floats, Floats]:
    """CV+ of Barber et al. (2021), one new row at a time."""
    n_rows, ends = len(residuals), []
    for new in predictions.T:
        lower = sorted(new[fold[row]] - residuals[row] for row in range(n_rows))
        upper = sorted(new[fold[row]] + residuals[row] for row in range(n_rows))
        down, up = math.floor((1 - level) * (n_rows + 1) + 1e-9), math.ceil(level * (n_rows + 1) - 1e-9)
        ends.append((lower[down - 1] if down else -math.inf, upper[up - 1] if up <= n_rows else math.inf))
    return np.array([low for low, _ in ends]), np.array([high for _, high in ends])


@given(st.integers(0, 2**32 - 1), st.integers(5, 40), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
@settings(deadline=None, max_examples=40)
def test_cv_plus_equals_the_formula(seed: int, n_rows: int, level: float) -> None:
    generator = np.random.default_rng(seed)
    predictions, residuals = generator.normal(size=(3, 7)), generator.exponential(size=n_rows)
    fold = generator.integers(3, size=n_rows)
    ours, plain = cv_plus(predictions, residuals, fold, level), plain_cv_plus(predictions, residuals, fold, level)
    assert (ours[0] == plain[0]).all()
    assert (ours[1] == plain[1]).all()


def test_blocks_of_new_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    given_ = generator.normal(size=(5, 33)), generator.exponential(size=40), folds(40), 0.9
    whole = cv_plus(*given_)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 40 * 4)
    assert (np.stack(cv_plus(*given_)) == np.stack(whole)).all()


def test_equal_fold_models_give_the_residual_quantile() -> None:
    residuals = np.random.default_rng(0).exponential(size=50)
    lower, upper = cv_plus(np.zeros((5, 1)), residuals, folds(50), 0.9)
    assert upper[0] == -lower[0] == residual_quantile(residuals, 0.9)
