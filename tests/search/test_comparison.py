"""A difference in words, where the two were picked among many."""

import pytest

from foldtune.search.comparison import careful_verdict
from foldtune.selection.compare import Comparison


@pytest.mark.parametrize(
    ("mean", "repeats", "others", "verdict"),
    [
        (0.30, 3, 40, "better"),
        (0.30, 1, 40, "leaning better"),
        (0.11, 3, 10, "leaning better"),
        (0.11, 3, 1, "better"),
        (0.11, 3, 40, "cannot tell"),
        (-0.30, 3, 40, "worse"),
        (0.00, 3, 40, "cannot tell"),
    ],
)
def test_words_need_a_p_that_the_number_of_trials_leaves_small(
    mean: float, repeats: int, others: int, verdict: str
) -> None:
    found = Comparison(mean, error=0.04, freedom=14, rope=0.01, repeats=repeats)  # of 0.11, p is 0.015
    assert careful_verdict(found, others) == verdict


def test_sameness_is_said_whatever_p_is() -> None:
    found = Comparison(0.0, error=0.001, freedom=14, rope=0.01, repeats=3)
    assert careful_verdict(found, 40) == "the same"
