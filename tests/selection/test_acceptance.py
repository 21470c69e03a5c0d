"""The experiments of docs/honesty.md, at the size of seconds: worlds whose truth is known.

Bounds are those of the page; fixed seeds give them room for the errors of so few repetitions.
"""

import pytest

from benchmarks.honesty import EXPERIMENTS
from benchmarks.honesty_claims import Experiment

SMALL = [one for one in EXPERIMENTS if one.small is not None]


@pytest.mark.parametrize("experiment", SMALL, ids=[f"{one.number}. {one.title}" for one in SMALL])
def test_what_was_expected_is_seen(experiment: Experiment) -> None:
    assert experiment.small is not None
    claims = experiment.claims(experiment.small)
    missed = [f"{one.what}: {one.figure}, not {one.expected}" for one in claims if one.steady and not one.holds]
    assert claims
    assert not missed


def test_every_experiment_has_a_small_form() -> None:
    assert {one.number for one in SMALL} == set(range(1, 9))
