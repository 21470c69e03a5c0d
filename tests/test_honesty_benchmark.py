"""The page of the statistics: its figures, their bounds, and where they are written."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import honesty, honesty_data
from benchmarks.honesty_claims import Claim, Experiment, near
from benchmarks.honesty_data import DATA_SETS, QUICK, DataSet, Outcome, Size
from benchmarks.pages import put
from foldtune.search.plan import make_plan
from foldtune.spec.load import read_spec

PAGE = honesty.PAGE.read_text(encoding="utf-8")


def test_bounds_are_inclusive_and_said() -> None:
    assert near("score", 0.51, 0.5, 0.01).expected == "0.490 to 0.510"
    assert [Claim("score", seen, 0.4, 0.6).holds for seen in (0.4, 0.6, 0.39, 0.61)] == [True, True, False, False]
    assert (Claim("t", 0.7503, 0.7503, 0.7503, form=".4f").expected, Claim("p", 0.3).expected) == ("0.7503", "")
    assert (Claim("a", 1, low=0.5).expected, Claim("a", 1, high=0.5).expected) == ("at least 0.500", "at most 0.500")
    assert not Claim("a score that is none", float("nan"), low=0.0).holds


def test_a_place_is_filled_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("one\n<!-- figures -->\nold\n<!-- end of figures -->\ntwo\n")
    for _ in range(2):
        put(page, "figures", ["new", "lines"])
        assert page.read_text() == "one\n<!-- figures -->\nnew\nlines\n<!-- end of figures -->\ntwo\n"
    with pytest.raises(ValueError, match="has no place for other"):
        put(page, "other", [])


def test_figures_out_of_bounds_are_marked_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- figures -->\n<!-- end of figures -->\n")
    good, bad = Claim("fine", 1.0, 0.0, 2.0), Claim("wrong", 3.0, 0.0, 2.0)
    monkeypatch.setattr(honesty, "PAGE", page)
    monkeypatch.setattr(honesty, "EXPERIMENTS", (Experiment(1, "made", lambda times: [good, bad], full=7),))
    assert honesty.main([]) == 1
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        "| 1. made (7 times) | fine | 0.000 to 2.000 | 1.000 | yes |",
        "|  | wrong | 0.000 to 2.000 | 3.000 | **no** |",
    ]
    before = page.read_text()
    assert honesty.main(["--share", "0.5"]) == honesty.main(["--only", "1"]) == 1
    assert page.read_text() == before


def test_the_page_shows_every_experiment_at_full_size() -> None:
    shown = set(re.findall(r"^\| (\d\. .*) \((?:once|\d+ times)\) \|", PAGE, re.MULTILINE))
    wanted = {f"{one.number}. {one.title}" for one in honesty.EXPERIMENTS}
    assert wanted <= shown
    assert {int(text[0]) for text in shown} == set(range(1, 9))


@pytest.mark.parametrize("data_set", DATA_SETS, ids=[one.name for one in DATA_SETS])
def test_the_studies_of_real_data_can_be_run(data_set: DataSet, shared_data: Path, tmp_path: Path) -> None:
    plan = make_plan(read_spec(honesty_data.written(data_set, 0, Size(), shared_data, tmp_path)))
    table = pd.read_csv(tmp_path / "data.csv")
    assert plan.dataset.n_rows + len(plan.locked) == len(table)
    assert len(plan.locked) == pytest.approx(len(table) / 4, rel=0.1)
    assert {metric.direction for metric in plan.metrics[: plan.n_objectives]} == {"minimize"}
    if "group" in data_set.section:
        locked = table.index.isin(plan.locked)
        assert not set(table["subject"][locked]) & set(table["subject"][~locked])


def outcome(naive: float, locked: float) -> Outcome:
    score = {"naive": naive, "corrected": 0.5, "interval": [0.4, 0.6]}
    test = {"metric": "log_loss", "scores": {"log_loss": locked}, "interval": [0.3, 0.45]}
    return Outcome("made", 0, score, test, None)


def test_intervals_that_hold_the_locked_score_are_counted() -> None:
    found = [outcome(0.3, 0.4), outcome(0.3, 0.61), outcome(0.7, 0.65)]
    text = "\n".join(honesty_data.lines(found, Size()))
    assert "holds the locked test's score in 1 of 3 studies, and meets that score's own interval in 3." in text
    assert "looks better than the locked test in 2." in text
    assert "| made | 0 | 0.300 | 0.500 | 0.400 to 0.600 | 0.610 | 0.300 to 0.450 | no |  |" in text
    assert "| made | mean | 0.433 | 0.500 |  | 0.553 |  |  |  |" in text


@pytest.mark.slow
def test_a_study_with_both_audits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((120, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "species": np.where(x[:, 0] > 0, "x", "y")})
    frame.to_csv(tmp_path / "made.csv", index=False)
    made = DataSet("made", "made.csv", {"target": "species"})
    found = honesty_data.searched(made, 0, QUICK, tmp_path, nested=True)
    low, high = found.score["interval"]
    assert low < found.score["corrected"] < high
    assert found.score["naive"] > 0 and found.locked > 0
    assert found.nested is not None and len(found.nested["fold_scores"]) == QUICK.outer
