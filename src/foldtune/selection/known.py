"""Scorers of the common metrics, for all draws at once, from out-of-fold predictions."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from foldtune.selection.scorers import BinaryRanking, RowMeans, Scorer
from foldtune.values import Floats, Rows

Target = Rows | Floats
RowValues = Callable[[Target, Floats], Floats]
"""From the target and one trial's predictions to what is averaged, (N,) or (N, ...)."""

EPSILON = float(np.finfo(np.float64).eps)
FLAT = 1e-12
"""Share of its mean square below which a fold's target counts as constant: R² is then not defined."""


def scorer_of(metric: str, *, target: Target, predictions: Floats | Sequence[Floats], fold: Rows) -> Scorer | None:
    """The scorer of a metric, equal on all rows to the mean of its folds' scores.

    Args:
        metric: scikit-learn's name without `_score`, with default arguments.
        target: class codes 0 .. O-1, shape (N,), 0 and 1 of several labels, or values, shape (N, T).
        predictions: of C trials, out of fold: probabilities, shape (C, N, O), those of several labels, or values, shape
            (C, N, T); a sequence that makes each trial's when it is asked for takes the memory of one.
        fold: the fold that validates each row, shape (N,).

    Returns:
        None where no formula is known here; `EachDraw` computes any metric, more slowly.

    Example:
        >>> target, guesses = np.array([0, 1]), np.array([[[0.9, 0.1], [0.6, 0.4]]])
        >>> scorer_of("accuracy", target=target, predictions=guesses, fold=np.array([0, 1])).every(np.ones((1, 2)))
        array([[0.5]])
        >>> scorer_of("cohen_kappa", target=target, predictions=guesses, fold=np.array([0, 1])) is None
        True
    """
    if metric == "roc_auc" and target.ndim == 1 and predictions[0].shape[1] == 2:
        return BinaryRanking(np.stack([trial[:, 1] for trial in predictions], axis=1), target == 1, fold)
    if metric not in _KNOWN:
        return None
    values, transform = _KNOWN[metric]
    return RowMeans(np.stack([values(target, trial) for trial in predictions], axis=1), fold, transform)


def is_row_mean(metric: str) -> bool:
    """Whether a metric, with default arguments, is the mean of one number for each row.

    Example:
        >>> is_row_mean("log_loss"), is_row_mean("root_mean_squared_error"), is_row_mean("roc_auc")
        (True, False, False)
    """
    return metric in _KNOWN and _KNOWN[metric][1] in (_same, _mean)


def row_values(metric: str, target: Target, predictions: Floats) -> Floats:
    """What such a metric is the mean of.

    Args:
        metric: one that `is_row_mean`.
        target: class codes 0 .. O-1, shape (N,), 0 and 1 of several labels, or values, shape (N, T).
        predictions: probabilities, shape (N, O), those of several labels, or values, shape (N, T).

    Returns:
        A number for each row, shape (N,).

    Example:
        >>> row_values("mean_squared_error", np.array([[0.0, 1.0]]), np.array([[2.0, 1.0]]))
        array([2.])
    """
    values, transform = _KNOWN[metric]
    return transform(values(target, predictions))


def _log_loss(target: Target, predictions: Floats) -> Floats:
    """Of several labels the mean over them."""
    if target.ndim == 2:
        own = np.where(target == 1, predictions, 1 - predictions)  # (N, T)
    else:
        own = np.take_along_axis(predictions, target.astype(np.int64)[:, None], axis=1)  # (N, 1)
    losses: Floats = -np.log(np.clip(own, EPSILON, 1 - EPSILON)).mean(axis=1)
    return losses


def _brier(target: Target, predictions: Floats) -> Floats:
    """Of the second class where there are two, else summed over classes; of several labels the mean over them."""
    if target.ndim == 2:
        return _mean(_squares(target, predictions))
    errors = (predictions - _members(target, predictions.shape[1])) ** 2
    return errors[:, 1] if errors.shape[1] == 2 else errors.sum(axis=1)


def _hits(target: Target, predictions: Floats) -> Floats:
    hits: Floats = (_wrong(target, predictions) == 0).astype(np.float64)
    return hits


def _wrong(target: Target, predictions: Floats) -> Floats:
    """Whether the most probable class is another, 0 or 1; of several labels the share that is wrong."""
    if target.ndim == 1:
        wrong: Floats = (predictions.argmax(axis=1) != target).astype(np.float64)
        return wrong
    shares: Floats = ((predictions > 0.5) != (target == 1)).mean(axis=1)
    return shares


def _hits_by_class(target: Target, predictions: Floats) -> Floats:
    """Hits and members of each class, (N, O, 2)."""
    members = _members(target, predictions.shape[1])
    return np.stack([members * _hits(target, predictions)[:, None], members], axis=2)


def _absolute(target: Target, predictions: Floats) -> Floats:
    errors: Floats = np.abs(target - predictions).mean(axis=1)
    return errors


def _squares(target: Target, predictions: Floats) -> Floats:
    squares: Floats = (target - predictions) ** 2
    return squares


def _squares_and_moments(target: Target, predictions: Floats) -> Floats:
    """Squared errors, and the target with its square, about its mean, (N, T, 3)."""
    centred = target - target.mean(axis=0)
    return np.stack([_squares(target, predictions), centred, centred**2], axis=2)


def _members(target: Target, n_classes: int) -> Floats:
    members: Floats = (target[:, None] == np.arange(n_classes)).astype(np.float64)
    return members


def _same(means: Floats) -> Floats:
    return means


def _mean(means: Floats) -> Floats:
    mean: Floats = means.mean(axis=-1)
    return mean


def _mean_root(means: Floats) -> Floats:
    roots: Floats = np.sqrt(means).mean(axis=-1)
    return roots


def _mean_recall(means: Floats) -> Floats:
    """Of the classes that occur; NaN where there are no rows."""
    hits, members = means[..., 0], means[..., 1]
    recalls = np.divide(hits, members, out=np.zeros(hits.shape), where=members > 0)
    there = (members > 0).sum(axis=-1)
    recall: Floats = np.divide(recalls.sum(axis=-1), there, out=np.full(there.shape, np.nan), where=there > 0)
    return recall


def _mean_r2(means: Floats) -> Floats:
    error, first, second = means[..., 0], means[..., 1], means[..., 2]
    spread = second - first**2
    ratio = np.divide(error, spread, out=np.full(error.shape, np.nan), where=spread > FLAT * second)
    score: Floats = 1.0 - ratio.mean(axis=-1)
    return score


_KNOWN: Mapping[str, tuple[RowValues, Callable[[Floats], Floats]]] = MappingProxyType(
    {
        "log_loss": (_log_loss, _same),
        "brier_score_loss": (_brier, _same),
        "accuracy": (_hits, _same),
        "hamming_loss": (_wrong, _same),
        "balanced_accuracy": (_hits_by_class, _mean_recall),
        "mean_absolute_error": (_absolute, _same),
        "mean_squared_error": (_squares, _mean),
        "root_mean_squared_error": (_squares, _mean_root),
        "r2": (_squares_and_moments, _mean_r2),
    }
)
