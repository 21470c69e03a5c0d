"""What confirmation says: who wins on fresh partitions, by how much, and for how many epochs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from foldtune.search.comparison import (
    Scores,
    by_folds,
    document,
    n_partitions,
    on_shared_splits,
    scores_of,
    split_share,
)
from foldtune.search.plan import Plan
from foldtune.selection.compare import default_rope
from foldtune.selection.winner import Finalist, confirm, rank, repeats_help, simplest, to_confirm
from foldtune.store.records import Curves, RepeatRecord, TrialRecord
from foldtune.train.stopping import eligible_epochs, fold_mean, pooled_means, refit_epoch
from foldtune.values import Fold

CurvesOf = Callable[[int, int], Curves]
"""Of a trial on a partition."""

Runs = Mapping[int, Sequence[Fold]]
"""The folds of repeats."""

Cost = Callable[[TrialRecord], float | None]
"""What `search.prefer` keeps small."""


def confirmation(
    plan: Plan,
    trials: Mapping[int, TrialRecord],
    repeats: Sequence[RepeatRecord],
    *,
    runs: Runs,
    curves: CurvesOf,
    cost: Cost | None = None,
) -> dict[str, Any] | None:
    """What the finding "confirmation" says.

    Trials are ranked on the partitions that all finalists have: of a confirmation that was interrupted, those that are
    ahead do not win by being ahead. A trial that failed on one is out.

    Args:
        plan: the study.
        trials: all of them.
        repeats: what was trained once more.
        runs: the folds of every repeat.
        curves: where epochs are read.
        cost: None where nothing is preferred.

    Returns:
        A JSON tree; None before every finalist that has begun was trained once more to its end.
    """
    repeats = [one for one in repeats if one.state != "pruned"]  # their partitions do not suit the data
    scores = scores_of(trials.values(), repeats)
    begun = scores.keys() & {one.trial for one in repeats} - {one.trial for one in repeats if one.state == "failed"}
    partitions = _partitions(plan, trials, {number: scores[number] for number in begun})
    if len(partitions) < 2:
        return None
    numbers = sorted(number for number in begun if scores[number].keys() >= partitions)
    finalists = [
        Finalist(
            number, np.stack([scores[number][repeat] for repeat in sorted(partitions)]), _cost(trials, number, cost)
        )
        for number in numbers
    ]
    direction, share = plan.directions[0], split_share(plan.folds)
    found = confirm(finalists, direction, share)
    rope = default_rope(direction, _baseline(trials, finalists[0]))
    distinct = len(by_folds({repeat: runs[repeat] for repeat in partitions}))
    return {
        "repeats": len(partitions) - 1,
        "partitions": n_partitions(plan.folds, distinct) if distinct > 1 else 1,
        "begun": len({one.trial for one in repeats}),
        "winner": found.winner,
        "ranked": [_row(one) for one in rank(finalists, direction)],
        "alike": found.alike,
        "run_to_run": None if math.isnan(found.run_to_run) else found.run_to_run,
        "repeats_help": _help(found.run_to_run, finalists),
        "default": _against_default(plan, scores, found.winner, rope, runs),
        "preferred": _preferred(plan, finalists, rope) if cost else None,
        "epoch": final_epoch(plan, trials[found.winner], sorted(scores[found.winner]), curves),
    }


def final_epoch(plan: Plan, winner: TrialRecord, partitions: Sequence[int], curves: CurvesOf) -> int:
    """e*: the best epoch of a trial's mean curve over all folds of its partitions, as far as all of them go."""
    means = pooled_means([curves(winner.number, repeat).scores[:, :, 0] for repeat in partitions])
    eligible = eligible_epochs(int(winner.config["training"]["epochs"]), len(means))
    return refit_epoch(means, plan.directions[0], eligible)


def _partitions(plan: Plan, trials: Mapping[int, TrialRecord], begun: Scores) -> frozenset[int]:
    """Those that all finalists have; a trial that a larger budget has put out of them does not hold them up."""
    ended = [trial for trial in trials.values() if trial.finished_at is not None]
    values = [(trial.number, trial.values[0]) for trial in ended if trial.values is not None]
    best = to_confirm(values, plan.directions[0], n_trials=len(ended))
    finalists = begun.keys() & best or begun.keys()
    return frozenset.intersection(*(frozenset(begun[number]) for number in finalists)) if finalists else frozenset()


def _against_default(plan: Plan, scores: Scores, winner: int, rope: float, runs: Runs) -> dict[str, Any] | None:
    """The winner beside the configuration of defaults, on the splits that both have.

    The winner was chosen on these splits: numbers, no verdict.
    """
    if winner == 0 or 0 not in scores or len(plan.folds) < 2:
        return None
    found = on_shared_splits(scores, winner, 0, direction=plan.directions[0], rope=rope, runs=runs)
    return {"over": 0, **document(found)}


def _preferred(plan: Plan, finalists: Sequence[Finalist], rope: float) -> dict[str, Any]:
    found = simplest(finalists, direction=plan.directions[0], rope=rope, test_share=split_share(plan.folds))
    costs = {str(one.number): one.cost for one in finalists}
    return {"number": found.number, "given_up": found.given_up, "by": plan.spec.search.prefer, "costs": costs}


def _row(one: Finalist) -> dict[str, Any]:
    values = [fold_mean(scores) for scores in one.scores]
    return {"number": one.number, "mean": one.mean, "values": values, "fold_values": one.scores.tolist()}


def _help(run_to_run: float, finalists: Sequence[Finalist]) -> bool | None:
    """Whether repeats bring anything; None where that cannot be said."""
    folds = finalists[0].scores.shape[1]
    if folds < 2 or math.isnan(run_to_run):
        return None
    variance = float(np.mean([one.scores.var(axis=1, ddof=1) for one in finalists]))
    return repeats_help(run_to_run, standard_error=math.sqrt(variance / folds))


def _baseline(trials: Mapping[int, TrialRecord], other: Finalist) -> float:
    default = trials.get(0)
    return default.values[0] if default is not None and default.values else other.mean


def _cost(trials: Mapping[int, TrialRecord], number: int, cost: Cost | None) -> float | None:
    return cost(trials[number]) if cost else None
