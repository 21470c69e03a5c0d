"""What people read of a score, and what they must not be told."""

from dataclasses import replace
from typing import Any

import pytest

from foldtune.errors import StoreError
from foldtune.report.score import explain, scores
from foldtune.search.note import HEADING, markdown
from foldtune.search.result import StudyResult
from foldtune.search.said import audit_remarks
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
    "looks": 1,
    "void": None,
    "cautions": [],
}


def found(**contents: Any) -> StudyResult:
    kinds: Any = contents
    findings = tuple(Finding(kind, 7, content, 3, MOMENT) for kind, content in kinds.items())
    return replace(study(trial(0), trial(4, score=0.4)), findings=findings)


def shown(result: StudyResult, width: int = 120) -> str:
    part = scores(result)
    return "" if part is None else render(part, width)


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
    assert "locked test" in out.splitlines()[1] and "corrected" in out.splitlines()[2]
    void = shown(found(score=SCORE, test={**TEST, "void": "trial 3 was found on these rows."}))
    assert "corrected" in void.splitlines()[1] and "locked test" not in void
    told = audit_remarks(found(score=SCORE, test={**TEST, "void": "trial 3 was found on these rows."}))
    assert told == ["An audit does not count: trial 3 was found on these rows."]


def test_an_interval_without_a_headline_has_no_point() -> None:
    out = shown(found(score={**SCORE, "headline": "interval"}))
    assert "0.4312" not in out and "0.3911 to 0.4702" in out and "flatters" not in out


def test_a_score_that_later_trials_are_not_in_says_so() -> None:
    assert "As of 1 of 2 finished trials." in shown(found(score={**SCORE, "finished": 1}))


def test_ties_and_repeats_are_told() -> None:
    out = shown(found(score=SCORE, confirmation=CONFIRMED))
    assert "trial 7, mean of 3 partitions; the first 2 of 2 are indistinguishable" in out
    assert "repeats bring little" in out


def test_several_objectives_have_a_reason() -> None:
    nothing = {**dict.fromkeys(SCORE), "reason": "a study of several objectives has no single best trial"}
    assert (
        shown(found(score=nothing))
        .strip()
        .endswith("There is no honest score: a study of several objectives has no single best trial.")
    )
    assert found(score=nothing).to_dict()["score"] is None


def test_json_has_the_score_as_it_was_promised() -> None:
    said = found(score=SCORE, confirmation=CONFIRMED, test=TEST).to_dict()
    keys = ["naive", "corrected", "interval", "level", "label"]
    assert said["score"] == {key: SCORE[key] for key in keys} and list(said["score"]) == keys
    assert said["confirmation"]["winner"] == 7
    assert [(one["finding"], one["trial"], one["date"]) for one in said["audits"]] == [("test", 7, MOMENT.isoformat())]


def test_every_number_is_explained_with_its_source() -> None:
    calibrated = {"kind": "temperature", "kept": True, "temperature": 1.3, "error": [0.1, 0.05]}
    out = render(explain(found(score=SCORE, confirmation=CONFIRMED, test=TEST, calibration=calibrated)))
    for words in ("corrected score", "optimism", "indistinguishable", "locked test", "temperature", "gain over"):
        assert words in out
    assert out.count("Source: ") >= 9 and "not a guarantee for the delivered file" in " ".join(out.split())


def test_the_note_is_a_table_of_the_same_lines() -> None:
    note = markdown(found(score=SCORE))
    assert note.startswith(HEADING) and "| **corrected** | 0.4312 | 95% interval 0.3911 to 0.4702 |" in note
    assert markdown(study(trial(0))) == ""


def test_a_tie_of_one_says_nothing_of_standing_out() -> None:
    assert "stands" not in shown(found(score=SCORE, confirmation={**CONFIRMED, "alike": 1}))


@pytest.mark.parametrize("kind", ["score", "confirmation", "calibration", "test", "nested"])
@pytest.mark.parametrize("content", [{}, {"naive": 1.0}, {"naive": "x", "ranked": [], "kind": 7, "void": None}])
def test_findings_that_are_not_ours_are_refused(kind: str, content: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="a stored finding must be one of foldtune's"):
        shown(found(**{kind: content}))
