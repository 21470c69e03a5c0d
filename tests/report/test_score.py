"""What people read of a score, and what they must not be told."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from foldtune.errors import StoreError
from foldtune.report.leaderboard import summary
from foldtune.report.score import explain, scores
from foldtune.search.note import HEADING, markdown
from foldtune.search.refit import winning_trial
from foldtune.search.result import StudyResult
from foldtune.search.said import audit_remarks, lines, terms
from foldtune.selection.labels import EXPLANATIONS
from foldtune.store.records import Finding

from .makers import MOMENT, study, trial
from .test_leaderboard import render

SCORE: dict[str, Any] = {
    "best": 4,
    "naive": 0.4,
    "corrected": 0.4312,
    "interval": [0.3911, 0.4702],
    "level": 0.95,
    "label": "corrected for selection, not for adaptive search; residual optimism possible",
    "headline": "score",
    "optimism": 0.0312,
    "gain": {"over": 0, "mean": 0.02, "interval": [-0.01, 0.05], "verdict": "cannot tell"},
    "method": "BBC",
    "reason": None,
    "cautions": ["Only 12 groups could be resampled: the interval is rough."],
    "finished": 2,
}
CONFIRMED: dict[str, Any] = {
    "repeats": 2,
    "winner": 7,
    "ranked": [{"number": 7, "mean": 0.41}, {"number": 4, "mean": 0.42}],
    "alike": 2,
    "run_to_run": 0.012,
    "repeats_help": False,
    "preferred": None,
}
TEST: dict[str, Any] = {
    "metric": "log_loss",
    "scores": {"log_loss": 0.45, "accuracy": 0.5},
    "interval": [0.41, 0.49],
    "level": 0.95,
    "n_rows": 30,
    "n_train": 120,
    "epoch": 3,
    "planned": 9,
    "winner": True,
    "looks": 1,
    "void": None,
    "cautions": [],
}
NESTED: dict[str, Any] = {**TEST, "J": 2, "fold_scores": [0.44, 0.46]}
TEMPERATURE: dict[str, Any] = {"kind": "temperature", "kept": True, "temperature": 1.3, "error": [0.1, 0.05]}
HALF_WIDTH: dict[str, Any] = {
    "kind": "interval",
    "level": 0.9,
    "targets": ["y"],
    "half_width": [1.5],
    "coverage": [0.91],
    "claim": "",
}
WARNINGS: dict[str, Any] = {"warnings": [{"path": "data.target", "message": "data.target: `copy` tells it."}]}


def found(**contents: Any) -> StudyResult:
    kinds: Any = contents
    findings = tuple(Finding(kind, 7, content, 3, MOMENT) for kind, content in kinds.items())
    return replace(study(trial(0), trial(4, score=0.4)), findings=findings)


def shown(result: StudyResult, width: int = 120) -> str:
    return "".join(render(block, width) for block in scores(result))


def test_the_corrected_score_stands_beside_the_naive_one_with_its_label() -> None:
    out = shown(found(score=SCORE))
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[1] == "corrected 0.4312 95% interval 0.3911 to 0.4702"
    assert lines[2] == "naive best 0.4000 trial 4; flatters by 0.0312"
    assert lines[3] == "over default +0.0200 95% interval -0.0100 to 0.0500: cannot tell"
    assert "not for adaptive search; residual optimism possible." in out and "Only 12 groups" in out
    assert "As of" not in out


def test_nothing_is_wider_than_the_terminal() -> None:
    out = shown(found(score=SCORE, confirmation=CONFIRMED, test=TEST), width=80)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "indistinguishable" in " ".join(out.split())


def test_an_audit_comes_first_and_a_void_one_does_not_count() -> None:
    out = shown(found(score=SCORE, test=TEST))
    assert out.startswith("Locked test  log_loss 0.4500, 95% interval 0.4100 to 0.4900\n")
    assert out.index("scored on 30 rows") < out.index("Score") < out.index("corrected")
    void = shown(found(score=SCORE, test={**TEST, "void": "trial 3 was found on these rows."}))
    assert void.startswith("Score") and void.index("corrected") < void.index("Locked test") < void.index(
        "void: trial 3"
    )
    told = audit_remarks(found(score=SCORE, test={**TEST, "void": "trial 3 was found on these rows."}))
    assert told == ["An audit does not count: trial 3 was found on these rows."]


def test_an_audit_is_told_once() -> None:
    out = render(summary(found(score=SCORE, test=TEST, nested=NESTED))).lower()
    assert out.count("locked test") == out.count("nested") == out.count("0.4400, 0.4600") == 1


def test_doubts_come_last_and_stay_in_json_and_in_the_note() -> None:
    result = found(score=SCORE, warnings=WARNINGS)
    assert shown(result).endswith("warning: data.target: `copy` tells it.\n")
    assert result.to_dict()["warnings"] == WARNINGS["warnings"] and "- data.target: `copy`" in markdown(result)
    assert found(score=SCORE).to_dict()["warnings"] == [] and "warning" not in shown(found(score=SCORE))


def test_a_small_optimism_is_as_exact_as_the_score_that_it_is_of() -> None:
    assert "trial 4; flatters by 0.0001" in shown(found(score={**SCORE, "best": 4, "optimism": 7.2e-05}))


def test_an_interval_without_a_headline_has_no_point() -> None:
    out = shown(found(score={**SCORE, "headline": "interval"}))
    assert "0.4312" not in out and "0.3911 to 0.4702" in out and "flatters" not in out


def test_a_score_that_later_trials_are_not_in_says_so() -> None:
    assert "As of 1 of 2 finished trials." in shown(found(score={**SCORE, "finished": 1}))


def test_ties_and_repeats_are_told() -> None:
    out = shown(found(score=SCORE, confirmation=CONFIRMED))
    assert "trial 7, mean of 3 partitions; the first 2 of 2 are indistinguishable" in out
    assert "repeats bring little" in out
    same = shown(found(score=SCORE, confirmation={**CONFIRMED, "partitions": 1}))
    assert "trial 7, mean of 3 runs on the same folds; the first 2" in same
    several = shown(found(score=SCORE, confirmation={**CONFIRMED, "partitions": 6}))
    assert "trial 7, mean of 6 partitions; the first 2" in several


def test_a_gain_without_draws_has_no_interval() -> None:
    gain = {"over": 0, "mean": 0.02, "interval": None, "verdict": None}
    assert "+0.0200 no interval" in " ".join(shown(found(score={**SCORE, "gain": gain})).split())


def test_the_trial_that_is_tested_is_named() -> None:
    preferred = {"number": 9, "by": "simple", "given_up": 0.01, "costs": {"9": 30}}
    ranked = [*CONFIRMED["ranked"], {"number": 9, "mean": 0.42}]
    simple = {**CONFIRMED, "ranked": ranked, "preferred": preferred}
    for confirmed, words in (
        (CONFIRMED, "Confirmation puts trial 7 first: `foldtune test` trains that one."),
        (simple, "`prefer: simple` names trial 9: `foldtune test` trains that one."),
    ):
        assert words in " ".join(shown(found(score=SCORE, confirmation=confirmed)).split())


def test_intervals_of_values_stand_beside_what_they_promise() -> None:
    said = {"kind": "interval", "level": 0.9, "targets": ["y"], "half_width": [2.0], "coverage": [0.91]}
    out = shown(found(score=SCORE, calibration={**said, "claim": "There is no guarantee."}))
    assert "±2.0000" in out and "There is no guarantee." in out


def test_several_objectives_have_a_reason() -> None:
    nothing = {**dict.fromkeys(SCORE), "reason": "a study of several objectives has no single best trial"}
    assert (
        shown(found(score=nothing))
        .strip()
        .endswith("There is no honest score: a study of several objectives has no single best trial.")
    )
    assert found(score=nothing).to_dict()["score"] is None


def test_json_has_the_score_as_it_was_promised() -> None:
    said = found(score=SCORE, confirmation=CONFIRMED, test=TEST, calibration=TEMPERATURE).to_dict()
    keys = ["naive", "corrected", "interval", "level", "label"]
    assert said["score"] == {key: SCORE[key] for key in keys} and list(said["score"]) == keys
    assert said["confirmation"]["winner"] == 7
    assert said["calibration"] == {"finding": "calibration", "trial": 7, "date": MOMENT.isoformat(), **TEMPERATURE}
    assert found(score=SCORE).to_dict()["calibration"] is None
    assert [(one["finding"], one["trial"], one["date"]) for one in said["audits"]] == [("test", 7, MOMENT.isoformat())]


FOLDS: dict[str, Any] = {**SCORE, "method": "fold correction", "interval": None, "gain": None}
FOLDS |= {"label": "fold correction, from fold scores alone; corrected for selection", "cautions": []}
NAIVE: dict[str, Any] = {**FOLDS, "method": None, "headline": "naive", "label": "not corrected: a single fold"}
PREFERRED: dict[str, Any] = {"number": 4, "by": "simple", "given_up": 0.01, "costs": {"4": 99}}
STUDIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "several objectives": {"score": {**dict.fromkeys(SCORE), "reason": "there are several objectives"}},
    "bootstrap": {"score": SCORE, "warnings": WARNINGS},
    "pessimism": {"score": {**SCORE, "optimism": -0.01}},
    "few rows": {"score": {**SCORE, "headline": "interval"}},
    "fold correction": {"score": FOLDS},
    "naive": {"score": NAIVE},
    "ties": {"score": SCORE, "confirmation": CONFIRMED},
    "no ties": {"score": SCORE, "confirmation": {**CONFIRMED, "alike": 1, "run_to_run": None}},
    "preferred": {"score": SCORE, "confirmation": {**CONFIRMED, "preferred": PREFERRED}},
    "temperature": {"score": SCORE, "calibration": TEMPERATURE},
    "no temperature": {"score": SCORE, "calibration": {**TEMPERATURE, "kept": False}},
    "half width": {"score": SCORE, "calibration": HALF_WIDTH},
    "test": {"score": SCORE, "test": TEST},
    "void test": {"score": NAIVE, "test": {**TEST, "void": "it is."}},
    "nested": {"score": SCORE, "nested": {**NESTED, "interval": None}},
}


@pytest.mark.parametrize("contents", STUDIES.values(), ids=STUDIES)
def test_what_is_printed_is_explained_and_nothing_else(contents: dict[str, Any]) -> None:
    result = found(**contents)
    printed = " ".join(render(summary(result)).lower().split())
    explained = terms(result)
    assert [key for key in explained if EXPLANATIONS[key].title.lower() not in printed] == []
    others = EXPLANATIONS.keys() - {"corrected", *explained}  # a word of other titles, too
    assert [key for key in others if EXPLANATIONS[key].title.lower() in printed] == []
    assert ("corrected" in explained) == any(line.title == "corrected" for line in lines(result))
    titles = {EXPLANATIONS[key].title for key in explained}
    assert {line.title.removesuffix(" simple") for line in lines(result)} <= titles
    out = render(explain(result))
    assert out.count("Source: ") == len(explained) and all(title in out for title in titles)
    assert ("not a guarantee for the delivered file" in " ".join(out.split())) == bool(lines(result))


def test_the_note_is_a_table_of_the_same_lines() -> None:
    note = markdown(found(score=SCORE))
    assert note.startswith(HEADING) and "| **corrected** | 0.4312 | 95% interval 0.3911 to 0.4702 |" in note
    assert markdown(study(trial(0))) == ""


def test_a_tie_of_one_says_nothing_of_standing_out() -> None:
    assert "stands" not in shown(found(score=SCORE, confirmation={**CONFIRMED, "alike": 1}))


@pytest.mark.parametrize("kind", ["warnings", "score", "confirmation", "calibration", "test", "nested"])
@pytest.mark.parametrize("content", [{}, {"naive": 1.0}, {"naive": "x", "ranked": [], "kind": 7, "void": None}])
def test_findings_that_are_not_ours_are_refused(kind: str, content: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="a stored finding must be one of foldtune's"):
        shown(found(**{kind: content}))


WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "score": ("score", SCORE),
    "confirmation": (
        "confirmation",
        {**CONFIRMED, "preferred": {"number": 4, "by": "simple", "costs": {"4": 100}, "given_up": 0.01}},
    ),
    "test": ("test", {**TEST, "winner": True, "n_train": 120, "epoch": 3, "planned": 9}),
    "nested": ("nested", {**TEST, "J": 2, "fold_scores": [0.4, 0.5]}),
    "temperature": ("calibration", {"kind": "temperature", "kept": True, "temperature": 1.3, "error": [0.1, 0.05]}),
    "widths": (
        "calibration",
        {"kind": "interval", "targets": ["a", "b"], "half_width": [1, None], "coverage": [0.9, None], "level": 0.9},
    ),
}


def readings(result: StudyResult) -> Iterator[Callable[[], object]]:
    """All that is made of findings."""
    yield lambda: render(summary(result), 120)
    yield lambda: json.dumps(result.to_dict(), allow_nan=False)
    yield lambda: winning_trial(result.trials, result.findings, result.record)


@pytest.mark.parametrize("wrong", ["x", -7, None, [], {}, [{}], 10**400, math.nan], ids=lambda wrong: f"{wrong!s:.9}")
@pytest.mark.parametrize("name", WHOLE)
def test_findings_that_are_nearly_ours_are_shown_or_refused(name: str, wrong: Any) -> None:
    kind, whole = WHOLE[name]
    for read in readings(found(**{kind: whole})):
        read()
    refused = 0
    for key in whole:
        for content in ({**whole, key: wrong}, {other: whole[other] for other in whole if other != key}):
            for read in readings(found(**{kind: content})):
                try:
                    read()
                except StoreError as error:
                    assert "a stored finding must be one of foldtune's" in str(error)
                    refused += 1
    assert refused
