"""The honest score: what the chosen configuration can be expected to score, in spite of having been chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldtune import refs
from foldtune.errors import DataError
from foldtune.search.candidates import Ladder, Means, value
from foldtune.search.comparison import n_partitions
from foldtune.search.contamination import beside_defaults
from foldtune.search.out_of_fold import metric_scorer, n_draws, places, units_of, whole
from foldtune.search.plan import Plan
from foldtune.search.result import best_trial
from foldtune.selection import labels
from foldtune.selection.bbc import DRAWS, LEVEL, Corrected, correct, fold_correction, percentiles
from foldtune.selection.compare import default_rope, verdict
from foldtune.selection.resampling import Units
from foldtune.store.records import TrialRecord
from foldtune.values import Floats, OutOfFold

SEVERAL = "a study of several objectives has no single best trial"
ONE_TRIAL = "not corrected: nothing was selected from a single trial"
NO_ANSWERS = "no out-of-fold predictions of a complete trial are stored"
FEW = f"only the interval counts, below {labels.LEAST_ROWS} rows or {labels.LEAST_OF_A_CLASS} of the rarest class"
FALLBACK = "fold correction, from fold scores alone"


def honest_score(
    plan: Plan,
    trials: Sequence[TrialRecord],
    answers: Mapping[int, OutOfFold],
    means: Means,
    *,
    lacking: str = NO_ANSWERS,
) -> dict[str, Any]:
    """What the finding "score" says.

    Args:
        plan: the study.
        trials: all of them, as they stand.
        answers: out of fold on the shared partition, by trial.
        means: of their epochs.
        lacking: why there are no answers, where there are none.

    Returns:
        A JSON tree. Without a complete trial, or with several objectives: all null, with the reason.
    """
    best = best_trial(trials, plan.directions[0])
    tried = [trial for trial in trials if trial.state in ("complete", "pruned")]
    base = _about(plan, trials, tried)
    if best is None or best.values is None or plan.n_objectives > 1:
        return {**base, "reason": SEVERAL if plan.n_objectives > 1 else "no trial is complete"}
    base |= {"best": best.number, "naive": best.values[0]}
    if len(tried) < 2:
        return {**base, "label": ONE_TRIAL, "headline": "naive", "reason": ONE_TRIAL}
    scored = _scored(plan, tried, answers)
    reason = lacking
    if any(trial.state == "complete" for trial in scored):
        try:
            return base | _by_bootstrap(plan, tried, scored, answers, means, best.values[0])
        except DataError as error:
            reason = str(error)
    return base | _by_folds(plan, tried, best, reason)


def sampler_name(plan: Plan) -> str:
    """The class name of the study's sampler."""
    sampler = plan.spec.search.sampler
    return refs.label(sampler.node) if sampler else "TPESampler"


def _about(plan: Plan, trials: Sequence[TrialRecord], tried: Sequence[TrialRecord]) -> dict[str, Any]:
    nothing = dict.fromkeys(("best", "naive", "corrected", "interval", "label", "headline", "optimism", "gain"))
    return {
        **nothing,
        "metric": plan.metrics[0].label,
        "level": LEVEL,
        "n_trials": len(tried),
        "finished": sum(trial.finished_at is not None for trial in trials),
        "n_rows": len(np.unique(places(plan.folds).row)),
        "draws": 0,
        "method": None,
        "reason": None,
        "cautions": [],
    }


def _scored(plan: Plan, tried: Sequence[TrialRecord], answers: Mapping[int, OutOfFold]) -> list[TrialRecord]:
    """Trials with answers, all of the kind that the first complete one has."""
    kinds = {number: one.kind for number, one in whole(answers, plan.dataset, plan.folds).items()}
    kind = next((kinds[trial.number] for trial in tried if trial.values and trial.number in kinds), None)
    return [trial for trial in tried if trial.number in kinds and kinds[trial.number] == kind]


