"""All of `foldtune run`: the command, its processes, suggestions, validation and storage in SQLite."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.work import LEARNING_RATE, N_SPLITS, WORKERS, Case, study_tree


class WholeRun:
    """A new study with each call; a unit is one cohort of trials. See `Trainer`."""

    def __init__(self, case: Case) -> None:
        rates = {"float": [LEARNING_RATE, 4 * LEARNING_RATE], "log": True}
        search = {"cohort": case.jobs, "pruner": {"use": "NopPruner"}, "confirm": 0}
        self.case = case
        self.tree = {**study_tree(case, lr=rates, epochs=case.trial_epochs), "search": search}
        self.trials: list[dict[str, Any]] = []

    def train(self, units: int) -> int:
        with TemporaryDirectory(prefix="foldtune-bench-") as folder:
            self.trials = self.search(Path(folder), units * self.case.jobs)
        epochs = sum(int(trial["epochs"]) for trial in self.trials)
        if epochs != units * self.case.jobs * self.case.trial_epochs:
            raise RuntimeError(f"{epochs} epochs in {len(self.trials)} trials are not what was asked for")
        return epochs * N_SPLITS

    def accuracy(self) -> float:
        return float(sum(trial["value"] for trial in self.trials) / len(self.trials))

    def search(self, folder: Path, trials: int) -> list[dict[str, Any]]:
        """Run a study of so many trials, in that folder."""
        study = folder / "study.yaml"
        study.write_text(json.dumps(self.tree), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("foldtune")), "run", str(study), "--json", "--quiet"]
        options = ["--storage", f"sqlite:///{folder / 'bench.db'}", "--trials", str(trials), "--workers", str(WORKERS)]
        done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"foldtune run ended with {done.returncode}: {done.stderr}")
        found: list[dict[str, Any]] = json.loads(done.stdout)["trials"]
        return found


def start(case: Case, index: int, processes: int) -> WholeRun:
    return WholeRun(case)
