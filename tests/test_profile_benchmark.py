"""The profile of a search: every second is counted once, and the limits are read from it."""

import re
from collections.abc import Iterator

import pytest

from benchmarks import profile
from benchmarks.profile import LIMITS, PARTS, REST, ROWS, TRAINING, VALIDATING, Clock, Profile
from foldtune.search.loop import Search
from foldtune.store.store import Store


class Work:
    """Something that takes known times: 5 s in all, 3 of them inside of `part`."""

    def __init__(self) -> None:
        self.moment = 0.0

    def whole(self) -> None:
        self.moment += 1
        try:
            self.part()
        finally:
            self.moment += 1

    def part(self) -> None:
        self.moment += 3
        raise KeyError("the clock goes on")

    def caught(self) -> None:
        with pytest.raises(KeyError):
            self.whole()


def test_time_inside_of_another_part_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    clock = Clock(lambda: work.moment)
    for part, name in ((TRAINING, "part"), (VALIDATING, "whole"), (REST, "caught")):
        monkeypatch.setattr(Work, name, clock.timed(part, (Work, name)))
    work.caught()
    work.caught()
    assert clock.seconds == {TRAINING: 6.0, VALIDATING: 4.0, REST: 0.0}
    assert clock.calls == {(Work, name): 2 for name in ("part", "whole", "caught")}


def test_processes_share_out_training_alone() -> None:
    clock = Clock()
    clock.seconds |= {TRAINING: 8.0, ROWS: 1.0, REST: 1.0}
    found = Profile("", clock, 0.0, ())
    assert (found.share([ROWS]), found.share([TRAINING, ROWS])) == (0.1, 0.9)
    assert found.share([ROWS], workers=2) == pytest.approx(1 / 6)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The profile of two epochs of two trials."""
    output = tmp_path_factory.mktemp("profile") / "PROFILE.md"
    small = ["--set", "search.trials=2", "--set", "training.epochs=2"]
    profile.main([*small, "--output", str(output)])
    yield output.read_text(encoding="utf-8")


def test_the_page_holds_every_part_and_limit(page: str) -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d.]+) \|.*% \|$", page, re.MULTILINE))
    assert list(rows) == [part.title for part in PARTS]
    assert float(rows["training"]) > 0
    limited = re.findall(r"^\| ([^|]+) \| [\d.]+ % \| [\d.]+ % \| 10.0 % \| (?:yes|no) \|$", page, re.MULTILINE)
    assert limited == [limit.title for limit in LIMITS]
    assert "; 4 epochs;" in page
    assert "- Transactions: 3 of an epoch of all that trains, 1 that reserve the numbers of new trials" in page


def test_timers_are_taken_off_again(page: str) -> None:
    assert page and not any(hasattr(method, "__wrapped__") for method in (Search.run, Store.record))
