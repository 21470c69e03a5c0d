"""QUALITY.md: what was measured, as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from benchmarks import machine
from benchmarks.quality_cases import BATCH_SIZE, Size, Variant
from benchmarks.quality_runs import WORKERS, Run
from benchmarks.quality_times import (
    Ratio,
    Target,
    Time,
    main_target,
    median_time,
    per_hour,
    ratio,
    targets,
    time_to,
    together,
)

PEER = "Optuna, fold after fold"
OURS = "foldtune"

HOW = """\
**Both sides** search the same space: MLP of 1 to 3 blocks, 16 to 128 wide (log), ReLU or GELU, BatchNorm1d or none,
dropout 0 to 0.5; AdamW, learning rate 1e-4 to 1e-2 (log), weight decay 1e-6 to 1e-1 (log); batches of {batch_size},
{epochs} epochs, {n_splits} stratified folds, the same for all searches, inputs standardised on each fold's training
rows; {workers} processes of one thread each, SQLite. Trial 0 has the same parameters on both.

**The peer** is the objective that people write: a loop over the folds, each trained to its end; TPE with Optuna's
defaults; `MedianPruner`, asked after every epoch of the first fold (with that fold's score) and after every further
fold (with the mean so far); two processes that share the study. It is written to be fast: data in memory and
standardised once, batches that are views, fused AdamW, torch's first-step imports done before the first trial. It ends
after {trials} trials. **foldtune** is `foldtune run --workers {workers}` with its own defaults for the search, changed
only as the tables say.

**Score** of a complete trial: the mean over folds of the log loss on the fold's validation rows. *last*: after the last
epoch, what the peer optimizes, and what the goal is measured by. *chosen*: for each fold at the epoch that the other
folds choose, what foldtune optimizes. Both are computed from the stored curves of either side by one function. A
pruned trial has none.

**Target**: the median over seeds of the peer's best score after its whole budget (also after half and a quarter of it).
**Time**: from the beginning of the first trial until a complete trial reaches the target. *Start-up* is what comes
before: interpreter, imports, data, checks. A search that never reaches it counts with its whole time, marked `>`: the
peer's is that of its {trials} trials, foldtune's that of the peer's slowest seed, with as many trials as fit in. A cell
of times: the median over seeds, then every seed in order; the median is marked, too, when a marked time is not above
it. A ratio is marked `>` when only the peer's time is marked, `<` when only foldtune's is, `~` when both are."""


@dataclass(frozen=True)
class Measured:
    """One data set.

    Args:
        name: of the data set.
        peers: the peer's searches, one per seed.
        ours: foldtune's, by variant and seed.
    """

    name: str
    peers: tuple[Run, ...]
    ours: Mapping[str, tuple[Run, ...]]


def document(measured: Sequence[Measured], variants: Sequence[Variant], size: Size, command: str, note: str) -> str:
    """The whole page.

    Args:
        measured: the data sets, in order.
        variants: the ways to run foldtune, those not run included.
        size: of each search.
        command: that made it.
        note: a line under the title; may be empty.
    """
    how = HOW.format(
        batch_size=BATCH_SIZE, epochs=size.epochs, n_splits=size.n_splits, workers=WORKERS, trials=size.trials
    )
    parts = ["# Time to quality: the same cross-validated score, sooner", *([note] if note else [])]
    parts += [_goal(measured, size), _origin(measured, command), "## What is compared", how]
    parts += ["## Time to the peer's score", _table(_main_rows(measured, size))]
    parts += ["## Other targets", _table(_target_rows(measured, size))]
    for one in measured:
        parts += [f"## {one.name}: what makes the difference", _table(_variant_rows(one, size))]
    parts += [f"Not run: *{variant.name}*: {variant.skipped}." for variant in variants if variant.skipped]
    return "\n\n".join(parts) + "\n"


def _goal(measured: Sequence[Measured], size: Size) -> str:
    without, with_startup = (
        together([_compared(one, main_target(targets(one.peers, size)), startup)[2] for one in measured])
        for startup in (False, True)
    )
    over = f"geometric mean over {len(measured)} data set{'s' if len(measured) > 1 else ''}"
    return f"**Goal: >= 10x on small nets: seen {without}** ({over}; {with_startup} with start-up)."


def _compared(one: Measured, target: Target, startup: bool, variant: str = OURS) -> tuple[str, str, Ratio]:
    """A target's cells: the peer's times, foldtune's, and their ratio."""
    peers = [time_to(run, target, startup=startup) for run in one.peers]
    ours = [time_to(run, target, startup=startup) for run in one.ours[variant]]
    return _cell(peers), _cell(ours), ratio(median_time(peers), median_time(ours))


def _cell(times: Sequence[Time]) -> str:
    return f"**{median_time(times)}** ({', '.join(map(str, times))})"


def _main_rows(measured: Sequence[Measured], size: Size) -> Iterator[Sequence[object]]:
    yield "data set", "target", "start-up", f"{PEER}, s", f"{OURS}, s", "ratio"
    for one in measured:
        target = main_target(targets(one.peers, size))
        for startup in (False, True):
            counted = "counted" if startup else "left out"
            yield one.name, f"{target.value:.4f}", counted, *_compared(one, target, startup)


def _target_rows(measured: Sequence[Measured], size: Size) -> Iterator[Sequence[object]]:
    yield "data set", "score", "peer's best after", "target", f"{PEER}, s", f"{OURS}, s", "ratio"
    for one in measured:
        for target in targets(one.peers, size):
            after = f"{target.after} trials"
            yield one.name, target.definition, after, f"{target.value:.4f}", *_compared(one, target, False)


def _variant_rows(one: Measured, size: Size) -> Iterator[Sequence[object]]:
    yield "search", "as stored", "time to target, s", "ratio", "trials / h", "complete / h", "start-up, s"
    target = main_target(targets(one.peers, size))
    peer, _, _ = _compared(one, target, False)
    yield PEER, one.peers[0].how, peer, "1x", *_rates(one.peers)
    for name, runs in one.ours.items():
        _, ours, gained = _compared(one, target, False, name)
        yield name, runs[0].how, ours, gained, *_rates(runs)


def _rates(runs: Sequence[Run]) -> tuple[str, str, str]:
    """Medians over seeds: finished trials and complete ones per hour, and the start-up."""
    every, complete = median(map(per_hour, runs)), median(per_hour(run, "complete") for run in runs)
    return f"{every:,.0f}", f"{complete:,.0f}", f"{median(run.startup_s for run in runs):.1f}"


def _table(rows: Iterator[Sequence[object]]) -> str:
    head, *body = (f"| {' | '.join(map(str, row))} |" for row in rows)
    return "\n".join([head, "|" + " --- |" * (head.count(" | ") + 1), *body])


def _origin(measured: Sequence[Measured], command: str) -> str:
    runs = [run for one in measured for runs in (one.peers, *one.ours.values()) for run in runs]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    busy = f"other processes took {max(run.foreign for run in runs):.2f} cores in the worst of {len(runs)} searches"
    return f"Made by `{command}` on {day}: {machine.description()}; {machine.versions()}; {busy}."
