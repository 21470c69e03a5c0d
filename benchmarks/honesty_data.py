"""Real data, end to end: naive best, corrected score and interval, locked test, nested cross-validation.

    python -m benchmarks.honesty_data FOLDER           into docs/honesty.md: some ten minutes on two cores
    python -m benchmarks.honesty_data FOLDER --quick   one tiny study, on the terminal alone

FOLDER holds `penguins/penguins.csv`, `concrete/Concrete_Data.csv` and `parkinsons/parkinsons.data`, all of them public.
Every study runs through the command line; what is shown is what `--json` says.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks.honesty import PAGE
from benchmarks.honesty_command import foldtune
from benchmarks.pages import origin, put, table

COLUMNS = (
    "data set",
    "seed",
    "naive best",
    "corrected",
    "95% interval",
    "locked test",
    "its 95% interval",
    "interval holds it",
    "nested",
)


@dataclass(frozen=True)
class Size:
    """How large each study is.

    Args:
        trials: of every search.
        epochs: of every fold.
        outer: of nested cross-validation, which the first seed has.
        seeds: studies of every data set.
    """

    trials: int = 20
    epochs: int = 15
    outer: int = 3
    seeds: int = 5


QUICK = Size(trials=3, epochs=2, outer=2, seeds=1)


@dataclass(frozen=True)
class DataSet:
    """One of them.

    Args:
        name: as the table calls it.
        file: in the folder of data.
        section: of the study's `data`.
        prepared: changes that the file needs.
    """

    name: str
    file: str
    section: dict[str, Any]
    prepared: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame


@dataclass(frozen=True)
class Outcome:
    """What a study came to.

    Args:
        name: of the data set.
        seed: of the study.
        score: the document's `score`.
        test: the locked test.
        nested: nested cross-validation; None where it was not run.
    """

    name: str
    seed: int
    score: dict[str, Any]
    test: dict[str, Any]
    nested: dict[str, Any] | None

    @property
    def locked(self) -> float:
        """The locked test's score."""
        return float(self.test["scores"][self.test["metric"]])

    @property
    def covered(self) -> bool:
        """Whether the corrected score's interval holds it."""
        low, high = self.score["interval"]
        return bool(low <= self.locked <= high)


def by_subject(frame: pd.DataFrame) -> pd.DataFrame:
    """The person, whose recordings are numbered `..._1`, `..._2`, instead of the recording."""
    return frame.assign(subject=frame["name"].str.rsplit("_", n=1).str[0]).drop(columns="name")


DATA_SETS = (
    DataSet("penguins (log loss)", "penguins/penguins.csv", {"target": "species"}),
    DataSet(
        "concrete (root mean squared error)",
        "concrete/Concrete_Data.csv",
        {"target": "compressive_strength"},
    ),
    DataSet(
        "parkinsons, by subject (log loss)",
        "parkinsons/parkinsons.data",
        {"target": "status", "group": "subject", "task": "classification"},
        by_subject,
    ),
)
"""All objectives are losses."""


def study(data_set: DataSet, seed: int, size: Size) -> dict[str, Any]:
    """The study file; its data stand beside it."""
    regression = data_set.section["target"] == "compressive_strength"
    return {
        "name": "honest",
        "data": {"table": "data.csv", **data_set.section, "test_fraction": 0.25},
        "objective": "root_mean_squared_error" if regression else "log_loss",
        "model": {
            "use": "MLP",
            "n_blocks": {"int": [1, 2]},
            "d_block": {"int": [8, 64], "log": True},
            "activation": {"choice": ["ReLU", "GELU"]},
            "norm": {"choice": ["BatchNorm1d", None]},
            "dropout": {"float": [0, 0.5]},
        },
        "optimizer": {
            "use": "AdamW",
            "lr": {"float": [1e-3, 1e-1], "log": True},
            "weight_decay": {"float": [1e-6, 1e-1], "log": True},
        },
        "training": {"epochs": size.epochs, "batch_size": 32},
        "search": {"trials": size.trials, "seed": seed},
    }


