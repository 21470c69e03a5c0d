"""From a reference in the study file to a metric.

A bare name is scikit-learn's function name without `_score`; `package.module:name` is a function of the user's.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, get_args

from foldtune import refs
from foldtune.errors import Path, Problem, SpecError, nearest
from foldtune.metrics.classification import LABEL_METRICS
from foldtune.metrics.functions import (
    options,
    own_compute,
    sklearn_compute,
    sklearn_direction,
    sklearn_functions,
    sklearn_needs,
)
from foldtune.metrics.metric import Metric, Needs, TorchMetric
from foldtune.metrics.multilabel import MULTILABEL_METRICS
from foldtune.metrics.probability import PROBABILITY_METRICS
from foldtune.metrics.regression import VALUE_METRICS
from foldtune.refs import Slot
from foldtune.values import Direction, Task

METRIC = Slot("metric", (), "types:FunctionType", function=True)

_TORCH: dict[Task, dict[str, TorchMetric]] = {
    "classification": {**LABEL_METRICS, **PROBABILITY_METRICS},
    "multilabel": MULTILABEL_METRICS,
    "regression": VALUE_METRICS,
}
_AVERAGED = ("precision", "recall", "f1", "fbeta", "jaccard")
_NEEDS: dict[Task, tuple[Needs, ...]] = {
    "classification": ("labels", "probabilities"),
    "multilabel": ("labels", "probabilities"),
    "regression": ("values",),
}


def build_metric(node: str | Mapping[str, Any], *, task: Task, n_classes: int, path: Path) -> Metric:
    """Build the metric that a reference describes.

    The common metrics are computed in torch for all models at once, equal to scikit-learn's; other metrics and other
    arguments call scikit-learn's own function for each model. Two defaults are ours, where scikit-learn would refuse:
    `average` is `binary` with two classes (the positive one has code 1, the larger label) and `macro` with more or with
    several labels, and `multi_class` of `roc_auc` is `ovr`. `log_loss` and `brier_score_loss` of several labels, which
    scikit-learn lacks, are means over labels.

    A function of the user's takes NumPy arrays `(y_true, y_pred)` of one fold and gives a number. Beside `use` stand
    `direction` (`minimize` or `maximize`), optionally `needs` (`labels`, the default, or `probabilities`: (n, C), or
    (n,) of class 1 when there are two), and the function's own keyword arguments. Of several labels both arrays are
    (n, T), the truth 0 and 1.

    Args:
        node: a name, or a mapping with `use` and keyword arguments.
        task: what is predicted.
        n_classes: C, at least 2; for other tasks the number of target columns.
        path: where the node stands in the study file.

    Raises:
        SpecError: the name is unknown or of the other task, or an argument is unknown, missing or refused.

    Example:
        >>> metric = build_metric({"use": "f1", "average": "macro"}, task="classification", n_classes=3, path=())
        >>> metric.label, metric.direction, metric.needs
        ('f1_macro', 'maximize', 'labels')
    """
    name, arguments = refs.split(node) if isinstance(node, str) or refs.is_reference(node) else (None, {})
    if not isinstance(name, str):
        raise SpecError.of(path, "a metric is a function's name or a mapping with `use`", repr(node))
    if ":" in name:
        return _own(name, arguments, task, path)
    if name not in _TORCH[task] and name not in sklearn_functions(task):
        raise _unknown(name, task, path)
    _check_arguments(name, arguments, task, path)
    filled = _with_defaults(name, arguments, task, n_classes)
    label = _label(name, arguments.values())
    known = _TORCH[task].get(name)
    if known and _covers(known, filled, n_classes):
        chosen = {key: value for key, value in filled.items() if key in known.options}
        return Metric(label, known.direction, known.needs, partial(known.compute, **chosen))
    function = sklearn_functions(task)[name]
    compute = sklearn_compute(function, filled, task=task, n_classes=n_classes, path=path)
    return Metric(label, sklearn_direction(function), sklearn_needs(function, task), compute, one_by_one=True)


def default_objective(task: Task) -> str:
    """The metric that a study optimizes when its file names none: a smooth one.

    Example:
        >>> default_objective("regression")
        'mean_squared_error'
    """
    return "mean_squared_error" if task == "regression" else "log_loss"


def default_metrics(task: Task, n_classes: int) -> tuple[str, ...]:
    """The metrics recorded when the study file names none.

    `roc_auc` is among them with two classes only: with more, or with several labels, rare ones go missing in a fold,
    and it is NaN there.

    Example:
        >>> default_metrics("classification", 2)
        ('accuracy', 'balanced_accuracy', 'roc_auc')
    """
    if task == "regression":
        return ("root_mean_squared_error", "mean_absolute_error", "r2")
    if task == "multilabel":
        return ("hamming_loss", "f1", "average_precision")
    return ("accuracy", "balanced_accuracy", "roc_auc" if n_classes == 2 else "f1")


def _with_defaults(name: str, arguments: Mapping[str, Any], task: Task, n_classes: int) -> dict[str, Any]:
    of_codes = task == "classification"
    if name in _AVERAGED:
        return {"average": "binary" if of_codes and n_classes == 2 else "macro", **arguments}
    return {"multi_class": "ovr", **arguments} if of_codes and name == "roc_auc" else dict(arguments)


def _covers(known: TorchMetric, arguments: Mapping[str, Any], n_classes: int) -> bool:
    if arguments.get("average") == "binary" and n_classes != 2:
        return False
    values = {**known.options, **known.neutral}
    return all(key in values and value in values[key] for key, value in arguments.items())


def _check_arguments(name: str, arguments: Mapping[str, Any], task: Task, path: Path) -> None:
    if arguments or name not in _TORCH[task]:  # importing scikit-learn takes seconds: only where there is a question
        function = sklearn_functions(task).get(name, _without_arguments)
        problems = _argument_problems(function, name, arguments, path)
        if problems:
            raise SpecError(problems)


def _without_arguments(y_true: Any, y_pred: Any) -> None:
    """Stands for a metric that scikit-learn does not have for the task."""


def _argument_problems(
    function: Callable[..., Any], name: str, arguments: Mapping[str, Any], path: Path
) -> list[Problem]:
    known = options(function)
    parameters = inspect.signature(function).parameters
    open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [key for key in arguments if key not in known and not open_ended]
    lacking = [key for key in known if key not in arguments and parameters[key].default is inspect.Parameter.empty]
    takes = f"It takes {', '.join(known) or 'none'}."
    return [
        *(Problem((*path, key), f"`{name}` takes no `{key}`", hint=nearest(key, known) or takes) for key in unknown),
        *(Problem(path, f"`{name}` needs the argument `{key}`") for key in lacking),
    ]


def _own(name: str, keys: Mapping[str, Any], task: Task, path: Path) -> Metric:
    function = refs.resolve(name, METRIC, path)
    arguments = {key: value for key, value in keys.items() if key not in ("direction", "needs")}
    direction: Any = keys.get("direction")
    needs = keys.get("needs", _NEEDS[task][0])
    problems = _argument_problems(function, refs.label(name), arguments, path) or _data_problems(function, name, path)
    if direction not in get_args(Direction):
        hint = "Write `direction: minimize` or `direction: maximize` beside `use`."
        problems.append(Problem((*path, "direction"), "the direction of a metric of your own must be given", hint=hint))
    if needs not in _NEEDS[task]:
        rule = f"`needs` must be {' or '.join(_NEEDS[task])} for {task}"
        problems.append(Problem((*path, "needs"), rule, str(needs)))
    if problems:
        raise SpecError(problems)
    label = _label(refs.label(name), arguments.values())
    return Metric(label, direction, needs, own_compute(function, arguments, needs), one_by_one=True)


def _data_problems(function: Callable[..., Any], name: str, path: Path) -> list[Problem]:
    try:
        inspect.signature(function).bind_partial(None, None)
    except TypeError:
        rule = "a metric of your own must be a function of (y_true, y_pred)"
        return [Problem(path, rule, f"{name}{inspect.signature(function)}")]
    return []


def _label(name: str, values: Iterable[Any]) -> str:
    parts = [part for value in values for part in (value if isinstance(value, list | tuple) else [value])]
    return "_".join([name, *map(str, parts)])


def _unknown(name: str, task: Task, path: Path) -> SpecError:
    known = sorted({*sklearn_functions(task), *_TORCH[task]})
    tasks: tuple[Task, ...] = get_args(Task)
    if other := next((each for each in tasks if name in sklearn_functions(each)), None):
        return SpecError.of(path, f"`{name}` is a {other} metric", f"task={task}", nearest(name, known) or None)
    rule = f"there is no {task} metric `{name}`"
    return SpecError.of(path, rule, hint=_spelling(name, known) or nearest(name, known) or _RULE)


def _spelling(name: str, known: Iterable[str]) -> str:
    """What to write for scikit-learn's other spellings: `f1_score` (its function) and `f1_macro` (its scorer)."""
    bare = name.removeprefix("neg_").removesuffix("_score")
    head, _, tail = bare.rpartition("_")
    if bare in known:
        return f"Write {bare}."
    argument = {"ovr": "multi_class", "ovo": "multi_class"}.get(tail, "average")
    written = tail in ("ovr", "ovo", "macro", "micro", "weighted")
    return f"Write {{use: {head}, {argument}: {tail}}}." if written and head in known else ""


_RULE = "A metric is named like scikit-learn's function without `_score`; one of your own is `package.module:name`."
