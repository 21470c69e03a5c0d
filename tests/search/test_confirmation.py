"""What confirmation says of trials that were trained again on fresh partitions."""

from typing import Any

import numpy as np
import pytest

from foldtune.search.confirmation import confirmation
from foldtune.search.plan import Plan
from foldtune.store.records import Curves, RepeatRecord, TrialRecord
from foldtune.values import Floats

from .scored import plan_of, repeat, trial


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(120, objective="accuracy", search={"prefer": "simple"})


LEVEL = np.array([0.0, 0.01, -0.01, 0.02, -0.02])


def told(plan: Plan, trials: list[TrialRecord], repeats: list[RepeatRecord], **options: Any) -> Any:
    def curves(number: int, partition: int) -> Curves:
        """Smoothed, best after epoch 1 on the shared partition, after epoch 2 together with the fresh ones."""
        means = [0.5, 0.9, 0.6, 0.5] if partition == 0 else [0.4, 0.6, 0.9, 0.4]
        scores = np.repeat(means, 5).reshape(4, 5, 1)
        return Curves(np.arange(1, 5), scores[:, :, 0], scores)

    runs = {0: plan.folds} | {one.repeat: plan.partition(one.repeat) for one in repeats}
    return confirmation(plan, {one.number: one for one in trials}, repeats, runs=runs, curves=curves, **options)


def both(number: int, first: Floats, *fresh: Floats, **changes: Any) -> tuple[TrialRecord, list[RepeatRecord]]:
    return trial(number, first, **changes), [repeat(number, r, scores) for r, scores in enumerate(fresh, 1)]


def test_the_winner_has_the_best_mean_of_all_partitions(plan: Plan) -> None:
    default = trial(0, 0.5 + LEVEL)
    lucky, again = both(3, 0.9 + LEVEL, 0.6 + LEVEL, 0.6 - LEVEL)
    steady, more = both(7, 0.8 + LEVEL, 0.8 + LEVEL, 0.8 - LEVEL)
    said = told(plan, [default, lucky, steady], again + more)
    assert (said["winner"], said["repeats"], said["begun"]) == (7, 2, 2)
    assert [one["number"] for one in said["ranked"]] == [7, 3]
    assert said["ranked"][1]["values"] == pytest.approx([0.9, 0.6, 0.6])
    assert said["ranked"][0]["fold_values"][2] == pytest.approx((0.8 - LEVEL).tolist())
    assert said["partitions"] == 3
    assert said["run_to_run"] > 0.1 and said["repeats_help"] is True and said["preferred"] is None


def test_partitions_that_were_done_without_count_for_nothing(plan: Plan) -> None:
    one, again = both(3, 0.9 + LEVEL, 0.6 + LEVEL)
    other, more = both(7, 0.8 + LEVEL, 0.8 + LEVEL)
    late = trial(8, 0.7 + LEVEL)
    without = [RepeatRecord(number, 2, "pruned") for number in (3, 7, 8)]
    trials = [one, other, late]
    assert told(plan, trials, again + more + without) == told(plan, trials, again + more)
    assert told(plan, trials, without) is None


def test_the_default_is_compared_on_the_splits_that_both_have_and_without_a_verdict(plan: Plan) -> None:
    default, winner = trial(0, 0.5 + LEVEL), both(7, 0.8 + LEVEL, 0.8 + LEVEL)
    said = told(plan, [default, winner[0]], winner[1])["default"]
    assert (said["over"], said["partitions"]) == (0, 1) and said["mean"] == pytest.approx(0.3)
    assert said["rope"] == 0.01 and "verdict" not in said
    confirmed = both(0, 0.5 + LEVEL, 0.6 - LEVEL)
    said = told(plan, [confirmed[0], winner[0]], confirmed[1] + winner[1])["default"]
    assert said["partitions"] == 2 and said["mean"] == pytest.approx(0.25)
    alone = told(plan, [confirmed[0]], confirmed[1])
    assert alone["winner"] == 0 and alone["default"] is None and alone["run_to_run"] is None


