"""Trials of an open study: what is kept beside them is what going through them all would find."""

from dataclasses import replace
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from foldtune.search.result import best_trial
from foldtune.search.trials import Trials
from foldtune.store.records import TrialRecord
from foldtune.values import Direction, TrialState

WAITING = TrialRecord(0, "waiting", "sampled", False, {}, {}, {})
OPEN = ("waiting", "running")

steps = st.tuples(
    st.integers(0, 6), st.sampled_from(get_args(TrialState)), st.sampled_from((1, 2, None)), st.sampled_from((0.5, 1.0))
)


@given(st.lists(steps, max_size=40), st.sampled_from(get_args(Direction)))
def test_what_is_kept_is_what_is_there(written: list[tuple[int, Any, int | None, float]], direction: Direction) -> None:
    trials, plain = Trials(direction, lease=1), dict[int, TrialRecord]()
    for wanted, state, lease, value in written:
        number = min(wanted, len(plain))  # numbers come without gaps
        if number in plain and plain[number].state == "complete":
            continue
        values = (value,) if state == "complete" else None
        plain[number] = replace(WAITING, number=number, state=state, lease=lease, values=values)
        trials.put(plain[number])
    assert dict(trials) == plain
    states = [trial.state for trial in plain.values()]
    assert {state: count for state, count in trials.counts.items() if count} == {
        state: states.count(state) for state in set(states)
    }
    assert trials.n_finished == sum(state not in OPEN for state in states)
    assert trials.best is best_trial(plain.values(), direction)
    for state in OPEN:
        ours = [number for number in sorted(plain) if (plain[number].state, plain[number].lease) == (state, 1)]
        assert trials.ours(state) == ours
