"""The document that `--json` prints, the ranking, and the table."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from foldtune.search.place import this_place
from foldtune.search.result import StudyResult, best_trial, load_curves, load_study
from foldtune.search.run import run_study
from foldtune.store.records import Barrier, TrialRecord
from foldtune.store.store import Store
from foldtune.testing.store_laws import make_finished, make_report, make_study, make_trial
from foldtune.values import Failure


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


NUMBER, NUMBERS = {"type": "number"}, {"type": "array", "items": {"type": "number"}}
COUNT = {"type": "integer", "minimum": 0}
PARAMS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
CONTRACT = _object(
    format={"const": 1},
    study={"type": "string"},
    objective={"type": "array", "items": {"type": "string"}, "minItems": 1},
    direction={"type": "array", "items": {"enum": ["minimize", "maximize"]}, "minItems": 1},
    budget=_object(trials={"type": "integer", "minimum": 1}, finished=COUNT),
    best=_or_null(_object(number=COUNT, value=NUMBER, values=NUMBERS, params=PARAMS)),
    score=_or_null(
        _object(
            naive=NUMBER,
            corrected=NUMBER,
            interval=_or_null({**NUMBERS, "minItems": 2, "maxItems": 2}),
            level=NUMBER,
            label={"type": "string"},
        )
    ),
    confirmation=_or_null({"type": "object", "required": ["finding", "trial", "date", "winner", "ranked", "alike"]}),
    calibration=_or_null({"type": "object", "required": ["finding", "trial", "date", "kind"]}),
    audits={"type": "array", "items": {"type": "object", "required": ["finding", "trial", "date"]}},
    warnings={"type": "array", "items": _object(path={"type": "string"}, message={"type": "string"})},
    trials={
        "type": "array",
        "items": _object(
            number=COUNT,
            state={"enum": ["complete", "pruned", "failed", "running", "waiting"]},
            value=_or_null(NUMBER),
            values=_or_null(NUMBERS),
            params=PARAMS,
            fold_values=_or_null(NUMBERS),
            epochs=COUNT,
            seconds={"type": "number", "minimum": 0},
            engine={"type": "string"},
            failure=_or_null(_object(kind={"type": "string"}, message={"type": "string"})),
        ),
    },
)
"""The document of `run`, `resume` and `show`."""


@pytest.fixture
def result() -> StudyResult:
    """A trial in every state: 0.5 and 0.25 complete, 0.125 pruned."""
    failure = Failure("diverged", "loss nan", "Traceback ...")
    trials = (
        make_finished(0, 0.5),
        make_finished(1, 0.25),
        replace(make_finished(2, 0.125), state="pruned", values=None, epochs=3),
        replace(make_trial(3), state="failed", failure=failure, finished_at=make_finished(3, 0.0).finished_at),
        make_trial(4),
        replace(make_finished(5, 0.75), state="pruned", values=None, epochs=9),
    )
    return StudyResult(make_study("all states"), trials, "interrupted")


def test_a_finished_study_prints_the_contract(sqlite_url: str) -> None:
    tree = {"name": "a", "data": {"use": "iris"}, "model": {"use": "MLP", "norm": {"choice": ["BatchNorm1d", None]}}}
    overrides = ["search.trials=7", "training.epochs=3"]
    result = run_study(tree, storage=sqlite_url, workers=0, overrides=overrides)
    document = result.to_dict()
    jsonschema.Draft202012Validator(CONTRACT).validate(document)
    assert document == load_study("a", storage=sqlite_url).to_dict()
    assert document["budget"] == {"trials": 7, "finished": 7}
    assert document["score"]["naive"] == document["best"]["value"] and document["confirmation"] is not None
    for trial, printed in zip(result.trials, document["trials"], strict=True):
        assert printed["value"] == pytest.approx(np.mean(printed["fold_values"]), abs=1e-15)
        assert printed["params"] == trial.params


def test_trials_of_every_state_print_the_contract(result: StudyResult) -> None:
    document = result.to_dict()
    jsonschema.Draft202012Validator(CONTRACT).validate(document)
    assert document["budget"] == {"trials": 7, "finished": 5}
    assert document["best"] == {"number": 1, "value": 0.25, "values": [0.25], "params": result.trials[1].params}
    assert [trial["value"] for trial in document["trials"]] == [0.5, 0.25, 0.125, None, None, 0.75]
    assert document["trials"][3]["failure"] == {"kind": "diverged", "message": "loss nan"}
    assert document["trials"][2]["fold_values"] == [0.125] * 3


def test_a_study_without_complete_trials_has_no_best(result: StudyResult) -> None:
    document = replace(result, trials=result.trials[2:]).to_dict()
    jsonschema.Draft202012Validator(CONTRACT).validate(document)
    assert document["best"] is None and document["score"] is None


def test_the_best_is_complete_and_the_earliest_of_equals() -> None:
    trials: list[TrialRecord] = [make_finished(0, 0.5), make_finished(1, 0.25), make_finished(2, 0.25)]
    trials.append(replace(make_finished(3, 0.1), state="pruned", values=None))
    best, worst = best_trial(trials[::-1], "minimize"), best_trial(trials, "maximize")
    assert best is not None and worst is not None
    assert (best.number, worst.number) == (1, 0)
    assert best_trial([], "minimize") is None


def test_trials_are_ranked_complete_first_then_by_how_far_they_came(result: StudyResult) -> None:
    assert [trial.number for trial in result.ranked()] == [1, 0, 5, 2, 4, 3]
    record = replace(result.record, directions=("maximize",))
    assert [trial.number for trial in replace(result, record=record).ranked()] == [0, 1, 5, 2, 4, 3]


def test_the_table_has_a_row_for_every_trial(result: StudyResult) -> None:
    frame = result.frame()
    assert list(frame.columns[:6]) == ["state", "value", "log_loss", "roc_auc", "epochs", "seconds"]
    assert frame["value"].dropna().tolist() == frame["roc_auc"].dropna().tolist() == [0.5, 0.25, 0.125, 0.75]
    assert frame["optimizer.lr"].tolist() == [0.1] * 6
    assert len(replace(result, trials=()).frame()) == 0


def test_curves_are_read(sqlite_url: str) -> None:
    with closing(Store(sqlite_url)) as store:
        store.create_study(study := make_study("a"))
        lease = store.acquire(study.uuid, this_place(), 60)
        store.reserve(lease, 1, 1)
        reports = (make_report(0, 1, 0.5), make_report(0, 2, 0.25))
        store.record(lease, Barrier(reports, asked=(make_trial(0, epochs=2),)))
    curves = load_curves("a", 0, storage=sqlite_url)
    assert curves.scores[:, 0, 0].tolist() == [0.5, 0.25]


def test_reading_a_study_imports_neither_torch_nor_optuna(sqlite_url: str) -> None:
    with closing(Store(sqlite_url)) as store:
        store.create_study(make_study("a"))
    code = (
        "import sys; from foldtune.search.result import load_study;"
        f"load_study('a', storage={sqlite_url!r}).to_dict();"
        "print(sorted({'torch', 'optuna', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
