"""What may be said of a score, and what every number means, in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Headline = Literal["score", "interval"]

NOT_ADAPTIVE = frozenset({"RandomSampler", "GridSampler", "QMCSampler", "BruteForceSampler"})
"""Optuna's samplers whose suggestions read no earlier score."""

FEW_ROWS = 500
LEAST_ROWS = 100
LEAST_OF_A_CLASS = 10
FEW_GROUPS = 20

CORRECTED = "corrected for selection"
RESIDUAL = "residual optimism possible"
ADAPTIVE = "corrected for selection, not for adaptive search; " + RESIDUAL

MEANING = (
    "The expected score of this procedure's chosen configuration, trained on (k-1)/k of data like yours; "
    "not a guarantee for the delivered file."
)


def label(sampler: str, n_rows: int) -> str:
    """What a corrected score is corrected for.

    Later trials of an adaptive sampler were built from earlier out-of-fold scores, which no resampling of rows repairs:
    60 trials of TPE on 120 rows of noise scored 0.65, corrected 0.58, where 0.50 was true.

    Args:
        sampler: the class name of the study's sampler; any that is not known is taken for adaptive.
        n_rows: rows with out-of-fold predictions.

    Example:
        >>> label("RandomSampler", 1000)
        'corrected for selection'
        >>> label("RandomSampler", 300)
        'corrected for selection; residual optimism possible'
        >>> label("TPESampler", 1000)
        'corrected for selection, not for adaptive search; residual optimism possible'
    """
    if sampler not in NOT_ADAPTIVE:
        return ADAPTIVE
    return CORRECTED if n_rows >= FEW_ROWS else f"{CORRECTED}; {RESIDUAL}"


def headline(n_rows: int, rarest_class: int | None = None) -> Headline:
    """Whether a corrected score may stand alone, or its interval only: below 100 rows, or 10 of the rarest class.

    Args:
        n_rows: rows with out-of-fold predictions.
        rarest_class: rows of the rarest class; None for a regression.

    Example:
        >>> headline(150, rarest_class=40), headline(150, rarest_class=9), headline(99)
        ('score', 'interval', 'interval')
    """
    rare = rarest_class is not None and rarest_class < LEAST_OF_A_CLASS
    return "interval" if n_rows < LEAST_ROWS or rare else "score"


def cautions(*, n_groups: int | None, reference: int, n_trials: int, n_scored: int) -> tuple[str, ...]:
    """What weakens a corrected score, a sentence each.

    Args:
        n_groups: groups or stretches of time that were resampled whole; None where rows were.
        reference: exempt complete trials that pruned ones were aligned with.
        n_trials: trials that did not fail.
        n_scored: those of them with out-of-fold predictions.

    Example:
        >>> cautions(n_groups=None, reference=5, n_trials=40, n_scored=38)
        ('2 of 40 trials have no out-of-fold predictions: the correction does not know that they were tried.',)
    """
    said = []
    if n_groups is not None and n_groups < FEW_GROUPS:
        said.append(f"Only {n_groups} groups could be resampled: the interval is rough.")
    if n_scored < n_trials:
        lost = n_trials - n_scored
        said.append(
            f"{lost} of {n_trials} trials have no out-of-fold predictions: "
            "the correction does not know that they were tried."
        )
    if reference == 0:
        said.append("No complete trial was exempt from pruning: gains are those of survivors, a little too large.")
    return tuple(said)


@dataclass(frozen=True)
class Explanation:
    """A number in plain words.

    Args:
        title: what it is called where it is printed.
        text: what it means.
        source: where it comes from.
    """

    title: str
    text: str
    source: str


