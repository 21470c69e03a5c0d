"""Confirmation: who gets it, who wins, and whom the winner cannot be told from."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foldtune.selection.winner import (
    Finalist,
    confirm,
    n_finalists,
    repeats_help,
    run_to_run,
    simplest,
    to_confirm,
)
from foldtune.values import Direction, Floats

DIRECTIONS: Any = st.sampled_from(["minimize", "maximize"])
TABLES = arrays(np.float64, (4, 3, 5), elements=st.floats(0, 1).map(lambda score: round(score, 3)))
SHARE = 1 / 4
LAW = settings(deadline=None, max_examples=50)


def finalists(table: Floats, costs: tuple[float | None, ...] = (None,) * 4) -> list[Finalist]:
    return [Finalist(number, scores, cost) for number, (scores, cost) in enumerate(zip(table, costs, strict=True))]


@given(st.lists(st.floats(-5, 5), max_size=60), st.integers(0, 20), DIRECTIONS)
@LAW
def test_the_best_fifth_is_confirmed(values: list[float], others: int, direction: Direction) -> None:
    chosen = to_confirm(list(enumerate(values)), direction, len(values) + others)
    assert len(chosen) == min(len(values), n_finalists(len(values) + others)) <= 10
    sign = 1 if direction == "maximize" else -1
    rest = [sign * value for number, value in enumerate(values) if number not in chosen]
    taken = [sign * values[number] for number in chosen]
    assert taken == sorted(taken, reverse=True)
    assert not rest or not taken or max(rest) <= min(taken)


@given(TABLES, DIRECTIONS)
@LAW
def test_the_winner_has_the_best_mean_of_all_partitions(table: Floats, direction: Direction) -> None:
    found = confirm(finalists(table), direction, SHARE)
    sign = 1 if direction == "maximize" else -1
    means = [math.fsum(scores.ravel()) / 15 for scores in table]
    assert means[found.winner] == sign * max(sign * mean for mean in means)
    assert list(found.means) == [means[number] for number in found.ranked]
    assert 1 <= found.alike <= 4


@given(TABLES, DIRECTIONS, st.permutations(range(4)))
@LAW
def test_neither_the_order_of_trials_nor_of_folds_matters(
    table: Floats, direction: Direction, order: list[int]
) -> None:
    found, other = confirm(finalists(table), direction, SHARE), finalists(table[:, :, ::-1])
    shuffled = confirm([other[number] for number in order], direction, SHARE)
    assert (found.ranked, found.means) == (shuffled.ranked, shuffled.means)


def test_alike_ends_at_the_first_that_differs() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.02, (4, 3, 5))
    table = noise - noise.mean(axis=(1, 2), keepdims=True) + np.array([0.9, 0.895, 0.7, 0.69])[:, None, None]
    assert confirm(finalists(table), "maximize", SHARE).alike == 2
    assert confirm(finalists(table[::-1]), "minimize", SHARE).alike == 2
    assert confirm(finalists(table)[:1], "maximize", SHARE).alike == 1


def test_alike_has_no_gaps() -> None:
    table = np.tile(np.array([0.90, 0.91, 0.92, 0.90, 0.91]), (3, 3, 1))
    table[1] -= 0.1 + 0.01 * np.random.default_rng(0).random((3, 5))
    table[2] -= np.resize([0.9, -0.6], (3, 5))  # the worst mean, and noise that hides it
    found = confirm(finalists(table, (None,) * 3), "maximize", SHARE)
    assert (found.ranked, found.alike) == ((0, 1, 2), 1)


def test_the_first_of_equals_wins() -> None:
    equal = finalists(np.full((4, 2, 5), 0.5))
    assert confirm(equal[::-1], "maximize", SHARE).ranked == (0, 1, 2, 3)
    assert to_confirm([(3, 0.5), (1, 0.5), (2, 0.5)], "minimize", 10) == (1, 2)


@pytest.mark.parametrize(("n_trials", "expected"), [(4, 0), (5, 1), (49, 9), (50, 10), (1000, 10)])
def test_a_fifth_is_at_most_10(n_trials: int, expected: int) -> None:
    assert n_finalists(n_trials) == expected


def test_run_to_run_is_the_noise_of_partitions_and_seeds() -> None:
    generator = np.random.default_rng(0)
    quality, split = generator.normal(size=(200, 1, 1)), generator.normal(size=(1, 5, 1))
    values = quality + split + 0.3 * generator.normal(size=(200, 5, 1))
    found = run_to_run([Finalist(number, scores) for number, scores in enumerate(values)])
    assert found == pytest.approx(0.3, abs=0.02)  # 796 degrees of freedom: the standard error is 0.0075
    assert math.isnan(run_to_run([Finalist(0, values[0])]))
    assert math.isnan(run_to_run([Finalist(0, values[0, :1]), Finalist(1, values[1, :1])]))


def test_repeats_help_where_runs_differ() -> None:
    assert repeats_help(0.5, 1.0)
    assert not repeats_help(0.49, 1.0)
    assert not repeats_help(math.nan, 1.0)


@given(TABLES, DIRECTIONS)
@LAW
def test_without_costs_the_best_stays(table: Floats, direction: Direction) -> None:
    chosen = simplest(finalists(table), direction=direction, rope=0.01, test_share=SHARE)
    assert (chosen.number, chosen.given_up) == (confirm(finalists(table), direction, SHARE).winner, 0.0)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_cheapest_that_is_not_likely_worse_is_preferred(direction: Direction) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, (4, 3, 5))
    table = noise - noise.mean(axis=(1, 2), keepdims=True) + np.array([0.9, 0.895, 0.893, 0.7])[:, None, None]
    signed = table if direction == "maximize" else -table
    chosen = simplest(finalists(signed, (9.0, 5.0, 6.0, 1.0)), direction=direction, rope=0.01, test_share=SHARE)
    assert chosen.number == 1
    assert chosen.given_up == pytest.approx(0.005)
    assert chosen.against_best is not None
    assert chosen.against_best.worse < 0.5
    exact = simplest(finalists(signed, (9.0, 5.0, 6.0, 1.0)), direction=direction, rope=0.0, test_share=SHARE)
    assert exact.number == 0
