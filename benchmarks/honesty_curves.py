"""Experiments on what pruning buys: made learning curves, decided on by foldtune's own pruner."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.honesty_claims import Claim, Experiment
from foldtune.search.mirror import Mirror
from foldtune.search.study import EXEMPT
from foldtune.spec import domains
from foldtune.train.stopping import fold_mean
from foldtune.values import Floats

FOLDS, EPOCHS, FULL = 5, 27, 40
BUDGET = FULL * FOLDS * EPOCHS
"""Fold-epochs of so many trials without pruning."""
SPACE = {"model": {"width": {"int": [1, 1000]}}, "training": {"epochs": EPOCHS}}


@dataclass(frozen=True)
class Noise:
    """Standard deviations.

    Args:
        trial: of a trial on a fold.
        fold: of a fold, for all trials alike.
        epoch: of one epoch.
    """

    trial: float
    fold: float
    epoch: float


SOME, MUCH = Noise(0.05, 0.03, 0.02), Noise(0.1, 0.05, 0.04)


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search came to.

    Args:
        epochs: those of each trial.
        pick: the true quality of the chosen trial.
        optimism: its score above that.
    """

    epochs: tuple[int, ...]
    pick: float
    optimism: float


def trials(seed: int, noise: Noise) -> Iterator[tuple[float, Floats]]:
    """True quality at the end, and curves that rise towards it and cross, shape (K, E), without end."""
    generator, epoch = np.random.default_rng(seed), np.arange(1, EPOCHS + 1)
    fold = generator.normal(0, noise.fold, (FOLDS, 1))
    while True:
        end, rise = 0.85 - abs(generator.normal(0, 0.06)), generator.uniform(0.05, 0.35)
        true = end - rise * np.exp(-epoch / np.exp(generator.normal(np.log(5), 0.5)))
        own, each = generator.normal(0, noise.trial, (FOLDS, 1)), generator.normal(0, noise.epoch, (FOLDS, EPOCHS))
        yield float(true[-1]), true + fold + own + each


def lockstep(seed: int, noise: Noise, order: tuple[int, ...] = tuple(range(FOLDS))) -> Searched:
    """Search by successive halving on the fold mean until the budget is spent.

    Args:
        seed: of the world and of the search.
        noise: of the world.
        order: of the folds.
    """
    tree = domains.parse(SPACE)[0]
    mirror = Mirror("curves", ("maximize",), tree=tree, seed=seed, sampler={"use": "RandomSampler"})
    spent, epochs, complete = 0, [], []
    for number, (quality, curves) in enumerate(trials(seed, noise)):
        mirror.ask(number)
        means = [fold_mean(column) for column in curves[list(order)].T]
        stopped = _train(mirror, number, means)
        done = stopped == EPOCHS
        mirror.tell(number, "complete" if done else "pruned", [means[-1]] if done else None)
        complete += [(means[-1], quality)] if done else []
        epochs.append(stopped)
        if (spent := spent + FOLDS * stopped) >= BUDGET:
            break
    return _searched(epochs, complete)


def full(seed: int, noise: Noise) -> Searched:
    """Every trial to its end."""
    world = trials(seed, noise)
    complete = [(fold_mean(curves[:, -1]), quality) for quality, curves in (next(world) for _ in range(FULL))]
    return _searched([EPOCHS] * FULL, complete)


def _train(mirror: Mirror, number: int, means: list[float]) -> int:
    """The epochs that a trial gets."""
    for epoch, mean in enumerate(means, 1):
        if mirror.report(number, epoch, mean) and number >= EXEMPT:
            return epoch
    return len(means)


def _searched(epochs: list[int], complete: list[tuple[float, float]]) -> Searched:
    score, quality = max(complete)
    return Searched(tuple(epochs), quality, score - quality)


def efficiency(studies: int, *, noise: Noise) -> list[Claim]:
    """As many fold-epochs with pruning as without."""
    ours, theirs = [lockstep(seed, noise) for seed in range(studies)], [full(seed, noise) for seed in range(studies)]
    gains = np.array([one.pick - other.pick for one, other in zip(ours, theirs, strict=True)])
    error = gains.std(ddof=1) / np.sqrt(studies)
    some = range(0, studies, 10)
    other = [lockstep(seed, noise, (3, 1, 4, 0, 2)).epochs != ours[seed].epochs for seed in some]
    return [
        Claim(
            "configurations seen, for each one without pruning",
            float(np.mean([len(one.epochs) for one in ours])) / FULL,
            low=6.0,
            form=".1f",
        ),
        Claim(
            "the pick's true quality, above that without pruning", float(gains.mean()), 0.0, form=".4f", steady=False
        ),
        Claim("the same, in standard errors", float(gains.mean() / error), low=2.0, form=".1f", steady=False),
        Claim("searches that change with the order of the folds", sum(other), 0, 0, form=".0f"),
        Claim("optimism of the pick", float(np.mean([one.optimism for one in ours]))),
        Claim("optimism without pruning", float(np.mean([one.optimism for one in theirs]))),
    ]


EXPERIMENTS = (
    Experiment(6, "Crossing curves, noise 0.05, 40 x 5 x 27 fold-epochs", partial(efficiency, noise=SOME), 150, 5),
    Experiment(6, "The same, noise 0.10", partial(efficiency, noise=MUCH), 150),
)
