"""The page of the statistics: its figures, their bounds, and where they are written."""

import re
from pathlib import Path

import pytest

from benchmarks import honesty
from benchmarks.honesty_claims import Claim, Experiment, near
from benchmarks.pages import put

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
    shown = set(re.findall(r"^\| (\d\. .*) \(\d+ times\) \|", PAGE, re.MULTILINE))
    wanted = {f"{one.number}. {one.title}" for one in honesty.EXPERIMENTS}
    assert wanted <= shown
    assert {int(text[0]) for text in shown} == set(range(1, 9))
