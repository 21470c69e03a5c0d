"""The leaderboard, and what a study's end says."""

from collections.abc import Sequence
from shlex import quote

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from foldtune.report import text
from foldtune.report.importance import by_importance
from foldtune.report.score import explain, scores
from foldtune.report.terminal import console
from foldtune.search.numbers import column, number
from foldtune.search.result import StudyResult, metric_means, value
from foldtune.store.records import TrialRecord

STATE_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan", "waiting": "dim"}
EXTRA_METRICS = 1
"""Metrics beside the first that have a column."""


def leaderboard(result: StudyResult, top: int = 15) -> Table:
    """Trials from best to worst: value, spread over folds, state, epochs, and the parameters that matter first.

    Args:
        result: the study.
        top: number of rows; 0 for all.
    """
    ranked = result.ranked()
    shown = ranked[: top or len(ranked)]
    objective, *others = result.record.metrics
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in (f"{objective} ± sd", *others[:EXTRA_METRICS], "epochs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
    names = by_importance(ranked)
    means = [metric_means(result.record, trial) for trial in shown]
    more = [column([mean.get(name) for mean in means]) for name in others[:EXTRA_METRICS]]
    for trial, *numbers in zip(shown, _scores(shown), *more, strict=True):
        state = f"failed: {trial.failure.kind}" if trial.failure else trial.state
        told = text.parameters(trial, names)
        table.add_row(str(trial.number), Text(state, STATE_STYLES[trial.state]), *numbers, str(trial.epochs), told)
    return table


def summary(result: StudyResult, top: int = 15, *, option: str = "") -> RenderableType:
    """Heading, leaderboard, the best configuration and the honest score.

    Args:
        result: the study.
        top: rows of the leaderboard; 0 for all.
        option: what the commands that are printed need to find the study's database.
    """
    record, best = result.record, result.best
    states = [trial.state for trial in result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATE_STYLES if state in states)
    goals = " and ".join(f"{goal} {name}" for goal, name in zip(record.directions, record.objectives, strict=True))
    heading = Text.assemble((record.name, "bold"), f"  {goals}  {result.finished} of {result.budget} trials")
    heading.append(f" ({counts})" if counts else "", style="dim")
    parts: list[RenderableType] = [heading, Text(), leaderboard(result, top)]
    hidden = len(result.trials) - (top or len(result.trials))
    if hidden > 0:
        parts.append(Text(f"and {hidden} more: foldtune show {quote(record.name)} --top 0{option}", style="dim"))
    if best is not None:
        parts += [Text(), _best_line(result, best), Padding(configuration(best), (0, 2))]
    for block in scores(result):
        parts += [Text(), block]
    return Group(*parts)


def next_steps(result: StudyResult, option: str = "") -> RenderableType:
    """What to type next; `option` as for `summary`."""
    name, best = quote(result.name), result.best
    lines = [f"foldtune show {name}{option}"]
    lines += [f"foldtune trial {name} {best.number}{option}"] if best else []
    lines += [f"foldtune test {name}{option}"] if best and _is_untested(result) else []
    lines += [f"foldtune dashboard{option}"]
    if any(trial.state == "failed" for trial in result.trials):
        lines += [f"foldtune resume {name} --retry-failed{option}"]
    if result.ending != "exhausted":
        lines += [f"foldtune resume {name} --trials {2 * result.budget}{option}"]
    return Group(Text("Next:", style="bold"), *(Text(f"  {line}") for line in lines))


def _is_untested(result: StudyResult) -> bool:
    """Whether rows are locked away and nobody has looked at them."""
    locked = len(result.record.locked) > 0 or result.record.spec["data"].get("test") is not None
    return locked and not any(audit.kind == "test" for audit in result.audits)


def print_summary(result: StudyResult, top: int = 15, *, explained: bool = False, option: str = "") -> None:
    """Print heading, leaderboard, the best configuration and the honest score on stdout.

    Args:
        result: the study.
        top: rows of the leaderboard; 0 for all.
        explained: whether to say what each number means.
        option: as for `summary`.
    """
    stdout = console(soft_wrap=False)
    stdout.print(summary(result, top, option=option))
    if explained:
        stdout.print()
        stdout.print(explain(result))


def _scores(trials: Sequence[TrialRecord]) -> list[str]:
    """Values with their spreads, all with as many decimals as the largest value."""
    spreads = [None if trial.scores is None else text.spread(trial.scores) for trial in trials]
    shown = column([*map(value, trials), *spreads])
    pairs = zip(shown[: len(trials)], shown[len(trials) :], spreads, strict=True)
    return [mean if spread is None else f"{mean} ± {sd}" for mean, sd, spread in pairs]


def _best_line(result: StudyResult, best: TrialRecord) -> Text:
    means = metric_means(result.record, best)
    shown = ", ".join(f"{name} {number(mean)}" for name, mean in means.items())
    return Text.assemble((f"Best: trial {best.number}", "bold"), f"  {shown}, mean of {len(best.scores)} folds")  # type: ignore[arg-type]


def configuration(trial: TrialRecord) -> Syntax:
    """A trial's configuration as YAML, sections that say nothing left out."""
    config = {key: part for key, part in trial.config.items() if part not in (None, {})}
    return Syntax(text.yaml(config), "yaml", background_color="default", word_wrap=True)
