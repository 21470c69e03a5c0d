"""Live progress on a terminal; nothing elsewhere, but a line per ended trial when asked for."""

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from foldtune.report.terminal import Printable
from foldtune.report.text import duration
from foldtune.search.numbers import number
from foldtune.search.status import RunningTrial, Status

BAR_WIDTH = 28


BEGINNING = "reading the data, checking the study, starting the training processes ..."


class Progress:
    """Draws a `Status` after every barrier.

    Args:
        console: where; stderr, so that stdout holds results alone.
        live: whether to redraw in place.
        verbose: whether ended trials get a line each.
        beginning: what is shown before the first status.
    """

    def __init__(self, console: Console, *, live: bool, verbose: bool, beginning: str = BEGINNING) -> None:
        self.console, self.verbose, self.beginning = console, verbose, beginning
        self.live = (
            Live(console=console, refresh_per_second=4, transient=True) if live and console.is_terminal else None
        )

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
            self.live.update(Text(self.beginning, style="dim"))
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, status: Status) -> None:
        if self.verbose:
            for line in status.news:
                self.console.print(line, highlight=False)
        if self.live:
            self.live.update(Printable(draw(status)))


def draw(status: Status) -> RenderableType:
    """The study's bar, or its confirmation's, then one for each trial in training."""
    head = Table.grid(padding=(0, 1))
    done, total = status.confirming or (status.finished, status.budget)
    progress = f"confirming: {done} of {total}" if status.confirming else f"{done}/{total} trials"
    counts = ", ".join(f"{n} {state}" for state, n in status.counts.items() if n and state != "running")
    left = f"{duration(status.seconds)}, {duration(status.remaining_s)} left" if status.remaining_s else ""
    head.add_row(
        Text(status.study, style="bold"),
        ProgressBar(total=total, completed=done, width=BAR_WIDTH),
        Text(progress),
        Text(f"({counts})" if counts else "", style="dim"),
        Text(left),
    )
    best = f"best so far: {status.objective} {number(status.best[1])} in trial {status.best[0]}" if status.best else ""
    rows = Table.grid(padding=(0, 1))
    for trial in status.running:
        rows.add_row(*_trial_row(trial, status.objective))
    return Group(head, *([Text(best, style="green")] if best else []), rows)


def _trial_row(trial: RunningTrial, objective: str) -> tuple[RenderableType, ...]:
    value = "" if trial.value is None else f"{objective} {number(trial.value)}"
    return (
        Text(f"  trial {trial.number}{f', partition {trial.repeat}' if trial.repeat else ''}", style="cyan"),
        ProgressBar(total=trial.epochs, completed=trial.epoch, width=BAR_WIDTH - 8),
        Text(f"epoch {trial.epoch}/{trial.epochs} on {trial.folds} folds"),
        Text(value, style="dim"),
    )
