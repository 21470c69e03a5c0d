"""QUALITY.md: what was measured, as tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median

from benchmarks import machine
from benchmarks.pages import table
from benchmarks.quality_cases import BATCH_SIZE, FOLDTUNE, PATIENCE, Size
from benchmarks.quality_readers import Run
from benchmarks.quality_runs import WORKERS
from benchmarks.quality_times import Ratio, Target, Time, main_target, median_time, per_hour, ratio, time_to, together

USUAL, FAST, OURS = "usual", "fast", FOLDTUNE.name
PEERS = (USUAL, FAST)
MEAN = "**geometric mean**"

HOW = """\
**All** search the same space of small nets: MLP of 1 to 3 blocks, 16 to 64 wide (log), ReLU or GELU, BatchNorm1d or
none, dropout 0 to 0.5; AdamW, learning rate 1e-4 to 1e-2 (log), weight decay 1e-6 to 1e-1 (log); batches of
{batch_size}, {epochs} epochs, {n_splits} stratified folds, the same for all searches, inputs standardised on each
fold's training rows; SQLite; one torch thread per process. Trial 0 has the same parameters for all.

**usual** is the Optuna objective that people write: a loop over the folds, each trained to its end; one process,
`study.optimize`, Optuna's default TPE, `MedianPruner`, asked after every epoch of the first fold (with that fold's
score) and after every further fold (with the mean so far); torch's default AdamW. It is written well: data in memory
and standardised once, batches that are views, torch's first-step imports done before the first trial. One thread: two
are slower for such nets. **fast** is the same script in {workers} processes that share the study, with fused AdamW.
**foldtune** is `foldtune run --workers {workers}` with its own defaults for the search, but for the pruner: that is
`MedianPruner`, too, asked after every epoch with the mean over folds. What else is changed, the ablations say.

**Score** of a complete trial: the mean over folds of the log loss on the fold's validation rows. *last*: after the last
epoch, what both peers optimize and report. *chosen*: for each fold at the epoch that the other folds choose, what
foldtune optimizes and reports. *reported*: as each tool reports it; the goal is measured by this. All are computed from
the stored curves by one function. A pruned trial has none.