def _by_bootstrap(
    plan: Plan,
    tried: Sequence[TrialRecord],
    scored: Sequence[TrialRecord],
    answers: Mapping[int, OutOfFold],
    means: Means,
    naive: float,
) -> dict[str, Any]:
    dataset, direction, where = plan.dataset, plan.directions[0], places(plan.folds)
    own = [answers[trial.number] for trial in scored]
    scorer = metric_scorer(plan.metrics[0], plan.metric_nodes[0], dataset, where, own)
    units = units_of(dataset, where.row)
    candidates = Ladder.of(scored, answers, means).candidates(scorer, direction, units, plan.spec.search.seed)
    baseline = next((i for i, trial in enumerate(scored) if trial.number == 0 and trial.state == "complete"), None)
    size = {"answers": len(where.row), "trials": len(scored), "folds": len(plan.folds)}
    draws = n_draws(plan.metrics[0], scorer, **size)
    found = correct(
        scorer,
        candidates,
        units=units,
        direction=direction,
        seed=plan.spec.search.seed,
        draws=draws,
        baseline=baseline,
    )
    few = [f"{draws} bootstrap samples instead of {DRAWS}: more would take minutes."] if draws < DRAWS else []
    optimism = naive - found.score if direction == "maximize" else found.score - naive
    return {
        "corrected": found.score,
        "interval": list(found.interval(LEVEL)),
        "optimism": optimism,
        "draws": len(found.draws),
        "method": "BBC",
        "gain": _gain(plan, found, None if baseline is None else scored[baseline]),
        **_said(plan),
        "cautions": [*_cautions(plan, units, tried, scored), *few],
    }


def _gain(plan: Plan, found: Corrected, default: TrialRecord | None) -> dict[str, Any] | None:
    """By how much the chosen configuration beats that of defaults, on rows that chose neither.

    It is put into words only where nothing is left of the optimism: an effect is never claimed of noise. What another
    partition and other seeds would change is not in the draws, so one partition says "leaning" at most.
    """
    if default is None or len(found.gains) == 0:
        return None
    rope = default_rope(plan.directions[0], value(default))
    worse, better = float((found.gains < -rope).mean()), float((found.gains > rope).mean())
    same = max(0.0, 1.0 - worse - better)
    interval = percentiles(found.gains, LEVEL)
    leaning = n_partitions(plan.folds) == 1
    says = verdict(worse, same, better, at_most_leaning=leaning) if not _has_residual(plan) else None
    if interval[0] <= 0 <= interval[1] and says not in ("the same", "leaning the same"):
        says = "cannot tell"
    return {
        "over": default.number,
        "mean": float(found.gains.mean()),
        "interval": list(interval),
        "worse": worse,
        "same": same,
        "better": better,
        "rope": rope,
        "verdict": says,
    }


def _bare_gain(default: TrialRecord, mean: float) -> dict[str, Any]:
    """The gain where there are no draws: no more than its size can be said."""
    nothing = dict.fromkeys(("interval", "worse", "same", "better", "rope", "verdict"))
    return {"over": default.number, "mean": mean, **nothing}


def _by_folds(plan: Plan, tried: Sequence[TrialRecord], best: TrialRecord, reason: str) -> dict[str, Any]:
    """Without predictions: the fold correction, where there are folds to compare."""
    if len(plan.folds) < 2:
        return {"label": f"not corrected: {reason}", "headline": "naive", "reason": reason}
    table: list[Floats] = [
        trial.scores[:, 0] for trial in tried if trial.values is not None and trial.scores is not None
    ]
    optimism = fold_correction(np.stack(table), plan.directions[0])
    sign = 1.0 if plan.directions[0] == "maximize" else -1.0
    corrected = value(best) - sign * optimism
    default = next((trial for trial in tried if trial.number == 0 and trial.values is not None), None)
    said, lost = _said(plan), len(tried) - len(table)
    pruned = [f"{lost} pruned trials are not in it: the correction does not know that they were tried."] if lost else []
    return {
        **said,
        "corrected": corrected,
        "optimism": optimism,
        "gain": None if default is None else _bare_gain(default, sign * (corrected - value(default))),
        "method": "fold correction",
        "label": f"{FALLBACK}; {said['label']}",
        "reason": reason,
        "cautions": [f"No interval: {reason}.", *pruned],
    }


def _said(plan: Plan) -> dict[str, Any]:
    """Label and headline."""
    rows = np.unique(places(plan.folds).row)
    rarest = min(plan.dataset.class_counts(rows).values(), default=None)
    headline = labels.headline(len(rows), rarest)
    label = labels.label(sampler_name(plan), len(rows), enqueued=bool(beside_defaults(plan)))
    return {"label": f"{FEW}; {label}" if headline == "interval" else label, "headline": headline}


def _has_residual(plan: Plan) -> bool:
    return labels.RESIDUAL in _said(plan)["label"]


def _cautions(plan: Plan, units: Units, tried: Sequence[TrialRecord], scored: Sequence[TrialRecord]) -> tuple[str, ...]:
    whole_ones = plan.dataset.time is not None or plan.dataset.groups is not None
    pruned = any(trial.state == "pruned" for trial in scored)
    exempt = sum(trial.exempt and trial.state == "complete" for trial in scored)
    return labels.cautions(
        n_groups=len(units.stratum) if whole_ones else None,
        reference=exempt if pruned else len(scored),
        n_trials=len(tried),
        n_scored=len(scored),
    )
