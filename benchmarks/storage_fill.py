"""Studies that look as if they had been searched for days: records by the thousand, without training."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import numpy as np

from foldtune import space
from foldtune.search.optuna_parts import rungs
from foldtune.search.plan import Plan, make_plan
from foldtune.search.study import EXEMPT, open_study
from foldtune.spec.domains import Choice, Domain, Int, Scalar
from foldtune.spec.load import load_spec
from foldtune.store.records import Barrier, TrialRecord
from foldtune.store.store import Store
from foldtune.train.stopping import fold_mean
from foldtune.values import EpochReport

FOLDS, EPOCHS = 5, 50
AT_ONCE = 25
"""Trials that are stored in one transaction."""

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def make_study(trials: int, *, epochs: int = EPOCHS, folds: int = FOLDS, **search: Any) -> Plan:
    """A study of tabular data with eight or nine parameters, by branch.

    Args:
        trials: its budget.
        epochs: of a trial.
        folds: of its validation.
        search: more of the `search` section.
    """
    layers = {"use": "MLP", "n_blocks": {"int": [1, 4]}, "d_block": {"int": [16, 256], "log": True}}
    rate = {"float": [1e-4, 1e-1], "log": True}
    adam = {"use": "AdamW", "lr": rate, "weight_decay": {"float": [1e-6, 1e-2], "log": True}}
    tree = {
        "name": "storage",
        "data": {"use": "make_moons", "n_samples": 60},
        "validation": {"use": "KFold", "n_splits": folds},
        "metrics": ["log_loss", "accuracy", "f1"],
        "model": {**layers, "activation": {"choice": ["ReLU", "GELU", "SiLU"]}, "dropout": {"float": [0.0, 0.5]}},
        "optimizer": {"choice": [adam, {"use": "SGD", "lr": rate, "momentum": {"float": [0.0, 0.99]}}]},
        "training": {"epochs": epochs, "batch_size": {"choice": [16, 32, 64]}},
        "search": {"trials": trials, "cohort": 1, "confirm": 0, **search},
    }
    return make_plan(load_spec(tree))


def fill(url: str, plan: Plan, trials: int) -> None:
    """Add complete trials to a study, which is created if it is new, until it has so many; every epoch is stored."""
    with closing(Store(url)) as store, closing(open_study(plan, store, workers=1)) as study:
        numbers = store.reserve(study.lease, trials - len(study.trials), trials)
        for first in range(0, len(numbers), AT_ONCE):
            made = [make_trial(plan, number) for number in numbers[first : first + AT_ONCE]]
            reports = tuple(report for _, reports in made for report in reports)
            store.record(study.lease, Barrier(reports, tuple(trial for trial, _ in made), seconds=1.0))


def make_trial(plan: Plan, number: int) -> tuple[TrialRecord, list[EpochReport]]:
    """A finished trial and all that it reported; the same for the same number."""
    rng = np.random.default_rng(number)
    params: dict[str, Scalar] = {}

    def pick(name: str, domain: Domain) -> Scalar:
        params[name] = _draw(rng, domain)
        return params[name]

    config = space.resolve(plan.space, pick)
    epochs, folds = int(config["training"]["epochs"]), len(plan.folds)
    curves = 0.2 + rng.random() + np.exp(-rng.random() * np.arange(epochs))[:, None, None]
    scores = curves + 0.05 * rng.standard_normal((epochs, folds, len(plan.metrics)))
    reports = [
        EpochReport(number, epoch + 1, scores[epoch, :, 0], scores[epoch], 0.5, done=epoch + 1 == epochs)
        for epoch in range(epochs)
    ]
    means = {f"completed_rung_{index}": fold_mean(scores[rung - 1, :, 0]) for index, rung in enumerate(rungs(epochs))}
    trial = TrialRecord(
        number=number,
        state="complete",
        origin="sampled",
        exempt=number < EXEMPT,
        params=params,
        config=config,
        attrs={"tpe:relative_params:0": json.dumps(params), **means},
        epochs=epochs,
        seconds=0.5 * epochs,
        values=(fold_mean(scores[-1, :, 0]),),
        scores=scores[-1],
        chosen=np.full(folds, epochs),
        engine="packed",
        started_at=BEGAN + timedelta(minutes=number),
        finished_at=BEGAN + timedelta(minutes=number, seconds=epochs),
    )
    return trial, reports


def _draw(rng: np.random.Generator, domain: Domain) -> Scalar:
    if isinstance(domain, Choice):
        return domain.labels[int(rng.integers(len(domain.labels)))]
    if domain.log:
        value = float(np.exp(rng.uniform(log(domain.low), log(domain.high))))
    else:
        value = float(rng.uniform(domain.low, domain.high))
    return round(value) if isinstance(domain, Int) else value
