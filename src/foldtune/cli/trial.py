"""`foldtune trial`."""

import json
import shlex
from typing import Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from foldtune.cli.options import storage_option
from foldtune.report import terminal, text
from foldtune.report.leaderboard import STATE_STYLES, configuration
from foldtune.report.score import explanations
from foldtune.search.numbers import epochs, grid
from foldtune.store.records import Curves, StudyRecord, TrialRecord
from foldtune.store.retrying import earlier_failures
from foldtune.store.store import Store
from foldtune.train.stopping import fold_mean

CURVE_ROWS = 12
"""Epochs of the curve that are printed, evenly spaced."""


def show_trial(name: str, number: int, storage: str, *, explained: bool, as_json: bool) -> None:
    """Print one trial: configuration, scores of each fold, curve, why it failed, and what its numbers mean."""
    store = Store(storage, create=False)
    study = store.study(name)
    trial, curves = store.trial(study.uuid, number), store.curves(study.uuid, number)
    store.close()
    if as_json:
        typer.echo(json.dumps(_finite(_document(study, trial, curves)), allow_nan=False))
        return
    console = terminal.console()
    heading = Text.assemble((f"{name}, trial {number}", "bold"), "  ", (trial.state, STATE_STYLES[trial.state]))
    exempt = ", exempt from pruning" if trial.exempt else ""
    trained = f"{epochs(trial.epochs)}, {text.duration(trial.seconds)}, {trial.engine}"
    heading.append(f"  {trial.origin}{exempt}, {trained}", style="dim")
    console.print(heading, "")
    console.print(configuration(trial), "")
    if trial.scores is not None:
        console.print(_folds(study, trial), "")
    if len(curves.epochs):
        console.print(_curve(study, curves), "")
    for attempt, failure in enumerate(earlier_failures(trial.attrs), 1):
        console.print(Text(f"attempt {attempt} failed ({failure['kind']}): {failure['message']}", style="yellow"), "")
    if trial.failure is not None:
        if trial.failure.traceback:
            console.print(Text(trial.failure.traceback, style="dim"), soft_wrap=True)
        console.print(Text(f"failed ({trial.failure.kind}): {trial.failure.message}", style="red"), "")
        again = f"foldtune resume {shlex.quote(name)} --retry-failed{storage_option(storage)}"
        console.print(Text(f"Try again: {again}"), soft_wrap=True)
    if explained:
        console.print(explanations(("sd", "epochs", "training loss")))


def _folds(study: StudyRecord, trial: TrialRecord) -> Table:
    """Every metric of each fold at the epoch that counts, then mean and spread."""
    scores, chosen = trial.scores, trial.chosen
    assert scores is not None and chosen is not None
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("fold", "epoch", *study.metrics):
        table.add_column(heading, justify="right")
    rows = [*scores, [fold_mean(column) for column in scores.T]]
    rows += [np.std(scores, axis=0, ddof=1)] if len(scores) > 1 else []
    shown = grid(rows)
    mean, *sd = shown[len(scores) :]
    for fold, row in enumerate(shown[: len(scores)]):
        table.add_row(str(fold), str(chosen[fold]), *row)
    table.add_section()
    table.add_row("mean", "", *mean, style="bold")
    for row in sd:
        table.add_row("sd", "", *row, style="dim")
    return table


def _curve(study: StudyRecord, curves: Curves) -> Table:
    """Training loss and metrics, means over folds."""
    table = Table(box=None, header_style="bold", pad_edge=False, title="means over folds", title_justify="left")
    for heading in ("epoch", "training loss", *study.metrics):
        table.add_column(heading, justify="right")
    count = len(curves.epochs)
    shown = sorted({round(i) for i in np.linspace(0, count - 1, min(count, CURVE_ROWS))})
    means = grid([[fold_mean(column) for column in (curves.losses[i], *curves.scores[i].T)] for i in shown])
    for index, row in zip(shown, means, strict=True):
        table.add_row(str(curves.epochs[index]), *row)
    return table


def _document(study: StudyRecord, trial: TrialRecord, curves: Curves) -> dict[str, Any]:
    failure = trial.failure and {
        "kind": trial.failure.kind,
        "message": trial.failure.message,
        "traceback": trial.failure.traceback,
    }
    return {
        "format": 1,
        "study": study.name,
        "number": trial.number,
        "state": trial.state,
        "origin": trial.origin,
        "exempt": trial.exempt,
        "params": trial.params,
        "config": trial.config,
        "values": trial.values,
        "metrics": list(study.metrics),
        "fold_scores": None if trial.scores is None else trial.scores.tolist(),
        "chosen_epochs": None if trial.chosen is None else trial.chosen.tolist(),
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "engine": trial.engine,
        "curves": {"losses": curves.losses.tolist(), "scores": curves.scores.tolist()},
        "failure": failure,
        "earlier_failures": earlier_failures(trial.attrs),
    }


def _finite(node: Any) -> Any:
    """A document with null for what JSON cannot say: a metric that a fold does not define."""
    if isinstance(node, dict):
        return {key: _finite(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(child) for child in node]
    return None if isinstance(node, float) and not np.isfinite(node) else node