EXPLANATIONS: Mapping[str, Explanation] = MappingProxyType(
    {
        "naive": Explanation(
            "naive best",
            "The best complete trial's own cross-validated score. It was chosen for being large, so it is too good.",
            "Varma and Simon 2006; Cawley and Talbot 2010",
        ),
        "corrected": Explanation(
            "corrected score",
            "What the chosen configuration can be expected to score: the choice is repeated on 1000 bootstrap samples "
            "of the rows, each time scored on the rows left out.",
            "Tsamardinos, Greasidou and Borboudakis 2018 (BBC-CV); pruned trials aligned by the gains of exempt ones",
        ),
        "optimism": Explanation(
            "optimism",
            "By how much the naive best flatters: its distance to the corrected score.",
            "the difference of the two",
        ),
        "interval": Explanation(
            "95% interval",
            "Where the chosen configuration's true score lies: the middle 95% of the 1000 bootstrap scores. Whole "
            "groups or stretches of time are drawn where the data have them, and classes keep their shares.",
            "Tsamardinos, Greasidou and Borboudakis 2018, percentile interval",
        ),
        "label": Explanation(
            "label",
            "What the score is corrected for. An adaptive sampler builds trials from earlier scores, and that part of "
            "the optimism stays: only rows that no trial has touched, or nested cross-validation, are free of it.",
            "Tsamardinos, Greasidou and Borboudakis 2018; foldtune's own simulations",
        ),
        "fold correction": Explanation(
            "fold correction",
            "A coarser correction from fold scores alone, used where no predictions were stored; too strict on few "
            "rows.",
            "Tibshirani and Tibshirani 2009",
        ),
        "locked test": Explanation(
            "locked test",
            "The score on rows set aside before the search. It is looked at once; a second look is recorded.",
            "Dwork et al. 2015 on why a second look costs",
        ),
        "nested": Explanation(
            "nested cross-validation",
            "The whole search, repeated inside each outer fold, scored on rows that it never saw: the score of the "
            "procedure, not of one configuration.",
            "Varma and Simon 2006",
        ),
        "confirmation": Explanation(
            "confirmed mean",
            "The best trials are trained again on fresh partitions with fresh seeds; the winner has the best mean of "
            "all. What the rows themselves flatter by, no repeat removes.",
            "foldtune's own simulations",
        ),
        "alike": Explanation(
            "indistinguishable",
            "So many trials, from the first, differ from the winner by less than the standard error of the difference.",
            "Nadeau and Bengio 2003",
        ),
        "run to run": Explanation(
            "run-to-run deviation",
            "How much a trial's value changes when only its partition and seeds do.",
            "two-way analysis of variance over confirmed trials and repeats",
        ),
        "gain": Explanation(
            "gain over the default",
            "How much better the chosen configuration is than that of defaults, on rows that chose neither: from the "
            "same bootstrap samples as the corrected score. It is put into words only where the label leaves no "
            "optimism.",
            "Tsamardinos, Greasidou and Borboudakis 2018; Schneider, Bischl and Feurer 2025",
        ),
        "comparison": Explanation(
            "worse, the same, better",
            "Probabilities that one configuration is worse than another, practically the same, or better. The scores "
            "of one cross-validation share training rows, which widens the distribution; one run of five folds says "
            '"leaning" at most. A trial that was picked for its lead leads by chance, too: a difference is put into '
            "words only where p, times the number of other complete trials, is small.",
            "Nadeau and Bengio 2003; Corani and Benavoli 2015; Benavoli et al. 2017; Holm 1979",
        ),
        "simple": Explanation(
            "preferred for simplicity",
            "The cheapest confirmed trial that is not likely to be worse than the best by more than counts. A "
            "preference: it gives up some expected score.",
            "Chen and Yang 2021 on its cost",
        ),
        "epoch": Explanation(
            "chosen epoch",
            "Each fold's epoch is chosen on the other folds' mean curve, as its own best epoch would flatter by 0.03 "
            "to 0.13 on small data. The final model trains to the best epoch of all folds' mean curve.",
            "foldtune's own simulations",
        ),
        "temperature": Explanation(
            "temperature",
            "Logits are divided by it so that probabilities keep their word; kept only where the log loss improves on "
            "rows that it was not fitted on.",
            "Guo, Pleiss, Sun and Weinberger 2017",
        ),
        "calibration error": Explanation(
            "calibration error",
            "How far a stated probability is from how often it is right, on average over 15 bins.",
            "Guo, Pleiss, Sun and Weinberger 2017",
        ),
        "prediction interval": Explanation(
            "prediction interval",
            "Where a new row's value lies, by the errors on rows that the models did not train on. With the fold "
            "models kept (CV+) a 90% interval holds at least about 80% of new rows, and usually 90%; around a "
            "refitted model there is no guarantee. Groups and time have none.",
            "Barber, Candès, Ramdas and Tibshirani 2021",
        ),
    }
)
"""Every number that a report prints; `--explain` prints these."""
