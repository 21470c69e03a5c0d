"""Out-of-fold answers as the statistics of selection read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from foldtune.data.dataset import Dataset
from foldtune.errors import DataError
from foldtune.metrics import Metric
from foldtune.selection.answers import predictions
from foldtune.selection.bbc import DRAWS
from foldtune.selection.known import scorer_of
from foldtune.selection.resampling import Units, group_units, time_units
from foldtune.selection.scorers import BinaryRanking, RowMeans, Scorer, over_folds, rows_of_folds
from foldtune.values import Floats, Fold, OutOfFold, Rows

BLOCK = 2**22
"""Predictions that are scored at a time."""
FEWEST_DRAWS = 100
MULTIPLICATIONS = 2e10
"""Of all draws together, where the metric is a mean over rows: some ten seconds."""
RANKED_ROWS = 1e9
"""The same for areas under a curve."""
SCORED_ROWS = 1e8
"""The same where all trials are scored anew, draw by draw."""
CALLS, MOST_CALLS = 20_000, 50_000
"""Of a metric that scores trials one by one."""


@dataclass(frozen=True, eq=False)
class Places:
    """What each of n answers is of.

    A row that several folds validate, as of a RepeatedKFold, stands several times; one that none does, as the first
    rows of a TimeSeriesSplit, does not.

    Args:
        row: number in the data that were split, shape (n,).
        fold: the fold that validates it, shape (n,).
    """

    row: Rows
    fold: Rows

    @property
    def once(self) -> Rows:
        """Places of each row's first answer."""
        return np.sort(np.unique(self.row, return_index=True)[1])


def places(folds: Sequence[Fold]) -> Places:
    """Places in the order of `OutOfFold.answers`.

    Example:
        >>> found = places([Fold(np.array([0]), np.array([1, 2])), Fold(np.array([1, 2]), np.array([0]))])
        >>> found.row.tolist(), found.fold.tolist()
        ([1, 2, 0], [0, 0, 1])
    """
    sizes = [len(fold.valid) for fold in folds]
    return Places(np.concatenate([fold.valid for fold in folds]), np.repeat(np.arange(len(folds)), sizes))


def whole(answers: Mapping[int, OutOfFold], dataset: Dataset, folds: Sequence[Fold]) -> dict[int, OutOfFold]:
    """Those that are as foldtune writes them: of every place, and as wide as the target asks for."""
    rows, outputs = sum(len(fold.valid) for fold in folds), dataset.n_outputs
    widths = {"losses": {1}, "logits": {1, 2} if outputs == 2 else {outputs}}
    return {
        number: one
        for number, one in answers.items()
        if len(one.answers) == rows
        and one.answers.shape[1] in widths.get(one.kind, {outputs})
        and len(one.epochs) == len(folds)
    }


def units_of(dataset: Dataset, row: Rows) -> Units:
    """What a draw takes as a whole: stretches of time, groups, or rows with all their answers; classes in shares."""
    if dataset.time is not None:
        return time_units(dataset.time[row])
    classes = dataset.target[row] if dataset.task == "classification" else None
    return group_units(row if dataset.groups is None else dataset.groups[row], classes)


def metric_scorer(
    metric: Metric, node: Mapping[str, Any], dataset: Dataset, where: Places, answers: Sequence[OutOfFold]
) -> Scorer:
    """The metric of many trials on any draw of rows.

    Args:
        metric: what is computed.
        node: its reference in the study file.
        dataset: where the true targets are.
        where: of the answers.
        answers: of C trials, all of one kind; losses are averaged, whatever the metric.
    """
    if answers[0].kind == "losses":
        return RowMeans(np.concatenate([one.answers for one in answers], axis=1).astype(np.float64), where.fold)
    target, made = dataset.target[where.row], _Predictions(answers)
    known = scorer_of(node["use"], target=target, predictions=made, fold=where.fold) if set(node) == {"use"} else None
    return known or DrawnMetric(metric, target, made, where.fold)


class _Predictions(Sequence[Floats]):
    """Each trial's predictions, made when they are asked for: all of them in float64 may not fit into memory."""

    def __init__(self, answers: Sequence[OutOfFold]) -> None:
        self.answers = answers

    def __len__(self) -> int:
        return len(self.answers)

    @overload
    def __getitem__(self, index: int) -> Floats: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Floats]: ...
    def __getitem__(self, index: int | slice) -> Floats | Sequence[Floats]:
        return _Predictions(self.answers[index]) if isinstance(index, slice) else predictions(self.answers[index])

    def __iter__(self) -> Iterator[Floats]:
        return map(predictions, self.answers)


