"""Two trials beside each other, on the splits that both were trained on."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from foldtune.errors import StoreError
from foldtune.selection.compare import LEANING, SURE, Comparison, Verdict, compare, default_rope
from foldtune.store.records import RepeatRecord, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.values import Direction, Floats, Fold

_WEAKER: Mapping[Verdict, Verdict] = MappingProxyType(
    {
        "better": "leaning better",
        "leaning better": "leaning better",
        "worse": "leaning worse",
        "leaning worse": "leaning worse",
    }
)
"""What is said of a difference that the number of trials leaves less sure."""

Scores = Mapping[int, Mapping[int, Floats]]
"""Trial number -> repeat -> the objective of each fold, shape (K,); the study's own partition is repeat 0."""


def compare_trials(store: Store, name: str, first: int, second: int) -> dict[str, Any]:
    """What is known of one trial's advantage over another.

    Args:
        store: where the study is.
        name: the study's.
        first: a complete trial's number.
        second: another's.

    Returns:
        A JSON tree: mean advantage (positive when the first is better), its interval, t and p of the corrected test, p
        times the number of other complete trials, the probabilities of worse, the same and better, and the verdict.

    Raises:
        RequestError: a trial is unknown or not complete, or they share fewer than two splits.
    """
    study = store.study(name)
    trials = {number: _complete(store, study, number) for number in (first, second)}
    if first == second:
        raise StoreError.of((), "a comparison needs two trials", f"{first} twice")
    complete = {trial.number: trial for trial in store.trials(study.uuid) if trial.values is not None}
    baseline = complete.get(0, trials[second])
    assert baseline.values is not None
    rope = default_rope(study.directions[0], baseline.values[0])
    scores = scores_of(trials.values(), store.repeats(study.uuid))
    found = on_shared_splits(scores, first, second, direction=study.directions[0], rope=rope, folds=study.folds)
    shared = shared_repeats(scores, first, second)
    return {
        "format": 1,
        "study": name,
        "metric": study.objectives[0],
        "direction": study.directions[0],
        "trials": [_side(scores, number, shared) for number in (first, second)],
        **document(found),
        "t": found.t if np.isfinite(found.t) else None,
        "p": found.p,
        "p_adjusted": adjusted(found.p, len(complete) - 1),
        "verdict": careful_verdict(found, len(complete) - 1),
    }


def adjusted(p: float, others: int) -> float:
    """A p-value for a trial that was picked for its lead over that many others: Holm's first and largest factor.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6.
    """
    return min(1.0, p * max(1, others))


def careful_verdict(found: Comparison, others: int) -> Verdict:
    """A comparison in words that also holds where the two were picked among many, as the best of noise always leads.

    Args:
        found: the comparison.
        others: complete trials beside the first.

    Example:
        >>> lead = Comparison(mean=0.1, error=0.05, freedom=4, rope=0.01, repeats=1)  # p 0.12
        >>> careful_verdict(lead, others=1), careful_verdict(lead, others=12)
        ('leaning better', 'cannot tell')
    """
    said, p = found.verdict, adjusted(found.p, others)
    if said not in _WEAKER or p <= 1 - SURE:
        return said
    return _WEAKER[said] if p <= 1 - LEANING else "cannot tell"


def scores_of(trials: Iterable[TrialRecord], repeats: Iterable[RepeatRecord]) -> Scores:
    """The objective of complete trials, on every partition on which they were trained to their end."""
    found = {
        trial.number: {0: trial.scores[:, 0]}
        for trial in trials
        if trial.state == "complete" and trial.scores is not None
    }
    for one in repeats:
        if one.state == "complete" and one.scores is not None and one.trial in found:
            found[one.trial][one.repeat] = one.scores[:, 0]
    return found


def shared_repeats(scores: Scores, first: int, second: int) -> list[int]:
    """Partitions that both trials have, ascending."""
    return sorted(scores[first].keys() & scores[second].keys())


def on_shared_splits(
    scores: Scores, first: int, second: int, *, direction: Direction, rope: float, folds: Sequence[Fold]
) -> Comparison:
    """The first trial's advantage over the second.

    Raises:
        DataError: they share fewer than two splits.
    """
    one, other = (
        np.stack([scores[number][repeat] for repeat in shared_repeats(scores, first, second)])
        for number in (first, second)
    )
    return compare(one, other, direction=direction, rope=rope, test_share=split_share(folds))


def split_share(folds: Sequence[Fold]) -> float:
    """A split's validation rows divided by its training rows, on average over the folds.

    Example:
        >>> split_share([Fold(np.arange(4), np.arange(4, 5)), Fold(np.arange(1, 5), np.arange(1))])
        0.25
    """
    return float(np.mean([len(fold.valid) / len(fold.train) for fold in folds]))


def document(found: Comparison) -> dict[str, Any]:
    """A comparison as a JSON tree, without a verdict."""
    return {
        "mean": found.mean,
        "interval": list(found.interval(SURE)),
        "level": SURE,
        "worse": found.worse,
        "same": found.same,
        "better": found.better,
        "rope": found.rope,
        "partitions": found.repeats,
    }


def _complete(store: Store, study: StudyRecord, number: int) -> TrialRecord:
    trial = store.trial(study.uuid, number)
    if trial.state != "complete":
        hint = "`foldtune show` marks those that are."
        raise StoreError.of((), "trials that are compared must be complete", f"trial {number} is {trial.state}", hint)
    return trial


def _side(scores: Scores, number: int, shared: Sequence[int]) -> dict[str, Any]:
    tables = [scores[number][repeat] for repeat in shared]
    return {"number": number, "mean": float(np.mean(tables)), "fold_values": [table.tolist() for table in tables]}
