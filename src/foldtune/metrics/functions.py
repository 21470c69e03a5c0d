"""Metrics that are a function `(y_true, y_pred) -> float` of NumPy arrays, called once per model.

These are the user's own, and scikit-learn's wherever the torch formulas stop.
"""

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldtune.errors import Path, SpecError
from foldtune.metrics.metric import Compute, Needs, Predictions
from foldtune.metrics.multilabel import HALF
from foldtune.values import Direction, Task

Array = NDArray[Any]
RowFunction = Callable[[Array, Array], Any]

Reading = Literal["labels", "scores", "indicator", "values"]
"""What a function is given, truth and prediction:

- `labels`: codes and codes, (n,); of several labels 0 and 1 of (n, T), twice;
- `scores`: codes, and probabilities (n, C), or (n,) of class 1 when there are two; of several labels 0 and 1 of (n, T),
  and probabilities (n, T);
- `indicator`: 0 and 1 of (n, C), and probabilities (n, C);
- `values`: (n, T) and (n, T), or (n,) for one target.
"""

_MODULES = {"_classification": "classification", "_ranking": "classification", "_regression": "regression"}
_SUFFIXES = ("_score", "_loss", "_error", "_corrcoef", "_deviance")
_DATA = ("y_true", "y1", "y_pred", "y2", "y_proba", "y_score", "sample_weight")
_INDICATOR = frozenset(
    {"coverage_error", "dcg_score", "label_ranking_average_precision_score", "label_ranking_loss", "ndcg_score"}
)
_MULTILABEL = _INDICATOR | {
    *("accuracy_score", "average_precision_score", "f1_score", "fbeta_score", "hamming_loss", "jaccard_score"),
    *("precision_score", "recall_score", "roc_auc_score", "zero_one_loss"),
}
"""Functions that take several labels for what they are; `log_loss`, for one, takes them for one distribution."""


def sklearn_functions(task: Task) -> dict[str, Callable[..., Any]]:
    """Every function of `sklearn.metrics` that scores a task's predictions, by its name without `_score`.

    Example:
        >>> sorted(sklearn_functions("regression"))[:3]
        ['d2_absolute_error', 'd2_pinball', 'd2_tweedie']
    """
    import sklearn.metrics

    found = inspect.getmembers(sklearn.metrics, inspect.isfunction)
    return {name.removesuffix("_score"): function for name, function in found if _scores(function, task)}


def sklearn_direction(function: Callable[..., Any]) -> Direction:
    """What scikit-learn's naming rule says: scores are maximized; losses, errors and deviances minimized."""
    return "maximize" if function.__name__.endswith(("_score", "_corrcoef")) else "minimize"


def sklearn_needs(function: Callable[..., Any], task: Task) -> Needs:
    """What scikit-learn's argument names say a metric reads."""
    if task == "regression":
        return "values"
    return "probabilities" if {"y_score", "y_proba"} & set(inspect.signature(function).parameters) else "labels"


def sklearn_compute(
    function: Callable[..., Any], arguments: dict[str, Any], *, task: Task, n_classes: int, path: Path
) -> Compute:
    """scikit-learn's own function for each model, tried out on a few made-up rows first.

    Its warnings are silenced, and where it refuses a model's predictions (`mean_squared_log_error` of negative ones)
    that model scores NaN.

    Args:
        function: one of `sklearn_functions`.
        arguments: its keyword arguments.
        task: what is predicted.
        n_classes: C; for other tasks the number of target columns.
        path: where it stands in the study file.

    Raises:
        SpecError: the function refuses its arguments, or gives more than one number.
    """
    needs = sklearn_needs(function, task)
    of_codes = task == "classification"
    if of_codes and needs == "probabilities" and "labels" in inspect.signature(function).parameters:
        arguments = {"labels": list(range(n_classes)), **arguments}  # a fold may lack a class
    several = function.__name__ == "average_precision_score" and n_classes > 2
    by_class = of_codes and (several or function.__name__ in _INDICATOR)
    reading: Reading = "indicator" if by_class else _reading(needs)
    call = partial(function, **arguments)
    _try_out(call, _example(task, n_classes), reading, path)
    return partial(_each_model, function=partial(_quietly, call), reading=reading)


def own_compute(function: Callable[..., Any], arguments: dict[str, Any], needs: Needs) -> Compute:
    """A function of the user's for each model; what it raises or warns is the user's to see."""
    return partial(_each_model, function=partial(function, **arguments), reading=_reading(needs))


def options(function: Callable[..., Any]) -> list[str]:
    """The arguments of a metric function that a study file can give: all but the data."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [name for name, parameter in inspect.signature(function).parameters.items() if parameter.kind in kinds]
    return [name for name in names[2:] if name not in _DATA]


def _scores(function: Callable[..., Any], task: Task) -> bool:
    arguments = tuple(inspect.signature(function).parameters)[:2]
    if task == "multilabel":
        return function.__name__ in _MULTILABEL
    of_task = _MODULES.get(function.__module__.rpartition(".")[2]) == task
    return of_task and function.__name__.endswith(_SUFFIXES) and set(arguments) <= set(_DATA)


def _reading(needs: Needs) -> Reading:
    return "scores" if needs == "probabilities" else needs


def _try_out(function: RowFunction, example: tuple[Array, Array], reading: Reading, path: Path) -> None:
    from sklearn.exceptions import UndefinedMetricWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UndefinedMetricWarning)
        try:
            float(function(*_read(*example, reading)))
        except (TypeError, ValueError, NotImplementedError, UndefinedMetricWarning) as error:
            rule = "the metric must give one number with these arguments"
            raise SpecError.of(path, rule, " ".join(str(error).split()).rstrip(".")) from error


def _example(task: Task, n_classes: int) -> tuple[Array, Array]:
    if task == "regression":
        target = np.linspace(1.0, 2.0, 6)[:, None] + np.arange(max(n_classes, 1))
        return target, target + 0.1
    if task == "multilabel":
        labels = (np.arange(6)[:, None] + np.arange(n_classes)) % 2
        return labels, 0.25 + 0.5 * labels
    classes = np.arange(n_classes).repeat(2)
    return classes, 0.5 * np.eye(n_classes)[classes] + 0.5 / n_classes


def _quietly(function: RowFunction, y_true: Array, y_pred: Array) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(y_true, y_pred)
        except (ValueError, ArithmeticError):
            return np.nan


def _each_model(predictions: Predictions, *, function: RowFunction, reading: Reading) -> Tensor:
    tensors = (predictions.target, predictions.values, predictions.mask)
    arrays = [tensor.cpu().numpy() for tensor in tensors]
    scores = [
        float(function(*_read(truth[rows], guess[rows], reading))) if rows.any() else np.nan
        for truth, guess, rows in zip(*arrays, strict=True)
    ]
    return torch.tensor(scores, dtype=torch.float64, device=predictions.mask.device)


def _read(truth: Array, guess: Array, reading: Reading) -> tuple[Array, Array]:
    if truth.ndim == 2 and reading != "values":  # several labels
        return truth, (guess > HALF).astype(np.int64) if reading == "labels" else guess
    if reading == "labels":
        return truth, guess.argmax(axis=1)
    if reading == "indicator":
        return np.eye(guess.shape[1], dtype=np.int64)[truth], guess
    if reading == "scores" and guess.shape[1] == 2:
        return truth, guess[:, 1]
    if reading == "values" and guess.shape[1] == 1:
        return truth[:, 0], guess[:, 0]
    return truth, guess
