from dataclasses import replace
from io import StringIO

from rich.console import Console, RenderableType

from foldtune.report.leaderboard import leaderboard, next_steps, summary

from .makers import study, trial


def render(part: RenderableType, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_complete_trials_come_first_then_pruned_by_depth_then_failed() -> None:
    result = study(
        trial(0, "failed"),
        trial(1, "pruned", 0.1, epochs=1),
        trial(2, "pruned", 0.2, epochs=3),
        trial(3, score=0.6),
        trial(4, score=0.4),
        trial(5, "running"),
    )
    rows = render(leaderboard(result)).splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == [4, 3, 2, 1, 5, 0]


def test_a_row_has_mean_spread_state_epochs_and_parameters() -> None:
    row = render(leaderboard(study(trial(0, score=0.4), trial(1, score=0.6)))).splitlines()[1]
    assert row.split() == ["0", "complete", "0.4000", "±", "0.1414", "0.6000", "9", "lr=0.1"]


def test_a_failure_says_its_kind() -> None:
    assert "failed: diverged" in render(leaderboard(study(trial(0, "failed"))))


def test_columns_stay_readable_on_80_columns() -> None:
    lines = render(leaderboard(study(trial(0), trial(1, "pruned"))), width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "log_loss ± sd" in lines[0] and "epochs" in lines[0]


def test_summary_counts_trials_and_ends_with_the_best_configuration() -> None:
    out = render(summary(study(trial(0, score=0.7), trial(1, score=0.4), trial(2, "pruned"))))
    assert "demo  minimize log_loss  3 of 10 trials (2 complete, 1 pruned)" in out
    assert "Best: trial 1  log_loss 0.4000, accuracy 0.6000, mean of 2 folds" in out
    assert "model: {use: MLP}" in out


def test_summary_without_a_complete_trial_names_no_best() -> None:
    assert "Best" not in render(summary(study(trial(0, "failed"))))


def test_summary_says_how_many_rows_it_hides() -> None:
    three = study(*(trial(n) for n in range(3)))
    assert "and 2 more: foldtune show demo --top 0\n" in render(summary(three, top=1)).replace(" " * 40, "")
    assert "and 2 more: foldtune show demo --top 0 --storage a" in render(summary(three, top=1, option=" --storage a"))


def test_next_steps_name_a_storage_that_is_not_the_default() -> None:
    out = render(next_steps(study(trial(0)), " --storage sqlite:///other.db"))
    assert "foldtune trial demo 0 --storage sqlite:///other.db" in out
    assert "--storage" not in render(next_steps(study(trial(0))))


def test_an_exhausted_grid_is_not_offered_more_trials() -> None:
    result = study(trial(0))
    assert "resume demo --trials 20" in render(next_steps(result))
    assert "resume" not in render(next_steps(replace(result, ending="exhausted")))


def test_failed_trials_are_offered_to_be_tried_again() -> None:
    assert "resume demo --retry-failed --storage a" in render(
        next_steps(study(trial(0), trial(1, "failed")), " --storage a")
    )
    assert "--retry-failed" not in render(next_steps(study(trial(0), trial(1, "pruned")), " --storage a"))
