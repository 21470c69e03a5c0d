"""What is allowed, but makes scores say less than they seem to: said before anything is trained."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from foldtune.data.duplicates import repeated_rows
from foldtune.data.one_column import column_names, told_by_each
from foldtune.errors import Path, Problem, dotted
from foldtune.refs import label, split
from foldtune.search.metric_checks import metric_problems
from foldtune.search.plan import Plan
from foldtune.selection.labels import FEW_GROUPS

logger = logging.getLogger("foldtune")

TELLS_ALL = 0.95
"""A column that takes away more of the error by itself is taken for the target in other clothes.

A leak makes a score as good as it likes (0.98 on noise where 0.50 was true), so the share is set above what honest
columns reach: of 17 well-known sets the petal width of iris takes away most, 0.88. Columns known to be leaks begin
there: 0.952 for the registered users among all users of the bicycles that are to be counted; a copy has 1.
"""


def doubts(plan: Plan) -> list[Problem]:
    """Everything doubtful about a study's data, folds and metrics, with its place and what to do.

    Raises:
        DataError: the file `data.test` does not fit the development rows.
    """
    return [*_few_groups(plan), *_untimed(plan), *_repeated(plan), *_telling(plan), *_locked(plan), *_undefined(plan)]


def warn(plan: Plan) -> list[Problem]:
    """Log all doubts, and return them.

    Raises:
        DataError: the file `data.test` does not fit the development rows.
    """
    found = doubts(plan)
    for doubt in found:
        logger.warning("%s", doubt.text(plan.file.source))
    return found


def documents(found: Sequence[Problem]) -> list[dict[str, str]]:
    """Doubts as they are stored and as `--json` prints them, without the lines of the file that they were said of."""
    return [{"path": dotted(doubt.path), "message": doubt.text()} for doubt in found]


def _few_groups(plan: Plan) -> Iterator[Problem]:
    if plan.dataset.groups is None:
        return
    groups, folds = len(np.unique(plan.dataset.groups)), len(plan.folds)
    name = label(plan.tree["validation"])
    if groups < FEW_GROUPS or (name.endswith("GroupKFold") and folds > groups / 2):
        rule = f"there should be {FEW_GROUPS} groups or more, and two or more in every fold"
        hint = "Folds of so few groups differ much, and so will the rows to come: fewer folds, or rows of more groups."
        yield Problem(("data", "group"), rule, f"{groups} groups in {folds} folds", hint)


def _untimed(plan: Plan) -> Iterator[Problem]:
    if label(plan.tree["validation"]) == "TimeSeriesSplit" and plan.dataset.time is None:
        rule = "a time splitter should know when the rows are from"
        hint = (
            "Without it, rows count as ordered as in the file, rows to be locked are taken from anywhere, and "
            "intervals draw single rows instead of stretches of time: name the column in `data.time`."
        )
        yield Problem(("validation",), rule, "no `data.time` column", hint)


def _repeated(plan: Plan) -> Iterator[Problem]:
    found = repeated_rows(plan.dataset, plan.folds)
    if found.example is not None:
        rows = np.setdiff1d(np.arange(plan.dataset.n_rows + len(plan.locked)), plan.locked)
        first, second = sorted(int(rows[row]) for row in found.example)
        value = f"{found.rows} of {plan.dataset.n_rows} rows do, {found.conflicting} of them with another target, "
        value += f"such as rows {first} and {second} (counted from 0)"
        rule = "no validation row should have the same inputs as a training row"
        hint = (
            "Nets may recall what they were trained on: if these are one case more than once, take the others out or "
            "keep them together with `data.group`; if they are different cases, nothing is wrong."
        )
        yield Problem(("validation",), rule, value, hint)


def _telling(plan: Plan) -> Iterator[Problem]:
    told = told_by_each(plan.dataset, plan.folds, enough=TELLS_ALL - 0.15)
    names = column_names(plan.dataset)
    for place in np.flatnonzero(told > TELLS_ALL):
        rule = "no column should tell the target by itself"
        value = f"`{names[place]}` alone takes away {told[place]:.1%} of the error"
        hint = "If it is known only once the target is, leave it out with `data.drop`."
        yield Problem(("data", "target"), rule, value, hint)


def _locked(plan: Plan) -> Iterator[Problem]:
    if not plan.has_locked_rows:
        return
    whole, fold = plan.with_locked()
    path: Path = ("data", "test_fraction" if plan.spec.data.test is None else "test")
    locked = f"{len(fold.valid)} locked rows"
    found = repeated_rows(whole, [fold])
    if found.rows:
        rule = "no locked row should have the same inputs as a development row"
        hint = "Nets may recall such rows, which makes a test too good: take them out of one of the two."
        value = f"{found.rows} of {locked} do, {found.conflicting} of them with another target"
        yield Problem(path, rule, value, hint)
    if whole.groups is not None:
        shared = np.intersect1d(whole.groups[fold.train], whole.groups[fold.valid])
        if len(shared):
            rule = "no group should have locked rows and development rows"
            yield Problem(path, rule, f"{len(shared)} groups have both", "Lock whole groups away.")
    if whole.time is not None and (early := whole.time[fold.valid] < whole.time[fold.train].max()).any():
        rule = "locked rows should come after the development rows in time"
        yield Problem(path, rule, f"{early.sum()} of {locked} do not", "Lock the last rows away.")


def _undefined(plan: Plan) -> list[Problem]:
    """Of the metrics that are only recorded; objectives are refused."""
    path: Path = ("metrics",)
    nodes = zip(plan.metrics, plan.metric_nodes, strict=True)
    recorded = [(metric, path) for metric, node in list(nodes)[plan.n_objectives :] if ":" not in split(node)[0]]
    return metric_problems(recorded, plan.dataset, plan.folds, label(plan.tree["validation"]))
