from dataclasses import replace
from io import StringIO

from rich.console import Console

from foldtune.cli.progress import Progress, draw
from foldtune.search.status import RunningTrial, Status

STATUS = Status(
    study="demo",
    objective="log_loss",
    budget=30,
    counts={"complete": 6, "pruned": 11, "running": 2},
    running=(RunningTrial(12, 19, 27, 5, 0.0721), RunningTrial(18, 0, 27, 5, None)),
    best=(0, 0.0667),
    seconds=89,
    remaining_s=68,
)


def render(*, terminal: bool) -> str:
    console = Console(file=StringIO(), width=100, force_terminal=terminal)
    with Progress(console, live=True, verbose=False) as progress:
        progress(STATUS)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_terminal_sees_study_trials_epochs_best_and_the_time_left() -> None:
    console = Console(file=StringIO(), width=100)
    console.print(draw(STATUS))
    assert isinstance(console.file, StringIO)
    out = console.file.getvalue()
    assert "17/30 trials (6 complete, 11 pruned)" in out and "1 min 29 s, 1 min 8 s left" in out
    assert "best so far: log_loss 0.0667 in trial 0" in out
    assert "trial 12" in out and "epoch 19/27 on 5 folds" in out and "0.0721" in out


def test_a_terminal_sees_how_far_confirmation_is() -> None:
    console = Console(file=StringIO(), width=100)
    running = (RunningTrial(12, 19, 27, 5, 0.0721, repeat=2),)
    console.print(draw(replace(STATUS, counts={"complete": 30}, running=running, confirming=(3, 12))))
    assert isinstance(console.file, StringIO)
    out = console.file.getvalue()
    assert "confirming: 3 of 12 (30 complete)" in out and "trial 12, partition 2" in out


def test_a_terminal_is_drawn_on() -> None:
    assert "17/30 trials" in render(terminal=True)


def test_elsewhere_it_is_quiet() -> None:
    assert render(terminal=False) == ""
