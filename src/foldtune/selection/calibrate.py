"""Probabilities and intervals that keep their word, from out-of-fold predictions."""

from dataclasses import dataclass

import numpy as np

from foldtune.errors import DataError
from foldtune.values import Floats, Rows

LEAST_ROWS = 200
"""Below this many rows a temperature is mostly noise."""
BINS = 15
WIDEST = 100.0
"""Temperatures lie between its inverse and it."""
HALVINGS = 50
BLOCK_BYTES = 2**25


@dataclass(frozen=True)
class Calibration:
    """A temperature that logits are divided by, and what it changes.

    Args:
        temperature: fitted on all rows; 1 where it is not kept.
        kept: whether the cross-fitted log loss improves.
        log_loss: before and after; after, each fold's rows have the temperature of the other folds.
        error: calibration error before and after, as above.
    """

    temperature: float
    kept: bool
    log_loss: tuple[float, float]
    error: tuple[float, float]


def calibrate(logits: Floats, classes: Rows, fold: Rows) -> Calibration | None:
    """Fit a temperature, and keep it only where it improves rows that it was not fitted on.

    The most probable class stays the same.

    Source:
        Guo, Pleiss, Sun and Weinberger (2017), ICML, temperature scaling.

    Args:
        logits: out-of-fold, shape (N, C), or (N,) for the logit of the second of two classes.
        classes: codes 0 .. C-1, shape (N,).
        fold: the fold that validates each row, shape (N,), at least 2 folds.

    Returns:
        None below 200 rows.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> logits = generator.normal(size=(2000, 3))
        >>> classes = (logits + generator.gumbel(size=(2000, 3))).argmax(axis=1)
        >>> found = calibrate(2 * logits, classes, np.arange(2000) % 5)
        >>> found.kept, bool(abs(found.temperature - 2) < 0.2)
        (True, True)
    """
    if len(classes) < LEAST_ROWS:
        return None
    both = two_columns(logits)
    cooled = np.empty(len(classes))
    for one in np.unique(fold):
        cooled[fold == one] = fit_temperature(both[fold != one], classes[fold != one])
    before, after = softmax(both), softmax(both / cooled[:, None])
    losses = log_loss(before, classes), log_loss(after, classes)
    kept = losses[1] < losses[0]
    temperature = fit_temperature(both, classes) if kept else 1.0
    return Calibration(
        temperature, kept, losses, (calibration_error(before, classes), calibration_error(after, classes))
    )


def fit_temperature(logits: Floats, classes: Rows) -> float:
    """The temperature of least log loss, between 0.01 and 100.

    The loss is convex in the inverse temperature, so its slope is halved towards 0.

    Args:
        logits: shape (N, C), finite.
        classes: codes 0 .. C-1, shape (N,).
    """
    if not np.isfinite(logits).all():
        raise DataError.of((), "logits must be finite", int((~np.isfinite(logits)).sum()), "Leave failed trials out.")
    own = np.take_along_axis(logits, classes[:, None], axis=1).mean()
    low, high = -np.log(WIDEST), np.log(WIDEST)  # of the inverse temperature
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = (softmax(logits * np.exp(middle)) * logits).sum(axis=1).mean() - own
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def calibration_error(probabilities: Floats, classes: Rows, bins: int = BINS) -> float:
    """How far the most probable class's probability is from how often it is right, on average.

    A perfectly calibrated model has a little more than 0, the more so the fewer the rows.

    Source:
        Guo et al. (2017), the expected calibration error, with bins of equal width.

    Args:
        probabilities: shape (N, C).
        classes: codes 0 .. C-1, shape (N,).
        bins: their number.

    Example:
        >>> calibration_error(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1]))
        0.25
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    bin_of_row = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of_row, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(classes))


def log_loss(probabilities: Floats, classes: Rows) -> float:
    """The mean of minus the logarithm of the true class's probability, at least the smallest float's."""
    own = np.take_along_axis(probabilities, classes[:, None], axis=1)
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def softmax(logits: Floats) -> Floats:
    """Probabilities, shape (N, C); rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: Floats) -> Floats:
    """Probabilities, of the same shape, exact however small they are.

    Example:
        >>> sigmoid(np.array([0.0, -65504.0])).tolist()
        [0.5, 0.0]
    """
    probabilities: Floats = np.exp(-np.logaddexp(0, -logits))
    return probabilities


def cv_plus(predictions: Floats, residuals: Floats, fold: Rows, level: float) -> tuple[Floats, Floats]:
    """Intervals for new rows from the K fold models: CV+.

    They hold the truth with a probability of at least about 2 `level` - 1, in practice about `level`, when rows are
    exchangeable: not for groups or time.

    Source:
        Barber, Candès, Ramdas and Tibshirani (2021), Annals of Statistics 49, CV+.

    Args:
        predictions: each fold's model on P new rows, shape (K, P).
        residuals: absolute, out of fold, shape (N,).
        fold: the fold that validates each row, 0 .. K-1, shape (N,).
        level: such as 0.9.

    Returns:
        Lower and upper ends, each of shape (P,); infinite where there are too few rows for the level.
    """
    n_rows, n_new = len(residuals), predictions.shape[1]
    up = _upper_rank(n_rows, level)
    if up > n_rows:
        return np.full(n_new, -np.inf), np.full(n_new, np.inf)
    lower, upper = np.empty(n_new), np.empty(n_new)
    block = max(1, BLOCK_BYTES // (8 * n_rows))
    for start in range(0, n_new, block):
        part = slice(start, start + block)
        centre = predictions[fold, part]  # (N, P)
        lower[part] = np.partition(centre - residuals[:, None], n_rows - up, axis=0)[n_rows - up]
        upper[part] = np.partition(centre + residuals[:, None], up - 1, axis=0)[up - 1]
    return lower, upper


def residual_quantile(residuals: Floats, level: float) -> float:
    """Half the width of intervals around a refitted model's predictions. It works, without a guarantee.

    Args:
        residuals: absolute, out of fold, shape (N,).
        level: such as 0.9.

    Returns:
        Infinity where there are too few rows for the level.

    Example:
        >>> residual_quantile(np.arange(1.0, 20.0), 0.9), residual_quantile(np.arange(3.0), 0.9)
        (18.0, inf)
    """
    up = _upper_rank(len(residuals), level)
    return float(np.partition(residuals, up - 1)[up - 1]) if up <= len(residuals) else np.inf


def _upper_rank(n_rows: int, level: float) -> int:
    """ceil(level (n + 1)), from 1; its mirror image from below is floor((1 - level) (n + 1))."""
    return int(np.ceil(round(level * (n_rows + 1), 9)))


def two_columns(logits: Floats) -> Floats:
    """One logit per row is the second class's; the first one's is 0."""
    if logits.ndim == 2 and logits.shape[1] > 1:
        return logits
    one = logits.reshape(-1)
    return np.stack([np.zeros_like(one), one], axis=1)
