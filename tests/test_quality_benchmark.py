"""The time-to-quality benchmark: both sides do the same work, times follow from targets, and the page is written."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FixedTrial, TrialState, create_trial

import foldtune
from benchmarks import quality, quality_equal, quality_peer
from benchmarks.quality_cases import ABLATIONS, BATCH_SIZE, DATA_SETS, FOLDTUNE, SPLIT_SEED, Size, arrays, study
from benchmarks.quality_readers import FoldtuneReader, PeerReader, Run, Trial, scored
from benchmarks.quality_runs import run_usual
from benchmarks.quality_times import (
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
from foldtune import space
from foldtune.models.builder import build_model
from foldtune.spec import domains
from foldtune.spec.load import load_spec
from foldtune.testing.engine_laws import folds_apart, make_config, make_job, make_setup
from foldtune.train.batches import batch_bounds
from foldtune.train.packed import engine
from foldtune.train.stopping import fold_mean
from foldtune.values import DataShape, Job

ROOT = Path(__file__).parents[1]
SMALL = Size(trials=2, epochs=3, n_splits=3)


def tree() -> dict[str, Any]:
    """The searchable sections of foldtune's study."""
    written = study(Path("data.npz"), seed=0, size=SMALL)
    return {key: domains.parse(written[key], (key,))[0] for key in ("model", "optimizer", "training")}


def run(*trials: Trial, startup_s: float = 4.0) -> Run:
    return Run(startup_s, trials[-1].finished_s, trials, "made")


def complete(finished_s: float, last: float, chosen: float = 9.0) -> Trial:
    return Trial(finished_s, "complete", last, last, chosen)


def save(folder: Path, name: str = "breast_cancer") -> Path:
    inputs, target = arrays(name)
    np.savez(folder / "data.npz", X=inputs, y=target)
    return folder / "data.npz"


def job(data: Path, url: str) -> quality_peer.Job:
    return quality_peer.Job(
        data=str(data),
        storage=url,
        seed=0,
        trials=SMALL.trials,
        epochs=SMALL.epochs,
        n_splits=SMALL.n_splits,
        split_seed=SPLIT_SEED,
        batch_size=BATCH_SIZE,
        fused=None,
    )


def test_both_sides_search_one_space() -> None:
    ours = {name: space.distribution(domain) for name, domain in space.domains(tree()).items()}
    trial = optuna.create_study().ask()
    quality_peer.suggest(trial)
    assert {name: normal(one) for name, one in trial.distributions.items()} == {
        name: normal(one) for name, one in ours.items()
    }