def written(data_set: DataSet, seed: int, size: Size, folder: Path, work: Path) -> Path:
    """The study file of a data set in a folder of its own, its data beside it."""
    frame = pd.read_csv(folder / data_set.file, encoding="utf-8-sig").rename(columns=str.strip)
    data_set.prepared(frame).to_csv(work / "data.csv", index=False)
    file = work / "study.yaml"
    file.write_text(json.dumps(study(data_set, seed, size)), encoding="utf-8")
    return file


def searched(data_set: DataSet, seed: int, size: Size, folder: Path, *, nested: bool) -> Outcome:
    """A study, its locked test and, where asked for, nested cross-validation."""
    with TemporaryDirectory() as work:
        file = written(data_set, seed, size, folder, Path(work))
        foldtune(work, "run", file.name, *(("--nested", str(size.outer)) if nested else ()))
        foldtune(work, "test", "honest")
        shown = foldtune(work, "show", "honest")
    audits = {audit["finding"]: audit for audit in shown["audits"]}
    return Outcome(data_set.name, seed, shown["score"], audits["test"], audits.get("nested"))


def lines(found: Sequence[Outcome], size: Size) -> list[str]:
    """The part of the page."""
    covered, flattered = sum(one.covered for one in found), sum(one.score["naive"] < one.locked for one in found)
    overlap = sum(_overlap(one.score["interval"], one.test["interval"]) for one in found)
    budget = (
        f"Budget: {size.trials} trials of TPE, 5 folds, {size.epochs} epochs, successive halving; a quarter of the "
        "rows (for parkinsons, of the subjects) locked; for the first seed, nested cross-validation with "
        f"{size.outer} outer folds. Lower is better."
    )
    count = len(found)
    summary = (
        f"The corrected score's interval holds the locked test's score in {covered} of {count} studies, and meets that "
        f"score's own interval in {overlap}. The naive best looks better than the locked test in {flattered}. "
        "The locked score has errors of its own, from few rows and one training run, so that less than 95% of the "
        "intervals may hold it; and its model trains on all development rows, the folds' on four fifths of them."
    )
    rows = [row for name in dict.fromkeys(one.name for one in found) for row in _rows_of(name, found)]
    return [*origin("make honesty-data DATA=folder"), "", budget, "", *table(COLUMNS, rows), "", summary]


def _rows_of(name: str, found: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A data set's studies, and their means."""
    own = [one for one in found if one.name == name]
    naive, corrected = (fmean(one.score[key] for one in own) for key in ("naive", "corrected"))
    locked = fmean(one.locked for one in own)
    means = (name, "mean", f"{naive:.3f}", f"{corrected:.3f}", "", f"{locked:.3f}", "", "", "")
    return [*map(_row, own), means]


def _row(one: Outcome) -> tuple[str, ...]:
    nested = "" if one.nested is None else f"{one.nested['mean']:.3f} {_interval(one.nested['interval'])}"
    return (
        one.name,
        str(one.seed),
        f"{one.score['naive']:.3f}",
        f"{one.score['corrected']:.3f}",
        _interval(one.score["interval"]),
        f"{one.locked:.3f}",
        _interval(one.test["interval"]),
        "yes" if one.covered else "no",
        nested,
    )


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def main(arguments: Sequence[str]) -> None:
    """Search, and write."""
    options = _parser().parse_args(arguments)
    size, sets = (QUICK, DATA_SETS[:1]) if options.quick else (Size(), DATA_SETS)
    found = []
    for data_set in sets:
        for seed in range(size.seeds):
            found.append(searched(data_set, seed, size, options.folder, nested=seed == 0))
            print(*_row(found[-1]), sep=" | ", file=sys.stderr, flush=True)
    if not options.quick:
        put(PAGE, "data", lines(found, size))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.honesty_data", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the data sets are")
    parser.add_argument("--quick", action="store_true", help="one tiny study")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
