"""A difference in words, where the two were picked among many."""

from dataclasses import replace

import numpy as np
import pytest

from foldtune.search.comparison import careful_verdict, compare_trials, on_shared_splits
from foldtune.selection.compare import Comparison
from foldtune.testing.store_laws import METRICS, create, make_finished, opened
from foldtune.values import Fold


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


@pytest.mark.parametrize(
    ("times", "distinct", "verdict"), [(1, 1, "leaning better"), (2, 1, "better"), (1, 3, "better")]
)
def test_one_partition_leans_and_several_of_one_splitter_may_be_sure(times: int, distinct: int, verdict: str) -> None:
    """The folds of a RepeatedKFold are several partitions; three runs of a splitter without randomness are one."""
    random = np.random.default_rng(0)

    def split() -> list[Fold]:
        valid = [np.sort(rows) for _ in range(times) for rows in np.array_split(random.permutation(20), 5)]
        return [Fold(np.setdiff1d(np.arange(20), rows), rows) for rows in valid]

    folds = split()
    runs = {repeat: folds if distinct == 1 else split() for repeat in range(3)}
    noise = {repeat: 0.01 * random.normal(size=len(folds)) for repeat in range(3)}
    scores = {1: {repeat: 0.9 + noise[repeat] for repeat in runs}, 0: dict.fromkeys(runs, np.full(len(folds), 0.7))}
    found = on_shared_splits(scores, 1, 0, direction="maximize", rope=0.01, runs=runs)
    assert (found.repeats, found.verdict) == (times * distinct, verdict)
    assert found.freedom == distinct * len(folds) - 1
    assert found.mean == pytest.approx(0.2 + np.mean([*noise.values()]))


def test_pruned_trials_might_have_led_as_well(sqlite_url: str) -> None:
    """The lead of one of five trials: its p counts four times, though two of the others were pruned."""
    ahead = np.array([[0.1], [0.11], [0.15]]) * np.ones(len(METRICS))
    trials = [make_finished(number, 0.5) for number in range(5)]
    trials[0] = replace(trials[0], scores=np.full_like(ahead, 0.5))
    trials[1] = replace(trials[1], scores=0.5 - ahead)
    trials[3:] = [replace(trial, state="pruned", values=None) for trial in trials[3:]]
    with opened(sqlite_url) as store:
        create(store, *trials)
        found = compare_trials(store, store.studies()[0].name, 1, 0)
    assert 0 < found["p"] < 0.25 and found["p_adjusted"] == pytest.approx(4 * found["p"])