**Target**: the median over seeds of usual's best score after {trials} trials (also after half and a quarter of them).
**Time**: from the beginning of the first trial until a complete trial reaches the target. *Start-up* is what comes
before: interpreter, imports, data, checks. A usual search that has not reached the hardest target after {trials} trials
is repeated, and goes on until it has, for {longest} trials at most. fast and foldtune search until they have reached
the targets of reported scores (an ablation: the hardest), at latest for as long as usual's slowest seed; times to other
scores end there, too. A search that never reaches a target counts with its whole time, marked `>`. A cell of times: the
median over seeds, then every seed in order; the median is marked, too, when a marked time is not above it. *x usual*,
*x fast*: how many times as fast; marked `>` when only the peer's time is marked, `<` when only foldtune's is, `~` when
both are."""

RATES = """\
Finished trials, and complete ones (those not pruned), per hour of search: the median over seeds. They depend on no
score; but a trial that foldtune prunes has trained on all folds, one that the peers prune most often on one."""

ABLATIONS = """\
Of seeds 0 to {last}, for every row. *default pruner*: foldtune's, successive halving by 3 from the first epoch on.
*later halving*: by 2, from the fourth. *packed off*: every trial trains in lockstep by itself. *lockstep pruning off*:
`NopPruner`. *cohort*: trials in training at once. *packs of equal nets only*: the engine is changed from outside, so
that only nets that compute the same share a stack. Means are over the data sets; trials per hour are compared with
those of foldtune as it is."""


@dataclass(frozen=True)
class Measured:
    """One data set.

    Args:
        name: of the data set.
        targets: the scores to reach.
        runs: the searches of the two peers, of foldtune and of each ablation, by seed.
    """

    name: str
    targets: tuple[Target, ...]
    runs: Mapping[str, tuple[Run, ...]]


def document(measured: Sequence[Measured], size: Size, command: str, note: str) -> str:
    """The whole page.

    Args:
        measured: the data sets, in order.
        size: of each search.
        command: that made it.
        note: a line under the title; may be empty.
    """
    how = HOW.format(
        batch_size=BATCH_SIZE,
        epochs=size.epochs,
        n_splits=size.n_splits,
        workers=WORKERS,
        trials=size.trials,
        longest=PATIENCE * size.trials,
    )
    parts = ["# Time to quality: the same cross-validated score, sooner", *([note] if note else [])]
    parts += [_goal(measured), _origin(measured, command), "## What is compared", how]
    parts += ["## Time to usual's score", _table(_main_rows(measured))]
    parts += ["## Trials per hour", RATES, _table(_rate_rows(measured))]
    parts += ["## Other targets", _table(_target_rows(measured))]
    if any(one.runs.keys() - {*PEERS, OURS} for one in measured):
        parts += _ablations(measured)
    return "\n\n".join(parts) + "\n"


def _ablations(measured: Sequence[Measured]) -> Iterator[str]:
    """The section about them, of the seeds that every row has."""
    n_seeds = min(len(runs) for one in measured for runs in one.runs.values())
    short = [replace(one, runs={way: runs[:n_seeds] for way, runs in one.runs.items()}) for one in measured]
    yield from ("## Ablations", ABLATIONS.format(last=n_seeds - 1), _table(_mean_rows(short)))
    for one in short:
        yield from (f"### {one.name}", _table(_variant_rows(one)))


def _goal(measured: Sequence[Measured]) -> str:
    usual, fast = (_mean(measured, peer) for peer in PEERS)
    usual_later, fast_later = (_mean(measured, peer, startup=True) for peer in PEERS)
    over = f"geometric mean over {len(measured)} data set{'s' if len(measured) > 1 else ''}"
    return (
        f"**Goal: >= 10x as fast as usual on small nets: seen {usual}** ({over}; {usual_later} with start-up). "
        f"Against fast: {fast} ({fast_later} with start-up)."
    )


def _times(one: Measured, way: str, target: Target, startup: bool = False) -> list[Time]:
    return [time_to(run, target, startup=startup) for run in one.runs[way]]


def _cells(one: Measured, target: Target, startup: bool = False) -> Iterator[str]:
    for way in (*PEERS, OURS):
        yield _cell(_times(one, way, target, startup))


def _cell(times: Sequence[Time]) -> str:
    return f"**{median_time(times)}** ({', '.join(map(str, times))})"


def _gain(one: Measured, peer: str, target: Target, *, startup: bool = False, way: str = OURS) -> Ratio:
    """How many times as fast as a peer a way of searching reaches a target."""
    theirs, ours = (median_time(_times(one, name, target, startup)) for name in (peer, way))
    return ratio(theirs, ours)


def _mean(measured: Sequence[Measured], peer: str, *, startup: bool = False, way: str = OURS) -> Ratio:
    return together([_gain(one, peer, main_target(one.targets), startup=startup, way=way) for one in measured])


def _main_rows(measured: Sequence[Measured]) -> Iterator[Sequence[object]]:
    yield "data set", "target", "start-up", "usual, s", "fast, s", "foldtune, s", "x usual", "x fast"
    for startup, counted in ((False, "left out"), (True, "counted")):
        for one in measured:
            target = main_target(one.targets)
            gains = (_gain(one, peer, target, startup=startup) for peer in PEERS)
            yield one.name, f"{target.value:.4f}", counted, *_cells(one, target, startup), *gains
        yield MEAN, "", counted, "", "", "", *(_mean(measured, peer, startup=startup) for peer in PEERS)


def _rate_rows(measured: Sequence[Measured]) -> Iterator[Sequence[object]]:
    yield "data set", "trials", "usual", "fast", "foldtune", "x usual", "x fast"
    for name, rate in (("finished", _finished), ("complete", _complete)):
        for one in measured:
            rates = (f"{rate(one.runs[way]):,.0f}" for way in (*PEERS, OURS))
            yield one.name, name, *rates, *(_rate_gain([one], rate, peer) for peer in PEERS)
        yield MEAN, name, "", "", "", *(_rate_gain(measured, rate, peer) for peer in PEERS)


def _finished(runs: Sequence[Run]) -> float:
    return median(map(per_hour, runs))


def _complete(runs: Sequence[Run]) -> float:
    return median(per_hour(run, "complete") for run in runs)


def _rate_gain(
    measured: Sequence[Measured], rate: Callable[[Sequence[Run]], float], peer: str, way: str = OURS
) -> Ratio:
    return together([Ratio(rate(one.runs[way]) / rate(one.runs[peer]), "") for one in measured])


def _target_rows(measured: Sequence[Measured]) -> Iterator[Sequence[object]]:
    yield "data set", "score", "usual's best after", "target", "usual, s", "fast, s", "foldtune, s", "x usual", "x fast"
    for one in measured:
        for target in one.targets:
            gains = (_gain(one, peer, target) for peer in PEERS)
            after = f"{target.after} trials"
            yield one.name, target.definition, after, f"{target.value:.4f}", *_cells(one, target), *gains


def _mean_rows(measured: Sequence[Measured]) -> Iterator[Sequence[object]]:
    yield "search", "time: x usual", "x fast", "trials / h: x foldtune", "complete / h: x foldtune"
    for way in measured[0].runs:
        if way not in PEERS:
            rates = (_rate_gain(measured, rate, OURS, way) for rate in (_finished, _complete))
            yield way, *(_mean(measured, peer, way=way) for peer in PEERS), *rates


def _variant_rows(one: Measured) -> Iterator[Sequence[object]]:
    yield "search", "as stored", "time to target, s", "x usual", "x fast", "trials / h", "complete / h", "start-up, s"
    target = main_target(one.targets)
    for way, runs in one.runs.items():
        gains = (_gain(one, peer, target, way=way) for peer in PEERS)
        rates = f"{_finished(runs):,.0f}", f"{_complete(runs):,.0f}"
        startup = f"{median(run.startup_s for run in runs):.1f}"
        yield way, runs[0].how, _cell(_times(one, way, target)), *gains, *rates, startup


def _table(rows: Iterator[Sequence[object]]) -> str:
    columns, *body = rows
    return "\n".join(table(list(map(str, columns)), body))


def _origin(measured: Sequence[Measured], command: str) -> str:
    runs = [run for one in measured for runs in one.runs.values() for run in runs]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    busy = f"other processes took {max(run.foreign for run in runs):.2f} cores in the worst of {len(runs)} searches"
    return f"Made by `{command}` on {day}: {machine.description()}; {machine.versions()}; {busy}."