def normal(distribution: optuna.distributions.BaseDistribution) -> Any:
    """A distribution without the label that foldtune gives to a choice of nothing."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return [None if choice in (None, "null") else choice for choice in distribution.choices]
    return distribution


def test_both_sides_begin_with_the_same_trial() -> None:
    assert space.defaults(tree()) == quality_peer.DEFAULTS


@pytest.mark.parametrize("norm", ["BatchNorm1d", None])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_both_sides_build_one_net(norm: str | None, n_blocks: int) -> None:
    params = {**quality_peer.DEFAULTS, "model.norm": norm, "model.n_blocks": n_blocks, "model.dropout": 0.25}
    torch.manual_seed(0)
    theirs = quality_peer.build(quality_peer.suggest(FixedTrial(params)), n_features=5, n_classes=3)
    torch.manual_seed(0)
    node = {"use": "MLP", "n_blocks": n_blocks, "d_block": 32, "activation": "ReLU", "norm": norm, "dropout": 0.25}
    ours = build_model(node, DataShape((5,), (), 3))
    inputs = torch.randn(16, 5)
    for net in (theirs, ours):
        torch.manual_seed(1)
        net(inputs)  # in training: the same dropout, and the batch norms move
        net.eval()
    torch.testing.assert_close(theirs(inputs), ours(inputs), rtol=0, atol=0)


def test_both_sides_have_the_same_rows(tmp_path: Path) -> None:
    """The folds, the standardised inputs and the scale of the score."""
    data = save(tmp_path)
    url = f"sqlite:///{tmp_path}/s.db"
    result = foldtune.run_study(
        study(data, seed=0, size=SMALL), storage=url, workers=0, overrides=["search.trials=1", "training.epochs=1"]
    )
    target = np.load(data)["y"]
    theirs = quality_peer.split(job(data, url))
    for fold, rows in zip(result.record.folds, theirs, strict=True):
        assert np.array_equal(target[fold.valid], rows.valid_y.numpy())
        assert np.allclose(rows.x.mean(0), 0, atol=1e-5) and np.allclose(rows.x.std(0), 1, atol=1e-2)
        assert len(torch.split(rows.x, BATCH_SIZE)) == len(batch_bounds(len(fold.train), BATCH_SIZE, batch_norm=True))


def test_foldtune_is_read_from_its_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    tree = study(save(tmp_path), seed=0, size=SMALL)
    overrides = ["search.trials=3", "search.cohort=2"]
    result = foldtune.run_study(tree, storage=url, workers=0, overrides=overrides)
    first = min(trial.started_at for trial in result.trials if trial.started_at)
    with closing(FoldtuneReader(url, first.timestamp() - 7)) as reader:
        read = reader.run()
    assert read.startup_s == pytest.approx(7)
    assert read.how.endswith("cohort 2")
    assert [trial.state for trial in read.trials] == ["complete"] * 3
    assert sorted(trial.chosen for trial in read.trials) == sorted(
        trial.values[0] for trial in result.trials if trial.values
    )
    ends = [(trial.finished_at - first).total_seconds() for trial in result.trials if trial.finished_at]
    assert [trial.finished_s for trial in read.trials] == pytest.approx(sorted(ends), abs=1e-4)


def test_peer_searches_and_is_read_from_its_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/p.db"
    quality_peer.create(url)
    loaded = optuna.load_study(study_name=quality_peer.STUDY, storage=quality_peer.storage(url))
    loaded.optimize(quality_peer.Objective(job(save(tmp_path), url)), n_trials=3)
    assert loaded.trials[0].params == quality_peer.DEFAULTS
    first_fold, second_fold, _ = loaded.trials[0].user_attrs["curves"]
    reported = [*first_fold, (first_fold[-1] + second_fold[-1]) / 2]
    assert loaded.trials[0].intermediate_values == pytest.approx(dict(enumerate(reported, 1)))
    began = loaded.trials[0].datetime_start
    assert began is not None
    read = PeerReader(url, began.timestamp() - 2).run()
    assert read.startup_s == pytest.approx(2)
    assert [trial.reported for trial in read.trials] == [trial.value for trial in loaded.trials]
    assert read.searched_s >= read.trials[-1].finished_s > 0


def test_peer_prunes_what_is_worse_than_the_median(tmp_path: Path) -> None:
    peer = optuna.create_study(pruner=optuna.pruners.MedianPruner())
    begun = datetime.now()
    for _ in range(5):
        good = create_trial(state=TrialState.COMPLETE, value=0.0, intermediate_values={1: 0.0})
        good.datetime_start, good.datetime_complete = begun, begun + timedelta(seconds=1)
        peer.add_trial(good)
    peer.optimize(quality_peer.Objective(job(save(tmp_path), "")), n_trials=1)
    assert peer.trials[-1].state == TrialState.PRUNED
    assert list(peer.trials[-1].intermediate_values) == [1]


def test_scores_of_curves() -> None:
    curves = np.array([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.6, 0.6, 0.9]])
    both = {"last": fold_mean(curves[-1]), "chosen": fold_mean(curves[1])}
    assert scored(curves, "last") == {"reported": both["last"], **both}
    assert scored(curves, "chosen") == {"reported": both["chosen"], **both}


def test_targets_are_medians_of_what_the_peer_reached() -> None:
    peers = [run(*(complete(i, last=value - i / 10, chosen=value) for i in range(1, 9))) for value in (3.0, 1.0, 2.0)]
    found = targets(peers, Size(trials=8))
    expected = [(definition, count) for definition in ("reported", "last", "chosen") for count in (2, 4, 8)]
    assert [(one.definition, one.after) for one in found] == expected
    assert [one.value for one in found] == pytest.approx([1.8, 1.6, 1.2, 1.8, 1.6, 1.2, 2.0, 2.0, 2.0])
    assert main_target(found) == found[2]


def test_time_ends_with_the_first_complete_trial_that_is_good_enough() -> None:
    search = run(Trial(1.0, "pruned", 0.0, 0.0), complete(2.0, 0.5, 0.1), complete(3.0, 0.2), complete(8.0, 0.9))
    assert time_to(search, Target("last", 8, 0.2)) == Time(3.0, False)
    assert time_to(search, Target("last", 8, 0.2), startup=True) == Time(7.0, False)
    assert time_to(search, Target("chosen", 8, 0.2)) == Time(2.0, False)
    assert time_to(search, Target("last", 8, 0.1)) == Time(8.0, True)
    assert time_to(run(Trial(1.0, "pruned")), Target("last", 8, math.inf)) == Time(1.0, True)


def test_kept_run_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "watched", lambda search: search())
    failed, complete = Trial(1.5, "failed"), Trial(2.25, "complete", 0.1, 0.1, 0.05)
    run = Run(0.5, 3.0, (failed, complete), "packed", 0.01)
    kept = quality._told("a, b, seed 0", lambda: run, tmp_path / "new")
    assert kept == run
    assert quality._told("a, b, seed 0", lambda: pytest.fail("searched again"), tmp_path / "new") == kept


def test_median_and_ratio_say_what_is_not_known() -> None:
    reached, ended = Time(2.0, False), Time(5.0, True)
    assert str(median_time([reached, reached, ended])) == "2.0"
    assert str(median_time([reached, ended, ended])) == "> 5.0"
    assert [str(ratio(*pair)) for pair in ((ended, reached), (reached, ended), (ended, ended))] == [
        "> 2.5x",
        "< 0.4x",
        "~ 1x",
    ]
    assert str(together([ratio(ended, reached), ratio(reached, ended)])) == "~ 1x"


def test_trials_per_hour() -> None:
    search = run(complete(10.0, 1.0), Trial(20.0, "pruned"), Trial(36.0, "failed"))
    assert (per_hour(search), per_hour(search, "complete")) == (300.0, 100.0)


def test_processor_time_of_orphans_is_not_foreign() -> None:
    orphan = "import time\nwhile time.process_time() < 0.5: pass"
    script = f"""
