"""What SQL views say is what Python reads, in every database."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from foldtune.search.result import read_result, value
from foldtune.store.codec import dump
from foldtune.store.records import Barrier
from foldtune.store.store import Store
from foldtune.testing import store_laws
from foldtune.testing.repeat_laws import make_answers, make_partition, make_repeat, make_repeated
from foldtune.testing.store_laws import METRICS, K, make_finished, make_report, make_trial, opened

TRIALS = (
    make_finished(0, 0.5),
    replace(make_finished(1, 0.25), n_parameters=2**40),
    make_finished(2, 0.5),
    make_trial(3, state="failed", finished_at=make_finished(3, 0).finished_at, epochs=1),
    make_trial(4, state="pruned", finished_at=make_finished(4, 0).finished_at, epochs=1),
    make_trial(5, state="pruned", finished_at=make_finished(5, 0).finished_at, epochs=2),
    make_trial(6, epochs=1),
    make_trial(7, state="waiting"),
)
MAXIMIZED = ("maximize", "minimize")


@pytest.fixture(params=[("minimize",), MAXIMIZED], ids=lambda goals: goals[0])
def store(request: pytest.FixtureRequest, url: str) -> Any:
    with opened(url) as store:
        lease = store_laws.create(store, *TRIALS)
        with store.engine.begin() as connection:
            goals = {"goals": dump(request.param), "names": dump(METRICS[: len(request.param)])}
            connection.execute(text("UPDATE foldtune_studies SET directions = :goals, objectives = :names"), goals)
        odd = {5: math.nan, 6: math.inf, 3: -math.inf}
        for epoch in (1, 2):
            reports = (make_report(trial, epoch, odd.get(trial, 0.1 * trial)) for trial in range(3, 7))
            store.record(lease, Barrier(tuple(report for report in reports if report.trial == 5 or epoch == 1)))
        scored = [make_finished(number, 0.1 * number if number == 4 else math.nan) for number in (4, 5)]
        trials = [
            make_trial(
                trial.number,
                state="pruned",
                epochs=TRIALS[trial.number].epochs,
                scores=trial.scores,
                chosen=trial.chosen,
                finished_at=trial.finished_at,
            )
            for trial in scored
        ]
        store.record(lease, Barrier(trials=tuple(trials)))
        store.add_partition(lease, 1, make_partition(1))
        repeated = tuple(make_repeated(trial, 1, 0.9) for trial in (2, 4, 6))  # no view shows them
        store.record(lease, Barrier(repeated, repeats=(make_repeat(2, 1, 0.9),), kept=(make_answers(2, 1),)))
        store_laws.create(store)  # a study without trials
        yield store


def rows(store: Store, query: str) -> list[dict[str, Any]]:
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def first(store: Store) -> str:
    return store.studies()[0].name


def test_the_leaderboard_ranks_as_show_does(store: Store) -> None:
    result = read_result(store, first(store))
    found = rows(store, "SELECT * FROM foldtune_leaderboard ORDER BY study, place")
    ranked = result.ranked()
    assert [row["trial"] for row in found] == [trial.number for trial in ranked]
    assert [row["place"] for row in found] == list(range(1, len(ranked) + 1))
    for row, trial in zip(found, ranked, strict=True):
        assert (row["study"], row["state"], row["epochs"]) == (result.name, trial.state, trial.epochs)
        expected = value(trial)
        missing = expected is None or math.isnan(expected)
        assert row["value"] is None if missing else row["value"] == pytest.approx(expected, rel=1e-12)
        kept = (trial.seconds, trial.engine, trial.n_parameters)
        assert (row["seconds"], row["engine"], row["n_parameters"]) == kept


def test_fold_curves_are_those_that_python_reads(store: Store) -> None:
    uuid = store.study(first(store)).uuid
    found = rows(store, "SELECT * FROM foldtune_fold_curves ORDER BY trial, epoch, fold")
    assert {row["study"] for row in found} == {first(store)}
    expected = [
        (trial, int(epoch), fold, curves.losses[index, fold], curves.scores[index, fold, 0])
        for trial in range(len(TRIALS))
        for curves in [store.curves(uuid, trial)]
        for index, epoch in enumerate(curves.epochs)
        for fold in range(K)
    ]
    assert [(row["trial"], row["epoch"], row["fold"]) for row in found] == [key[:3] for key in expected]
    for row, (*_, loss, score) in zip(found, expected, strict=True):
        assert number(row["loss"]) == pytest.approx(loss, rel=1e-12, nan_ok=True)
        assert number(row["score"]) == pytest.approx(score, rel=1e-12, nan_ok=True)


def number(stored: float | None) -> float:
    if stored is None:
        return math.nan
    return math.copysign(math.inf, stored) if abs(stored) > 1e308 else float(stored)


def test_progress_counts_as_list_does(store: Store) -> None:
    found = {row["study"]: row for row in rows(store, "SELECT * FROM foldtune_progress")}
    for line in store.studies():
        row = found.pop(line.name)
        assert {state: row[state] for state in line.trials} == line.trials
        assert row["trials"] == sum(line.trials.values())
        if len(line.directions) == 1:
            assert row["best"] == line.best
        uuid = store.study(line.name).uuid
        assert row["epochs"] == sum(trial.epochs for trial in store.trials(uuid))
        assert row["seconds"] == store.seconds(uuid)
    assert found == {}


def test_the_documented_queries_run(store: Store) -> None:
    page = (Path(__file__).parents[2] / "docs" / "database.md").read_text(encoding="utf-8")
    queries = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(queries) >= 2
    for query in queries:
        assert rows(store, query.replace("'adult'", f"'{first(store)}'"))
