"""`foldtune check`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from foldtune import refs, space
from foldtune.data.drift import Drift, tell_apart
from foldtune.data.matching import load_inputs
from foldtune.errors import Problem
from foldtune.report import terminal, text
from foldtune.report.score import explanations
from foldtune.search.doubts import documents, doubts
from foldtune.search.forecast import Forecast, forecast
from foldtune.search.plan import Plan, make_plan
from foldtune.search.run import default_workers
from foldtune.spec.domains import Choice
from foldtune.spec.load import read_spec

SIGNIFICANT = 0.05
"""P-values above say nothing."""


def check(
    study: Path,
    *,
    overrides: list[str],
    data: Path | None,
    as_json: bool,
    drift: bool,
    against: str | None,
    explained: bool,
) -> None:
    """Print what a study is made of, once nothing is wrong with it.

    Args:
        study: the study file.
        overrides: `path=value` texts.
        data: the folder of its relative data paths.
        as_json: print one JSON document.
        drift: compare the locked rows with the others.
        against: a file to compare with the study's own rows instead.
        explained: say what the numbers mean.
    """
    import torch

    plan = make_plan(read_spec(study, overrides=overrides, folder=data))
    torch.set_num_threads(1)  # as the training processes have
    expected = forecast(plan, default_workers("cpu"))
    found = doubts(plan)
    told = _drift(plan, against) if drift or against else None
    if as_json:
        typer.echo(json.dumps(_document(plan, expected, found, told)))
        return
    console = terminal.console()
    console.print(Text(f"{study} is good.", style="green"))
    table = Table.grid(padding=(0, 2))
    for heading, line in [*_lines(plan, expected), *([("drift", said(told))] if told else [])]:
        table.add_row(Text(heading, style="bold"), line)
    console.print(table, "", _space(plan), "")
    for doubt in found:
        console.print(Text(f"warning: {doubt.text(plan.file.source)}", style="yellow"))
    if found:
        console.print()
    if explained:
        console.print(explanations(("forecast", *(["drift"] if told else []))), "")
    console.print(f"Next: foldtune run {study}", highlight=False)


def _lines(plan: Plan, expected: Forecast) -> list[tuple[str, str]]:
    checked, search = plan.checked, plan.spec.search
    names = [metric.label for metric in plan.metrics]
    goals = (f"{m.direction} {m.label}" for m in plan.metrics[: plan.n_objectives])
    epochs = checked.default_config.training.epochs
    lines = [
        ("data", _data(plan)),
        ("validation", _validation(plan)),
        ("objective", f"{' and '.join(goals)}; recorded: {', '.join(names)}"),
        ("nets", f"{checked.fewest:,} to {checked.most:,} trainable parameters, trial 0 has {checked.default:,}"),
        (
            "time",
            f"at most {text.duration(expected.study_s)} for {search.trials} trials of {len(plan.folds)} x {epochs} "
            f"epochs on {expected.workers} processes, measured on trial 0; pruning saves much of it",
        ),
    ]
    return lines


def _data(plan: Plan) -> str:
    dataset = plan.dataset
    shape = " x ".join(str(size) for size in dataset.numeric.shape[1:])
    columns = f"{shape} numeric" + (
        f" and {dataset.categorical.shape[1]} categorical" if dataset.categorical_names else ""
    )
    numbers = "number to predict" if dataset.n_outputs == 1 else "numbers to predict"
    said = {"classification": "classes", "multilabel": "labels of 0 and 1", "regression": numbers}
    target = f"{dataset.n_outputs} {said[dataset.task]}"
    locked = f"; {len(plan.locked)} more rows are locked away" if len(plan.locked) else ""
    return f"{dataset.n_rows} rows, {columns} columns, {target}{locked}"


def _validation(plan: Plan) -> str:
    train = sorted({len(fold.train) for fold in plan.folds})
    valid = sorted({len(fold.valid) for fold in plan.folds})
    name = refs.label(plan.tree["validation"])
    return f"{name}: {len(plan.folds)} folds, {_span(train)} training and {_span(valid)} validation rows"


def _span(sizes: list[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _space(plan: Plan) -> Table:
    """Every parameter with its domain and its value in trial 0."""
    first = space.defaults(plan.space)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("parameter", "domain", "in trial 0"):
        table.add_column(heading)
    for name, domain in space.domains(plan.space).items():
        table.add_row(name, Text(_domain(domain)), Text(text.scalar(first[name]) if name in first else ""))
    return table


def _domain(domain: Any) -> str:
    if isinstance(domain, Choice):
        return " | ".join(map(str, domain.labels))
    notes = (" log" if domain.log else "") + (f" step {domain.step}" if domain.step not in (None, 1) else "")
    return f"{text.scalar(domain.low)} to {text.scalar(domain.high)}{notes}"


def _drift(plan: Plan, against: str | None) -> Drift:
    """How well the file's rows, or the locked ones, are told from the development rows."""
    if against is None:
        whole, fold = plan.with_locked()
        others = whole.take(fold.valid)
        inputs = others.numeric, others.categorical
    else:
        inputs = load_inputs(against, plan.spec.data, Path.cwd(), plan.dataset, ("--against",))
    return tell_apart(plan.dataset, inputs, plan.spec.search.seed)


def said(drift: Drift) -> str:
    """A drift in words: a diagnosis, after which nothing is dropped.

    Example:
        >>> said(Drift(0.51, 0.4, (("age", 0.5),), (80, 20)))
        'the 20 other rows cannot be told from 80 of the study (AUC 0.51, p = 0.4)'
    """
    figures = f"(AUC {drift.auc:.2f}, p = {drift.p_value:.2g})"
    if drift.p_value > SIGNIFICANT:
        return f"the {drift.rows[1]} other rows cannot be told from {drift.rows[0]} of the study {figures}"
    columns = ", ".join(f"{name} ({auc:.2f} alone)" for name, auc in drift.columns)
    return (
        f"the {drift.rows[1]} other rows can be told from {drift.rows[0]} of the study {figures}, most by {columns}; "
        "scores there may be other ones. Nothing was left out"
    )


def _document(plan: Plan, expected: Forecast, found: Sequence[Problem], drift: Drift | None) -> dict[str, Any]:
    return {
        "format": 1,
        "study": plan.spec.name,
        "rows": plan.dataset.n_rows,
        "locked_rows": len(plan.locked),
        "folds": len(plan.folds),
        "objective": [metric.label for metric in plan.metrics[: plan.n_objectives]],
        "metrics": [metric.label for metric in plan.metrics],
        "parameters": list(space.domains(plan.space)),
        "net_parameters": {"fewest": plan.checked.fewest, "most": plan.checked.most, "default": plan.checked.default},
        "forecast_s": {"epoch": expected.epoch_s, "trial": expected.trial_s, "study": expected.study_s},
        "warnings": documents(found),
        "drift": None if drift is None else asdict(drift),
    }
