"""What is found out about a study when its search ends, or is interrupted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from foldtune.search.calibration import calibration
from foldtune.search.candidates import Means
from foldtune.search.confirmation import Cost, confirmation
from foldtune.search.latency import latency
from foldtune.search.out_of_fold import places, whole
from foldtune.search.plan import Plan
from foldtune.search.refit import chosen_by
from foldtune.search.result import best_trial, of_ours
from foldtune.search.score import NO_ANSWERS, honest_score
from foldtune.store.records import Curves, Finding, FindingKind, TrialRecord
from foldtune.store.store import Store
from foldtune.values import OutOfFold

MOST_BYTES = 2**32
"""Of memory for a correction; studies that need more are corrected by their fold scores."""


def conclude(
    plan: Plan, store: Store, uuid: str, *, trials: Mapping[int, TrialRecord], means: Means, tick: int
) -> None:
    """Store the honest score, what confirmation says, and whether probabilities keep their word.

    Nothing happens where no trial is complete; what is stored already stays, with its date, until it says otherwise.
    Out-of-fold answers are read only for what has changed since: all of them for the score, the winner's for the rest.

    Args:
        plan: the study.
        store: where its rows are.
        uuid: its key.
        trials: every trial by number.
        means: of their epochs.
        tick: the study's when these were read.
    """
    best = best_trial(trials.values(), plan.directions[0])
    if best is None:
        return
    known = {finding.kind: finding for finding in store.findings(uuid)}
    found: dict[FindingKind, tuple[int, dict[str, Any] | None]] = {}
    if plan.n_objectives == 1:
        confirmed = _confirmation(plan, store, uuid, trials, known.get("confirmation"))
        winner = chosen_by(confirmed) if confirmed else best.number
        found["confirmation"] = (winner, confirmed)
        if "calibration" not in known or known["calibration"].trial != winner:  # what has ended keeps its answers
            found["calibration"] = (winner, _calibration(plan, store, uuid, winner))
    score = known.get("score")
    if score is None or store.changes(uuid, score.tick).trials:
        found["score"] = (best.number, _score(plan, store, uuid, trials, means))
    for kind, (number, content) in found.items():
        if content is not None and (kind not in known or known[kind].content != content):
            store.keep(uuid, Finding(kind, number, content, tick, datetime.now(UTC)))


def _score(plan: Plan, store: Store, uuid: str, trials: Mapping[int, TrialRecord], means: Means) -> dict[str, Any]:
    """The honest score, by the answers of all trials if these fit into memory."""
    answers: dict[int, OutOfFold] = {}
    lacking = NO_ANSWERS
    if (size := _bytes(plan, trials)) <= MOST_BYTES:
        answers = whole(store.answers(uuid), plan.dataset, plan.folds)
    else:
        lacking = f"out-of-fold predictions of all trials would take {size / 2**30:.0f} GiB of memory"
    return honest_score(plan, list(trials.values()), answers, means, lacking=lacking)


def _bytes(plan: Plan, trials: Mapping[int, TrialRecord]) -> int:
    """Memory of all trials' answers, and of what is made of them: a float64 for each row, or each of its outputs."""
    ended = sum(trial.state in ("complete", "pruned") for trial in trials.values())
    return ended * len(places(plan.folds).row) * plan.dataset.n_outputs * 8


def _confirmation(
    plan: Plan, store: Store, uuid: str, trials: Mapping[int, TrialRecord], before: Finding | None
) -> dict[str, Any] | None:
    def curves(number: int, repeat: int) -> Curves:
        return store.curves(uuid, number, repeat)

    runs, cost = store.partitions(uuid), _cost(plan, _measured(before))
    return confirmation(plan, trials, store.repeats(uuid), runs=runs, curves=curves, cost=cost)


@of_ours()
def _measured(confirmed: Finding | None) -> dict[str, float | None]:
    """What `search.prefer` keeps small, of trials of which it is known, by number."""
    preferred = confirmed.content["preferred"] if confirmed else None
    return dict(preferred["costs"]) if preferred else {}


def _cost(plan: Plan, measured: Mapping[str, float | None]) -> Cost | None:
    """What `search.prefer` keeps small, of a trial; a time that was measured before stays."""
    prefer = plan.spec.search.prefer
    if prefer != "latency":
        return None if prefer is None else lambda trial: trial.n_parameters

    def seconds(trial: TrialRecord) -> float | None:
        stored = measured.get(str(trial.number))
        return latency(plan, trial.config) if stored is None else stored

    return seconds


def _calibration(plan: Plan, store: Store, uuid: str, winner: int) -> dict[str, Any] | None:
    answers = whole(store.answers(uuid, trial=winner), plan.dataset, plan.folds)
    return calibration(plan.dataset, places(plan.folds), answers[winner]) if winner in answers else None
