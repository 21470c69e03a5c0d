"""Two trials beside each other, on the splits that both were trained on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
        times the number of other trials, pruned ones included, the probabilities of worse, the same and better, and the
        verdict.

    Raises:
        RequestError: a trial is unknown or not complete, or they share fewer than two splits.
    """
    study = store.study(name)
    trials = {number: _complete(store, study, number) for number in (first, second)}
    if first == second:
        raise StoreError.of((), "a comparison needs two trials", f"{first} twice")
    tried = [trial for trial in store.trials(study.uuid) if trial.state in ("complete", "pruned")]
    baseline = next((trial for trial in tried if trial.number == 0 and trial.state == "complete"), trials[second])
    assert baseline.values is not None
    rope = default_rope(study.directions[0], baseline.values[0])
    scores = scores_of(trials.values(), store.repeats(study.uuid))
    shared = shared_repeats(scores, first, second)
    runs = store.partitions(study.uuid)
    found = on_shared_splits(scores, first, second, direction=study.directions[0], rope=rope, runs=runs)
    return {
        "format": 1,
        "study": name,
        "metric": study.objectives[0],
        "direction": study.directions[0],
        "trials": [_side(scores, number, shared) for number in (first, second)],
        **document(found),
        "t": found.t if np.isfinite(found.t) else None,
        "p": found.p,
        "p_adjusted": adjusted(found.p, len(tried) - 1),
        "verdict": careful_verdict(found, len(tried) - 1),
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
        others: trials beside the first, pruned ones included: they might have led as well.

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
    scores: Scores,
    first: int,
    second: int,
    *,
    direction: Direction,
    rope: float,
    runs: Mapping[int, Sequence[Fold]],
) -> Comparison:
    """The first trial's advantage over the second.

    Runs of the same folds, by a splitter without randomness, differ by their seeds alone: they count as their mean.

    Args:
        scores: of both trials.
        first: a trial's number.
        second: another's.
        direction: whether more is better.
        rope: differences up to this one count as none.
        runs: the folds of every repeat that both have.

    Raises:
        DataError: they share fewer than two splits.
    """
    alike = by_folds({repeat: runs[repeat] for repeat in shared_repeats(scores, first, second)})
    one, other = (
        np.stack([np.mean([scores[number][repeat] for repeat in repeats], axis=0) for repeats in alike])
        for number in (first, second)
    )
    found = compare(one, other, direction=direction, rope=rope, test_share=split_share(runs[0]))
    return replace(found, repeats=n_partitions(runs[0], len(alike)))


def by_folds(runs: Mapping[int, Sequence[Fold]]) -> list[list[int]]:
    """Repeats, those of the same folds together.

    Example:
        >>> folds, others = ([Fold(np.arange(1), np.array([row]))] for row in (1, 2))
        >>> by_folds({0: folds, 1: others, 2: folds})
        [[0, 2], [1]]
    """
    found: dict[tuple[bytes, ...], list[int]] = {}
    for repeat, folds in runs.items():
        key = tuple(rows.tobytes() for fold in folds for rows in (fold.train, fold.valid))
        found.setdefault(key, []).append(repeat)
    return list(found.values())


def n_partitions(folds: Sequence[Fold], distinct: int = 1) -> int:
    """How many partitions scores are from: as often as every row was validated, by folds that differ.

    Args:
        folds: of one run; those of a RepeatedKFold are several partitions.
        distinct: runs whose folds differ.

    Example:
        >>> folds = [Fold(np.arange(0), np.array(rows)) for rows in ([0, 1], [2, 3], [0, 2], [1, 3])]
        >>> n_partitions(folds[:2]), n_partitions(folds), n_partitions(folds, 3)
        (1, 2, 6)
    """
    _, times = np.unique(np.concatenate([fold.valid for fold in folds]), return_counts=True)
    return distinct * int(times.min())


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