def test_runs_on_the_same_folds_are_one_partition(plan: Plan) -> None:
    """A splitter without randomness gives its folds again: only the seeds are others."""
    fixed = plan_of(120, objective="accuracy", validation={"use": "StratifiedKFold", "shuffle": False})
    default, winner = both(0, 0.5 + LEVEL, 0.5 - LEVEL), both(7, 0.8 + LEVEL, 0.8 - LEVEL)
    trials, repeats = [default[0], winner[0]], default[1] + winner[1]
    fresh, same = told(plan, trials, repeats), told(fixed, trials, repeats)
    assert (fresh["partitions"], same["partitions"], same["repeats"]) == (2, 1, 1)
    assert (fresh["default"]["partitions"], same["default"]["partitions"]) == (2, 1)


def test_trials_alike_are_counted(plan: Plan) -> None:
    made = [both(number, 0.8 + LEVEL * number, 0.8 - LEVEL * number) for number in (1, 2)]
    worse = both(3, 0.5 + LEVEL, 0.5 + LEVEL)
    said = told(plan, [*(one for one, _ in made), worse[0]], [*made[0][1], *made[1][1], *worse[1]])
    assert said["alike"] == 2


def test_only_trials_with_every_partition_are_ranked(plan: Plan) -> None:
    whole, begun = both(1, 0.6 + LEVEL, 0.6 + LEVEL, 0.6 + LEVEL), both(2, 0.9 + LEVEL, 0.9 + LEVEL)
    failed = repeat(2, 2, LEVEL, state="failed", scores=None)
    said = told(plan, [whole[0], begun[0]], [*whole[1], *begun[1], failed])
    assert [one["number"] for one in said["ranked"]] == [1] and said["begun"] == 2
    assert told(plan, [whole[0], begun[0]], []) is None


def test_the_final_epoch_is_that_of_the_mean_over_all_partitions(plan: Plan) -> None:
    winner = both(1, 0.6 + LEVEL, 0.6 + LEVEL, 0.6 + LEVEL)
    assert told(plan, [winner[0]], winner[1])["epoch"] == 2


def test_the_cheapest_that_is_not_worse_may_be_preferred(plan: Plan) -> None:
    winner, small = both(1, 0.8 + LEVEL, 0.8 + LEVEL), both(2, 0.799 + LEVEL[::-1], 0.799 + LEVEL)
    bad = both(3, 0.4 + LEVEL, 0.4 + LEVEL)
    sizes = {1: 900.0, 2: 90.0, 3: 9.0}
    repeats = [*winner[1], *small[1], *bad[1]]
    said = told(plan, [winner[0], small[0], bad[0]], repeats, cost=lambda one: sizes[one.number])
    preferred = said["preferred"]
    assert (said["winner"], preferred["number"], preferred["by"]) == (1, 2, "simple")
    assert preferred["given_up"] == pytest.approx(0.001) and preferred["costs"] == {"1": 900.0, "2": 90.0, "3": 9.0}


def test_of_an_interrupted_confirmation_none_wins_by_being_ahead(plan: Plan) -> None:
    ahead, slow = both(2, 0.6 + LEVEL, 0.6 + LEVEL), trial(1, 0.9 + LEVEL)
    begun = repeat(1, 1, LEVEL, state="running", scores=None)
    assert told(plan, [slow, ahead[0]], [*ahead[1], begun]) is None
    ahead, slow_too = both(2, 0.6 + LEVEL, 0.6 + LEVEL, 0.6 + LEVEL), both(1, 0.9 + LEVEL, 0.9 + LEVEL)
    said = told(plan, [slow_too[0], ahead[0]], [*ahead[1], *slow_too[1]])
    assert said["winner"] == 1 and said["repeats"] == 1
    assert [len(one["values"]) for one in said["ranked"]] == [2, 2]
