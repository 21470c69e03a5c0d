"""The packed engine: jobs of equal pack key train as one stacked model, all others in lockstep."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from foldtune.errors import NotPackable
from foldtune.spec.schema import ConfigSpec
from foldtune.train.curves import failed, job_of, job_state
from foldtune.train.engine import TrainingSetup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed.check import difference
from foldtune.train.packed.member import Member
from foldtune.train.packed.pack import Pack
from foldtune.values import EpochReport, Job, TrialResult


class PackedEngine:
    """Starts runs of many jobs.

    Args:
        setup: the study's data, metrics and seed.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        self.setup = setup
        self.lockstep = LockstepEngine(setup)
        self._verdicts: dict[str, str | None] = {}

    def start(self, jobs: Sequence[Job]) -> "PackedRun":
        run = PackedRun(self)
        for job in jobs:
            run.add(job)
        return run

    def restore(self, state: Mapping[str, Any]) -> "PackedRun":
        run = self.start([job_of(saved) for saved in state["waiting"]])
        run.rest = self.lockstep.restore(state["rest"])
        members = [self.member(job_of(saved)) for saved in state["packed"]]
        for member, saved in zip(members, state["packed"], strict=True):
            member.load_state_dict(saved)
        run.pack(members)
        return run

    def member(self, job: Job) -> Member:
        """A job ready for a pack.

        Raises:
            NotPackable: it must train in lockstep; the message says why.
        """
        config = ConfigSpec.model_validate(job.config)
        data = self.lockstep.folds_data(config, job.folds)
        member = Member(job, data, setup=self.setup, metrics=self.lockstep.metrics)
        text = member.recipe.text
        if text not in self._verdicts:
            self._verdicts[text] = difference(member.config, member.shape, member.head)
        if (reason := self._verdicts[text]) is not None:
            raise NotPackable(reason)
        return member


class PackedRun:
    """Live jobs in packs by pack key; see `foldtune.train.engine.Run` for the contract.

    `reasons` says of each job outside of the packs why it trains in lockstep.
    """

    def __init__(self, engine: PackedEngine) -> None:
        self.engine = engine
        self.waiting: dict[int, Job] = {}
        self.packs: dict[str, Pack] = {}
        self.rest = engine.lockstep.start([])
        self.reasons: dict[int, str] = {}

    def add(self, job: Job) -> None:
        self.waiting[job.trial] = job

    def step(self) -> list[EpochReport]:
        reports = self._admit()
        for key, pack in list(self.packs.items()):
            reports += self._step(key, pack)
        return sorted([*reports, *self.rest.step()], key=lambda report: report.trial)

    def drop(self, trial: int) -> TrialResult:
        return self._leave(trial).curves.last() if self._is_packed(trial) else self.rest.drop(trial)

    def finish(self, trial: int) -> TrialResult:
        return self._leave(trial).curves.chosen() if self._is_packed(trial) else self.rest.finish(trial)

    def state_dict(self) -> dict[str, Any]:
        live = [(pack, member) for pack in self.packs.values() for member in pack.members]
        packed = [member.state_dict(pack.stack.take(pack.rows(member))) for pack, member in live]
        waiting = [job_state(job) for job in self.waiting.values()]
        return {"waiting": waiting, "packed": packed, "rest": self.rest.state_dict()}

    def pack(self, members: Sequence[Member]) -> None:
        """Put jobs into the live packs of their keys, or start these."""
        groups: dict[str, list[Member]] = {}
        for member in members:
            groups.setdefault(member.pack_key, []).append(member)
        for key, group in groups.items():
            if key in self.packs:
                self.packs[key].add(group)
            else:
                setup = self.engine.setup
                dtype, n_metrics = getattr(torch, setup.dtype), len(setup.metrics)
                self.packs[key] = Pack(group, device=setup.device, dtype=dtype, n_metrics=n_metrics)

    def _admit(self) -> list[EpochReport]:
        """Build the jobs that wait; those that cannot be built have failed."""
        reports, members = [], []
        for trial, job in sorted(self.waiting.items()):
            try:
                members.append(self.engine.member(job))
            except NotPackable as reason:
                self.reasons[trial] = str(reason)
                self.rest.add(job)
            except Exception as error:  # a trial's failure is recorded, whatever its kind; the study goes on
                reports.append(failed(job, 1, len(self.engine.setup.metrics), error))
        self.waiting.clear()
        self.pack(members)
        return reports

    def _step(self, key: str, pack: Pack) -> list[EpochReport]:
        """One epoch of a pack; an error that no job can be blamed for is that of all."""
        n_metrics, jobs = len(self.engine.setup.metrics), [(m.job, m.curves.epoch + 1) for m in pack.members]
        try:
            reports = pack.step()
        except Exception as error:  # such as no memory for the whole pack
            pack.members = []
            reports = [failed(job, epoch, n_metrics, error) for job, epoch in jobs]
        if not pack.members:
            del self.packs[key]
        return reports

    def _is_packed(self, trial: int) -> bool:
        return any(trial in pack.first for pack in self.packs.values())

    def _leave(self, trial: int) -> Member:
        key, pack = next((key, pack) for key, pack in self.packs.items() if trial in pack.first)
        member = next(member for member in pack.members if member.job.trial == trial)
        pack.remove([trial])
        if not pack.members:
            del self.packs[key]
        return member
