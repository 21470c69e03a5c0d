import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foldtune.report.importance import by_importance

from .makers import trial


def test_what_goes_with_the_order_comes_first() -> None:
    noise = np.random.default_rng(0).random(12)
    ranked = [
        trial(n, params={"noise": float(noise[n]), "lr": 0.1 * n, "kind": "a" if n < 6 else "b", "same": 1})
        for n in range(12)
    ]
    names = by_importance(ranked)
    assert names[0] == "lr" and set(names) == {"lr", "kind", "noise"} and names[-1] == "noise"


def test_equal_numbers_have_one_rank() -> None:
    ranked = [trial(n, params={"rare": 2 if n == 5 else 1, "lr": float((5 * n) % 12)}) for n in range(12)]
    assert by_importance(ranked) == ["lr", "rare"]  # they explain 4.7% and 0.2% of the places


def test_a_conditional_parameter_counts_by_the_share_of_trials_that_have_it() -> None:
    always = [trial(n, params={"lr": float(n), **({"momentum": float(n)} if n % 3 == 0 else {})}) for n in range(12)]
    assert by_importance(always) == ["lr", "momentum"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.booleans(), st.integers(0, 3)))))
def test_any_parameters_have_an_order(params: list[dict[str, int | bool | None]]) -> None:
    ranked = [trial(n, params=values) for n, values in enumerate(params)]
    names = by_importance(ranked)
    assert len(names) == len(set(names)) and set(names) <= {name for values in params for name in values}