def n_draws(metric: Metric, scorer: Scorer, *, answers: int, trials: int, folds: int) -> int:
    """How many draws a correction takes: 1000, or fewer where they would take long, whatever a clock says.

    Raises:
        DataError: a few would take too long already.

    Example:
        >>> from foldtune.metrics import build_metric
        >>> from foldtune.selection.scorers import RowMeans
        >>> loss = build_metric("log_loss", task="classification", n_classes=2, path=())
        >>> means = RowMeans(np.zeros((10, 1)), np.zeros(10, int))
        >>> n_draws(loss, means, answers=2000, trials=200, folds=5)
        1000
        >>> n_draws(loss, means, answers=1_000_000, trials=100, folds=5)
        200
    """
    if not (isinstance(scorer, DrawnMetric) and metric.one_by_one):
        drawn = SCORED_ROWS if isinstance(scorer, DrawnMetric) else MULTIPLICATIONS
        work = RANKED_ROWS if isinstance(scorer, BinaryRanking) else drawn
        return int(np.clip(work / (answers * trials), FEWEST_DRAWS, DRAWS))
    if FEWEST_DRAWS * trials * folds > MOST_CALLS:
        rule = f"`{metric.label}` is scored trial by trial and draw by draw, which must not take minutes"
        raise DataError.of((), rule, f"{trials} trials of {folds} folds")
    return int(np.clip(CALLS / (trials * folds), FEWEST_DRAWS, DRAWS))


class DrawnMetric:
    """Any metric on any draws of rows, fold by fold, as a `Scorer`: draws and trials are scored together.

    Args:
        metric: what is computed.
        target: class codes, shape (n,), or labels or values, shape (n, T).
        values: predictions of C trials, shape (n, O) each.
        fold: the fold that validates each row, shape (n,).
    """

    def __init__(self, metric: Metric, target: NDArray[Any], values: Sequence[Floats], fold: Rows) -> None:
        self.metric, self.fold = metric, fold
        self.target, self.values = torch.from_numpy(target), torch.from_numpy(np.stack(list(values)))

    def every(self, counts: Floats) -> Floats:
        return self._scores(counts, np.tile(np.arange(len(self.values)), (len(counts), 1)))

    def one(self, counts: Floats, chosen: Rows) -> Floats:
        return self._scores(counts, chosen[:, None])[:, 0]

    def _scores(self, counts: Floats, trials: Rows) -> Floats:
        """Draws (B, n) and the trials that each scores (B, T), to (B, T)."""
        size = max(1, BLOCK // (trials.shape[1] * counts.shape[1] * self.values.shape[2]))
        parts = [slice(start, start + size) for start in range(0, len(counts), size)]
        folds = rows_of_folds(self.fold)
        found = [
            over_folds(np.stack([self._fold_scores(counts[part], trials[part], rows) for rows in folds]))
            for part in parts
        ]
        return np.concatenate(found)

    def _fold_scores(self, counts: Floats, trials: Rows, rows: Rows) -> Floats:
        drawn = [torch.from_numpy(np.repeat(rows, times)) for times in counts[:, rows].astype(np.int64)]
        index = pad_sequence(drawn, batch_first=True, padding_value=int(rows[0]))  # (B, L)
        mask = torch.arange(index.shape[1]) < torch.tensor([len(one) for one in drawn])[:, None]
        shape = (*trials.shape, index.shape[1])
        at = index[:, None].expand(shape).flatten(0, 1)  # (B T, L)
        values = self.values[torch.from_numpy(trials).flatten()[:, None], at]
        try:
            scores = self.metric(self.target[at], values, mask[:, None].expand(shape).flatten(0, 1))
        except Exception as error:  # a metric of the user's own, on rows that it was not written for
            rule = f"the metric `{self.metric.label}` must score any draw of the rows"
            raise DataError.of(("objective",), rule, f"{type(error).__name__}: {error}") from error
        found: Floats = scores.numpy().reshape(trials.shape)
        return found
