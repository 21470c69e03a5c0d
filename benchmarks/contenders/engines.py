"""foldtune's engines alone: no search, no storage."""

from benchmarks.work import LEARNING_RATE, N_SPLITS, Case, study_tree
from foldtune import load_spec
from foldtune.search.plan import Plan, make_plan
from foldtune.train.engine import Run
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine
from foldtune.values import EpochReport, Job

ENDLESS = 1_000_000
"""Epochs of a job that never ends by itself."""


class EngineRun:
    """Live jobs of one run; see `Trainer`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reports: list[EpochReport] = []

    def train(self, units: int) -> int:
        for _ in range(units):
            self.reports = self.run.step()
            for report in self.reports:
                if report.failure is not None:
                    raise RuntimeError(f"trial {report.trial} failed: {report.failure.traceback}")
        return units * len(self.reports) * N_SPLITS

    def accuracy(self) -> float:
        return float(sum(report.scores[:, 0].mean() for report in self.reports) / len(self.reports))


def plan_of(case: Case) -> Plan:
    """A case as a study whose trials never end."""
    return make_plan(load_spec(study_tree(case, epochs=ENDLESS)))


def jobs_of(plan: Plan, numbers: range) -> list[Job]:
    """Trials of different learning rates."""
    rates = {number: LEARNING_RATE * (1 + number / 4) for number in numbers}
    optimizer = plan.space["optimizer"]
    return [
        Job(number, {**plan.space, "optimizer": {**optimizer, "lr": rates[number]}}, plan.folds) for number in rates
    ]


def packed(case: Case, index: int, processes: int) -> EngineRun:
    """Every `processes`-th job of the case as a pack."""
    plan = plan_of(case)
    return EngineRun(PackedEngine(plan.setup("cpu")).start(jobs_of(plan, range(index, case.jobs, processes))))


def lockstep(case: Case, index: int, processes: int) -> EngineRun:
    """One job: the time of a model-epoch does not depend on how many there are."""
    plan = plan_of(case)
    return EngineRun(LockstepEngine(plan.setup("cpu")).start(jobs_of(plan, range(index, index + 1))))
