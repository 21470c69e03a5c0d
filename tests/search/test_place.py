"""Whether a search loop's process lives is said of this machine alone, and of this very process."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from foldtune.search import place as places
from foldtune.search.place import is_dead, this_place
from foldtune.store.records import Place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere leases run out")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def _place_of(process: "subprocess.Popen[bytes]") -> Place:
    started = places._started(process.pid)
    assert started is not None
    return replace(this_place(), pid=process.pid, started=started)


def test_a_process_is_dead_once_it_was_killed_even_before_it_is_buried(sleeper: "subprocess.Popen[bytes]") -> None:
    place = _place_of(sleeper)
    assert not is_dead(place) and not is_dead(this_place())
    sleeper.kill()
    while places._started(place.pid) is not None:  # the kernel takes a moment
        pass
    assert is_dead(place)
    sleeper.wait()
    assert is_dead(place)


def test_a_number_that_is_used_again_is_another_process(sleeper: "subprocess.Popen[bytes]") -> None:
    assert is_dead(replace(_place_of(sleeper), started="1"))


@pytest.mark.parametrize("elsewhere", [{"boot": "another"}, {"namespace": "pid:[1]"}, {"boot": "", "namespace": ""}])
def test_nothing_is_known_of_other_machines_and_containers(elsewhere: dict[str, str]) -> None:
    assert not is_dead(replace(this_place(), pid=2**22 + 1, started="1", **elsewhere))
    assert is_dead(replace(this_place(), pid=2**22 + 1, started="1"))
