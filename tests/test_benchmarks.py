"""The benchmarks run, and every contender learns."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.goals import GOALS, seen
from benchmarks.memory import Memory, growth
from benchmarks.results import Report, markdown
from benchmarks.timing import CaseResult, Effort, Measured, Timed, measure
from benchmarks.work import CASES, Case

ROOT = Path(__file__).parents[1]
CASE = CASES[0]


class Clockwork:
    """A team whose time is known: 1 s to begin with, then so many seconds per model-epoch."""

    def __init__(self, contender: Contender, seconds: float) -> None:
        self.contender, self.seconds = contender, seconds
        self.pids: list[int] = []
        self.asked: list[int] = []

    def start(self, case: Case) -> float:
        return 1.0 if self.contender.kind == "continues" else 0.0

    def train(self, units: int) -> Timed:
        self.asked.append(units)
        afresh = 0.0 if self.contender.kind == "continues" else 1.0
        return Timed(afresh + self.seconds * 5 * units, 5 * units)

    def accuracy(self) -> float:
        return 0.9


def contender(key: str) -> Contender:
    return next(one for one in CONTENDERS if one.key == key)


def result_of(seconds: dict[str, float]) -> CaseResult:
    measured = {key: Measured(contender(key), value, value, value, 0.0, 0.97) for key, value in seconds.items()}
    return CaseResult(CASE, measured, 5, 0.1)


def test_start_up_is_told_apart_from_the_steady_state() -> None:
    teams = [Clockwork(contender(key), 0.01) for key in ("tight", "skorch", "run")]
    seen_so_far: list[CaseResult] = []
    result = measure(CASE, teams, Effort(rounds=2, least_rounds=2, whole_rounds=1, limit_s=0.0), seen_so_far.append)
    for team in teams:
        one = result.measured[team.contender.key]
        assert (one.seconds, one.startup) == pytest.approx((0.01, 1.0))
    assert teams[0].asked == [1, 1, 12, 12]  # warm-up, its time, then 0.6 s per timing
    assert len(seen_so_far) >= 6 and list(seen_so_far[0].measured) == ["tight"]


def test_factors_and_goals_say_how_many_times_as_fast() -> None:
    result = result_of({"packed 2p": 0.001, "fused 2p": 0.008, "tight": 0.03})
    assert result.factor("packed 2p", "fused 2p") == pytest.approx(8)
    assert result.factor("packed 2p", "lightning") != result.factor("packed 2p", "lightning")  # NaN: left out
    found = {(pair.goal.of, pair.goal.against): pair.factor for pair in seen([result])}
    assert found == {("packed 2p", "fused 2p"): pytest.approx(8), ("packed 2p", "tight"): pytest.approx(30)}
    assert {goal.of for goal in GOALS} | {goal.against for goal in GOALS} <= {one.key for one in CONTENDERS}


def test_the_page_holds_every_figure() -> None:
    slow = CaseResult(CASES[1], result_of({"tight": 0.25}).measured, 3, 0.4)
    memory = [Memory(CASE, "packed", 2**20 * 80, 2**20 * 70)]
    missing = contender("skorch")
    text = markdown(Report("make bench", [result_of({"packed 2p": 0.005, "fused 2p": 0.01}), slow], memory, [missing]))
    assert "| foldtune packed engine, 2 processes | 2 | 5.00 | 5.00-5.00 |  | 2.00 | 0.00 | 0.970 |" in text
    assert "| tight loop, fused AdamW, 2 processes | 2.00 / 7 | no |" in text
    assert "| tight loop | 1 | 250.00 | 250.00-250.00 | 1.00 |  | 0.00 | 0.970 |" in text
    assert "Left out: skorch, cross_validate, as `skorch` is not installed" in text
    assert "| packed | 40 | 80.0 | 2.00 |  | 70.00 |" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Goals",
        "## Digits (1,797 rows, 64 columns, 10 classes)",
        "## Breast cancer (569 rows, 30 columns, 2 classes)",
        "## Memory",
    ]


def test_memory_grows_by_the_model() -> None:
    few, many = (Memory(Case("digits", 64, 32, 1, jobs), "packed", 1000 + 10 * jobs, None) for jobs in (1, 5))
    assert growth([many, few]) == {(few.case.title, "packed"): pytest.approx(2.0)}  # 40 bytes for 20 models more


@pytest.mark.slow
def test_every_contender_trains(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--output", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    accuracies = dict(re.findall(r"^\| ([^|]+) \| [12] \|.* (\d\.\d{3}) \|$", text, re.MULTILINE))
    assert list(accuracies) == [one.title for one in CONTENDERS if not one.missing]
    assert min(map(float, accuracies.values())) > 0.9, accuracies
    assert all(f"Left out: {one.title}" in text for one in CONTENDERS if one.missing)
    assert len(re.findall(r"^\| digits .* \| (?:packed|lockstep) \| 10 \| \d+\.\d \|", text, re.MULTILINE)) == 2
