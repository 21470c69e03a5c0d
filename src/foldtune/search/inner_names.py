"""What the inner studies of a nested cross-validation are called."""

import re


def inner_name(outer: str, fold: int, folds: int) -> str:
    """The name of an outer fold's study.

    Args:
        outer: the study that is nested.
        fold: from 0.
        folds: J.

    Example:
        >>> inner_name("demo", 0, 5)
        'demo.nested-1-of-5'
    """
    return f"{outer}.nested-{fold + 1}-of-{folds}"


def is_inner(name: str, outer: str) -> bool:
    """Whether a name is that of an outer fold's study, of any number of folds.

    Example:
        >>> is_inner("demo.nested-1-of-5", "demo"), is_inner("demo.nested-1-of-5", "dem")
        (True, False)
    """
    return re.fullmatch(rf"{re.escape(outer)}\.nested-\d+-of-\d+", name) is not None
