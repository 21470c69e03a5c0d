"""What may be said of a score."""

import optuna
import pytest

from foldtune.selection.labels import ADAPTIVE, EXPLANATIONS, NOT_ADAPTIVE, cautions, headline, label


def test_samplers_that_read_no_score_are_optunas() -> None:
    assert all(issubclass(getattr(optuna.samplers, name), optuna.samplers.BaseSampler) for name in NOT_ADAPTIVE)


@pytest.mark.parametrize("sampler", ["TPESampler", "GPSampler", "CmaEsSampler", "NSGAIISampler", "Mine"])
@pytest.mark.parametrize("n_rows", [50, 5000])
def test_any_other_sampler_is_taken_for_adaptive(sampler: str, n_rows: int) -> None:
    assert label(sampler, n_rows) == ADAPTIVE


def test_below_500_rows_the_residual_is_named() -> None:
    assert "residual" in label("RandomSampler", 499)
    assert "residual" not in label("RandomSampler", 500)


@pytest.mark.parametrize(
    ("n_rows", "rarest", "expected"),
    [(100, None, "score"), (99, None, "interval"), (5000, 10, "score"), (5000, 9, "interval")],
)
def test_few_rows_have_an_interval_alone(n_rows: int, rarest: int | None, expected: str) -> None:
    assert headline(n_rows, rarest) == expected


def test_nothing_to_warn_of() -> None:
    assert cautions(n_groups=None, reference=1, n_trials=10, n_scored=10) == ()


def test_what_weakens_a_score_is_said() -> None:
    said = cautions(n_groups=7, reference=0, n_trials=10, n_scored=9)
    assert [text.split(":")[0] for text in said] == [
        "Only 7 groups could be resampled",
        "1 of 10 trials have no out-of-fold predictions",
        "No complete trial was exempt from pruning",
    ]


def test_explanations_are_sentences_with_a_source() -> None:
    for explanation in EXPLANATIONS.values():
        assert explanation.text.endswith(".")
        assert explanation.source
    titles = [explanation.title for explanation in EXPLANATIONS.values()]
    assert len(set(titles)) == len(titles)