import os, subprocess, sys
from benchmarks import machine
from benchmarks.quality_readers import Run
from benchmarks.quality_runs import watched

def search():
    subprocess.run(["sh", "-c", '"$0" -c "$1" &', sys.executable, {orphan!r}], check=True)
    return Run(0.0, 1.0, (), "")

watched(search)
assert machine.used_s([os.getpid()]) - sum(os.times()[:2]) >= 0.4
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_equal_nets_alone_share_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their learning rates."""
    nets = [(8, 0.05), (9, 0.05), (8, 0.01)]
    jobs = [
        make_job(
            make_config(model={"use": "MLP", "n_blocks": 1, "d_block": width}, optimizer={"use": "SGD", "lr": lr}),
            trial,
        )
        for trial, (width, lr) in enumerate(nets)
    ]
    assert packs(jobs) == [{0, 1, 2}]
    monkeypatch.setattr(engine, "_fits", engine._fits)  # so that it is put back
    quality_equal.only_equal_nets()
    assert packs(jobs) == [{0, 2}, {1}]


def packs(jobs: Sequence[Job]) -> list[set[int]]:
    """The trials of each stack, on folds of one size."""
    run = engine.PackedEngine(make_setup()).start([replace(job, folds=folds_apart()) for job in jobs])
    run.step()
    return [{share.member.job.trial for share in stack.shares} for stack in run.stacks]


def test_ablations_are_different_studies() -> None:
    tree = study(Path("data.npz"), seed=0, size=SMALL)
    ways = {(load_spec(tree, overrides=one.overrides).spec.search, one.program) for one in (FOLDTUNE, *ABLATIONS)}
    assert len(ways) == 1 + len(ABLATIONS)


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets(name: str) -> None:
    inputs, target = arrays(name)
    assert inputs.dtype == np.float32 and np.isfinite(inputs).all()
    assert np.array_equal(np.unique(target), np.arange(target.max() + 1))
    again, _ = arrays(name)
    assert np.array_equal(inputs, again)


@pytest.mark.slow
def test_every_training_process_packs_equal_nets_only(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(study(save(tmp_path), seed=0, size=SMALL)))
    program = next(one.program for one in ABLATIONS if one.name == quality_equal.NOTE)
    command = [*program, "run", str(file), "--storage", f"sqlite:///{tmp_path}/s.db", "--workers", "2"]
    done = subprocess.run([*command, "--trials", "2"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stderr.count(quality_equal.NOTE) == 2


@pytest.mark.parametrize("seeds", [0, 1])
def test_ablations_may_be_left_out(seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def told(name: str, *_: object) -> Run:
        asked.append(name)
        return run(*(complete(second, last=1 / second) for second in range(1, 9)))

    monkeypatch.setattr(quality, "_told", told)
    page = tmp_path / "QUALITY.md"
    options = ["--data-sets", "digits", "--seeds", "2", "--ablation-seeds", f"{seeds}", "--output", f"{page}"]
    quality.main(options)
    assert len(asked) == 3 * 2 + seeds * len(ABLATIONS)
    assert ("## Ablations" in page.read_text()) is bool(seeds)
    assert str(tmp_path) not in page.read_text(), "where it was made is nobody's affair"


def test_usual_goes_on_where_it_missed_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is the median of what it reached with its own trials: 0.5, by seed 1."""
    asked: list[str] = []

    def told(name: str, *_: object) -> Run:
        asked.append(name)
        reached = 0.1 if "gone on" in name or "usual" not in name else {"0": 0.1, "1": 0.5, "2": 0.9}[name[-1]]
        return run(complete(30.0 if "gone on" in name else 3.0, last=reached))

    monkeypatch.setattr(quality, "_told", told)
    measured = quality._measure("digits", Size(trials=8), range(3), range(0), None)
    assert [name for name in asked if "gone on" in name] == ["digits, usual gone on, seed 2"]
    assert main_target(measured.targets).value == 0.5
    assert [one.searched_s for one in measured.runs["usual"]] == [3.0, 3.0, 30.0]


