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
ADAPTIVE = f"{CORRECTED}, not for adaptive search; {RESIDUAL}"
ENQUEUED = f"{CORRECTED}, not for how enqueued parameters were found; {RESIDUAL}"

MEANING = (
    "The expected score of this procedure's chosen configuration, trained on (k-1)/k of data like yours; "
    "not a guarantee for the delivered file."
)


def label(sampler: str, n_rows: int, *, enqueued: bool = False) -> str:
    """What a corrected score is corrected for.

    Later trials of an adaptive sampler were built from earlier out-of-fold scores, which no resampling of rows repairs:
    60 trials of TPE on 120 rows of noise scored 0.65, corrected 0.58, where 0.50 was true.

    Args:
        sampler: the class name of the study's sampler; any that is not known is taken for adaptive.
        n_rows: rows with out-of-fold predictions.
        enqueued: whether the search began with parameters of the user's: an earlier search may have found them on these
            rows.

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
    if enqueued:
        return ENQUEUED
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
        title: the words that stand where it is printed.
        text: what it means.
        source: where it comes from.
    """

    title: str
    text: str
    source: str


EXPLANATIONS: Mapping[str, Explanation] = MappingProxyType(
    {
        "sd": Explanation(
            "± sd",
            "The standard deviation of a trial's fold scores. It is not the error of their mean: folds share training "
            "rows.",
            "Bengio and Grandvalet 2004",
        ),
        "epochs": Explanation(
            "epochs",
            "How long a trial was trained. A fold's score is read at the epoch that is best on the other folds' mean "
            "curve: its own best epoch would flatter, by 0.13 in accuracy where folds have 40 rows and nothing is "
            "learned. The final model trains to the best epoch of all folds' mean curve.",
            "foldtune's own simulation: experiment 4 of docs/honesty.md",
        ),
        "training loss": Explanation(
            "training loss",
            "The mean loss of an epoch's batches, over folds, while the weights moved: of rows that the nets train on, "
            "so it says nothing of others.",
            "the study's own `loss`",
        ),
        "forecast": Explanation(
            "time, at most",
            "The time of one epoch of trial 0 on a part of the rows, measured now, times the rows, folds and epochs of "
            "all trials and of their confirmation, dealt over the training processes.",
            "measured on this machine",
        ),
        "drift": Explanation(
            "drift",
            "Whether a model can tell other rows from the study's own: an AUC of 0.5 not at all, of 1 always; p is the "
            "share of random labellings that are told at least as well. A diagnosis: nothing is left out.",
            "Lopez-Paz and Oquab 2017, classifier two-sample tests",
        ),
        "naive": Explanation(
            "naive best",
            "The best complete trial's own cross-validated score. It was chosen for being the best, so it is too good.",
            "Varma and Simon 2006; Cawley and Talbot 2010",
        ),
        "corrected": Explanation(
            "corrected",
            "What the chosen configuration can be expected to score: the choice is repeated on 1000 bootstrap samples "
            "of the rows, each time scored on the rows left out.",
            "Tsamardinos, Greasidou and Borboudakis 2018 (BBC-CV); pruned trials aligned by exempt ones",
        ),
        "optimism": Explanation(
            "flatters by",
            "The naive best's optimism: its distance to the corrected score.",
            "the difference of the two",
        ),
        "interval": Explanation(
            "95% interval",
            "Where the true value probably lies. Of what is corrected, and over default: the middle 95% of the 1000 "
            "bootstrap samples; whole groups or stretches of time are drawn where the data have them, and classes keep "
            "their shares. Of a locked test: the same for its rows. Of nested cross-validation, and between two "
            "trials: Student's, from fold scores, widened for the training rows that folds share.",
            "Tsamardinos, Greasidou and Borboudakis 2018, percentile interval; Nadeau and Bengio 2003",
        ),
        "label": Explanation(
            "corrected for selection",
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
            "nested",
            "Nested cross-validation: the whole search, repeated inside each outer fold, scored on rows that it never "
            "saw. The score of the procedure, not of one configuration.",
            "Varma and Simon 2006",
        ),
        "confirmation": Explanation(
            "confirmed",
            "The best trials are trained again on fresh partitions with fresh seeds, or with fresh seeds alone where "
            "the splitter has no randomness; the winner has the best mean of all. What the rows themselves flatter by, "
            "no repeat removes.",
            "foldtune's own simulations",
        ),
        "alike": Explanation(
            "indistinguishable",
            "So many trials, from the first, differ from the winner by less than the standard error of the difference.",
            "Nadeau and Bengio 2003",
        ),
        "run to run": Explanation(
            "run to run",
            "How much a trial's value changes when only its partition and seeds do.",
            "two-way analysis of variance over confirmed trials and repeats",
        ),
        "gain": Explanation(
            "over default",
            "How much better the chosen configuration is than that of defaults, on rows that chose neither: from the "
            "same bootstrap samples as the corrected score. It is put into words only where the label leaves no "
            "optimism.",
            "Tsamardinos, Greasidou and Borboudakis 2018; Schneider, Bischl and Feurer 2025",
        ),
        "advantage": Explanation(
            "advantage",
            "The mean difference of two trials on the splits that both were trained on, above 0 where the first is "
            "better.",
            "the difference of the two",
        ),
        "p": Explanation(
            "corrected t",
            "The paired t-test, its variance widened for the training rows that splits share. A trial that was picked "
            "for its lead leads by chance, too: the second p is the first times the number of other trials, of which "
            "pruned ones might have led as well.",
            "Nadeau and Bengio 2003; Holm 1979",
        ),
        "comparison": Explanation(
            "the same",
            "Worse, the same, better: the probabilities that the first trial's configuration is worse than the other's "
            "by more than counts, practically the same, or better. One partition says "
            '"leaning" at most, and a difference is put into words only where the second p is small.',
            "Corani and Benavoli 2015; Benavoli et al. 2017",
        ),
        "prefer": Explanation(
            "prefer",
            "The cheapest confirmed trial that is not likely to be worse than the best by more than counts. A "
            "preference: it gives up some expected score.",
            "Chen and Yang 2021 on its cost",
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
            "90% of values",
            "Where a new row's value lies, by the errors on rows that the models did not train on. With the fold "
            "models kept (CV+) a 90% interval holds at least about 80% of new rows, and usually 90%; around a "
            "refitted model there is no guarantee. Groups and time have none.",
            "Barber, Candès, Ramdas and Tibshirani 2021",
        ),
    }
)
"""Every number that a report prints; `--explain` prints these."""
