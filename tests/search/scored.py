"""Plans of small made data, and trials with out-of-fold answers made by hand."""

from typing import Any

import numpy as np

from foldtune.search.plan import Plan, make_plan
from foldtune.spec.load import load_spec
from foldtune.store.records import RepeatRecord, TrialRecord
from foldtune.train.answers import KINDS
from foldtune.values import Floats, OutOfFold, TrialState
from tests.report.makers import MOMENT


def plan_of(n_rows: int = 200, *, classes: int = 2, seed: int = 0, **sections: Any) -> Plan:
    """Labels of noise; values of noise where there are no classes."""
    generator = np.random.default_rng(seed)
    y = generator.permutation(np.arange(n_rows) % classes) if classes else generator.normal(size=n_rows)
    tree = {
        "name": "made",
        "data": {"arrays": {"X": generator.normal(size=(n_rows, 2)), "y": y}},
        "model": {"use": "MLP", "d_block": {"int": [2, 9]}},
        "training": {"epochs": 4},
        **sections,
    }
    return make_plan(load_spec(tree))


def noise(plan: Plan, n_trials: int, *, seed: int = 1) -> dict[int, OutOfFold]:
    """Answers that know nothing, shape (n, C) each."""
    generator = np.random.default_rng(seed)
    size = (sum(len(fold.valid) for fold in plan.folds), plan.dataset.n_outputs)
    return {number: answers(plan, generator.normal(size=size)) for number in range(n_trials)}


def answers(plan: Plan, made: Floats, epoch: int = 4) -> OutOfFold:
    kind = KINDS[plan.dataset.task]
    epochs = np.full(len(plan.folds), epoch)
    if kind == "values":
        return OutOfFold(kind, made.astype(np.float32), epochs)
    return OutOfFold(kind, made.astype(np.float16), epochs)


def trial(number: int, folds: Floats, state: TrialState = "complete", epochs: int = 4, **changes: Any) -> TrialRecord:
    """A trial whose objective is `folds`, shape (K,)."""
    values = (float(np.mean(folds)),) if state == "complete" else None
    fields: dict[str, Any] = {"origin": "sampled", "exempt": number < 5, "params": {}, "attrs": {}}
    fields |= {"config": {"training": {"epochs": 4}}, "scores": np.asarray(folds)[:, None], "values": values}
    fields |= {"epochs": epochs, "chosen": np.full(len(folds), epochs), "finished_at": MOMENT}
    return TrialRecord(**{"number": number, "state": state, **fields, **changes})


def repeat(number: int, partition: int, folds: Floats, **changes: Any) -> RepeatRecord:
    """A finished trial on a fresh partition."""
    scores = np.asarray(folds)[:, None]
    fields: dict[str, Any] = {"state": "complete", "epochs": 4, "scores": scores, "chosen": np.full(len(folds), 4)}
    return RepeatRecord(number, partition, **{**fields, **changes})