@pytest.mark.slow
def test_usual_ends_when_it_is_good_enough() -> None:
    """It is cut after the trial that made it so, however many more it had begun."""
    search = run_usual("breast_cancer", 0, replace(SMALL, trials=500), lambda run: len(run.trials) >= 2)
    assert len(search.trials) == 2
    assert search.searched_s == search.trials[-1].finished_s


@pytest.mark.slow
def test_quick_run_writes_the_page(tmp_path: Path) -> None:
    """With one of the ablations: they differ in what they pass on alone."""
    page = tmp_path / "QUALITY.md"
    ablation = next(one for one in ABLATIONS if one.name == "lockstep pruning off")
    program = f"""
from benchmarks import quality
quality.ABLATIONS = quality.ABLATIONS[{ABLATIONS.index(ablation)}:][:1]
quality.main(["--quick", "--output", {str(page)!r}])
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, timeout=800)
    text = page.read_text()
    ratio = r"(?:[<>~] )?[\d.e+-]+x"
    assert re.search(rf"\*\*Goal: >= 10x as fast as usual on small nets: seen {ratio}\*\*", text)
    assert "numbers say nothing" in text
    assert re.search(r"on \d{4}-\d\d-\d\d: .* cores, .* optuna 5", text)
    cell = r"\*\*(?:> )?[\d.]+\*\* \((?:> )?[\d.]+\)"
    counted = "(?:left out|counted)"
    times = rf"^\| breast_cancer \| 0\.\d{{4}} \| {counted}(?: \| {cell}){{3}}(?: \| {ratio}){{2}} \|$"
    assert len(re.findall(times, text, re.M)) == 2
    found = re.findall(rf"^\| (.+) \| .* \| {cell} \| .* \| ([\d,]+) \| ([\d,]+) \| [\d.]+ \|$", text, re.M)
    rates = {name: rest for name, *rest in found}
    assert list(rates) == ["usual", "fast", "foldtune", ablation.name]
    assert all(int(finished.replace(",", "")) > 0 for finished, _ in rates.values())
    finished, complete = rates[ablation.name]
    assert finished == complete
