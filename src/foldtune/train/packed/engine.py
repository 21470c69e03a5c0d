"""The packed engine: jobs with the same batches train as one stacked model, what cannot be stacked in lockstep."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foldtune.errors import NotPackable, TrainingError
from foldtune.spec.schema import ConfigSpec
from foldtune.train.answers import Read
from foldtune.train.curves import failed
from foldtune.train.engine import Engine, TrainingSetup
from foldtune.train.failures import is_out_of_memory
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed.check import difference
from foldtune.train.packed.choose import choose
from foldtune.train.packed.member import Member, Share
from foldtune.train.packed.memory import LEAVES, NO_MEMORY, NoMemoryError, blaming
from foldtune.train.packed.scorers import Scorers
from foldtune.train.packed.stack import Stack
from foldtune.train.packed.store import State
from foldtune.train.packed.tables import Tables
from foldtune.train.packed.tape import fits
from foldtune.train.states import epochs_of
from foldtune.values import EpochReport, Floats, Job, TrialResult


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

    def member(self, job: Job) -> Member:
        """A job ready for a pack.

        Raises:
            NotPackable: it must train in lockstep; the message says why.
        """
        config = ConfigSpec.model_validate(job.config)
        data = self.lockstep.folds_data(config, job.folds)
        member = Member(job, config, data, setup=self.setup)
        choice = choose(member)
        if self.setup.engine == "auto" and not choice.packed:
            raise NotPackable(choice.reason)
        if member.form not in self._verdicts:
            self._verdicts[member.form] = difference(
                member.config, member.shape, member.head, (member.training, member.answering)
            )
        if (reason := self._verdicts[member.form]) is not None:
            raise NotPackable(reason)
        member.reason = choice.reason
        return member


class PackedRun:
    """Live jobs in stacks; see `foldtune.train.engine.Run` for the contract.

    `reasons` says of each job outside of the stacks why it trains in lockstep. With `engine="packed"` every job that
    can be stacked is, with "auto" those that gain by it.
    """

    def __init__(self, engine: PackedEngine) -> None:
        self.engine = engine
        self.members: dict[int, Member] = {}
        self.stacks: list[Stack] = []
        self.tables = Tables(engine.setup.device, getattr(torch, engine.setup.dtype))
        self.rest = engine.lockstep.start([])
        self.reasons: dict[int, str] = {}
        self.broken: list[EpochReport] = []  # jobs that could not be built, to be reported
        self.notes: dict[int, tuple[str, ...]] = {}  # of jobs that left a stack, to be reported
        self.scorers = Scorers(engine.setup, engine.lockstep.metrics)
        self._composed = True

    def add(self, job: Job, state: Mapping[str, Any] | None = None) -> None:
        """Build it at once: the search has others to ask for meanwhile."""
        self._admit(job, state)

    def step(self) -> list[EpochReport]:
        trained = self._epoch()
        reports, self.broken = [*self.broken, *trained], []
        for report in reports:
            if report.failure is not None and report.trial in self.members:
                self._leave(report.trial)
        rest = [
            replace(report, reason=self._first_reason(report), notes=self.notes.pop(report.trial, ()) + report.notes)
            for report in self.rest.step()
        ]
        return sorted([*reports, *rest], key=lambda report: report.trial)

    def drop(self, trial: int) -> TrialResult:
        return self._leave(trial).curves.last() if trial in self.members else self.rest.drop(trial)

    def finish(self, trial: int) -> TrialResult:
        return self._leave(trial).curves.chosen() if trial in self.members else self.rest.finish(trial)

    def state_dict(self) -> dict[int, dict[str, Any]]:
        return dict(sorted((self._packed_states() | self.rest.state_dict()).items()))

    def _packed_states(self) -> dict[int, dict[str, Any]]:
        """Those of the jobs in stacks that have trained an epoch."""
        return {
            trial: member.state_dict([self._state(share) for share in member.shares])
            for trial, member in self.members.items()
            if member.curves.epoch
        }

    def _epoch(self) -> list[EpochReport]:
        """Train every stack; where one does not fit into memory, jobs leave it and the epoch begins again.

        New stacks are what runs out of memory, for one that has trained needs no more than before: the states that
        their jobs had are kept until they have.
        """
        while True:
            before = {} if self._composed else self._packed_states()
            found = self._tried()
            if isinstance(found, list):
                return found
            self._thin(found, before)

    def _tried(self) -> list[EpochReport] | tuple[int, ...]:
        """One epoch of all stacks, or the trials of the one that did not fit, whose error is gone with all it held."""
        try:
            self._compose()
            return self._train()
        except NoMemoryError as error:
            return error.trials

    def _thin(self, trials: Sequence[int], before: Mapping[int, Mapping[str, Any]]) -> None:
        """Half of a stack's jobs, those that came last, go on in lockstep; all others stand where they stood before.

        Args:
            trials: the stack's.
            before: states of jobs before the epoch; those without one are trained again from their start.
        """
        epochs = {trial: member.curves.epoch for trial, member in self.members.items()}
        jobs = {trial: member.job for trial, member in sorted(self.members.items())}
        going = sorted(trials, key=lambda trial: (-epochs[trial], trial))[len(trials) // 2 :]
        self.members, self.stacks, self._composed = {}, [], False
        self.scorers.clear()
        self.tables.keep([])
        for trial, job in jobs.items():
            engine = self.engine.lockstep if trial in going else self.engine
            state = None if trial in going else before.get(trial)
            try:
                state = state or _trained_again(engine, job, epochs[trial])
            except TrainingError as error:
                self.broken.append(failed(job, epochs[trial] + 1, len(self.engine.setup.metrics), error))
                continue
            if trial in going or (state is not None and state["engine"] == "lockstep"):
                self.rest.add(job, state)
                self.reasons[trial] = NO_MEMORY
                self.notes[trial] = (LEAVES,) if epochs[trial] else ()
            else:
                self._admit(job, state)

    def _admit(self, job: Job, state: Mapping[str, Any] | None = None) -> None:
        """Build a job with models of its own; one that cannot be built has failed."""
        epoch = epochs_of(state) + 1 if state is not None else 1
        try:
            member = self._built(job)
        except Exception as error:  # a trial's failure is recorded, whatever its kind; the study goes on
            self.broken.append(failed(job, epoch, len(self.engine.setup.metrics), error))
            return
        if member is None:
            self.rest.add(job, state)
            return
        if state is not None:
            member.load_state_dict(state)
        self.members[job.trial], self._composed = member, False

    def _built(self, job: Job) -> Member | None:
        """None where it trains in lockstep; `reasons` says why."""
        try:
            return self.engine.member(job)
        except NotPackable as reason:
            self.reasons[job.trial] = str(reason)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.reasons[job.trial] = NO_MEMORY
        return None

    def _compose(self) -> None:
        """Put the models of all jobs into stacks; stacks that nobody left or joined stay as they are."""
        if self._composed:
            return
        groups: list[list[Share]] = []
        for share in (share for _, member in sorted(self.members.items()) for share in member.shares):
            place = next((group for group in groups if _fits(share, group)), None)
            groups.append([share]) if place is None else place.append(share)
        kept = {frozenset(map(id, stack.shares)): stack for stack in self.stacks}
        same = [kept.get(frozenset(map(id, group))) for group in groups]
        for group, stack in zip(groups, same, strict=True):
            for share in group if stack is None else ():
                share.state = self._state(share)
        self.stacks = [stack or self._stack(group) for group, stack in zip(groups, same, strict=True)]
        self.tables.keep([data for member in self.members.values() for data in member.data])
        self.scorers.clear()
        self._composed = True

    def _stack(self, shares: Sequence[Share]) -> Stack:
        with blaming(share.member for share in shares):
            return Stack(shares, self.tables)

    def _state(self, share: Share) -> State:
        if share.state is not None:
            return share.state
        return next(stack for stack in self.stacks if share in stack.shares).state(share)

    def _train(self) -> list[EpochReport]:
        """One epoch of every stack, then the scores of all; an error that no job is to blame for is that of a stack."""
        began = time.perf_counter()
        losses: dict[tuple[int, int], float] = {}
        answers: dict[tuple[int, int], Tensor] = {}
        reports: dict[int, EpochReport] = {}
        for stack in self.stacks:
            try:
                with blaming(stack.members):
                    found, parts = stack.train_epoch(), stack.answers()
            except NoMemoryError:
                raise
            except Exception as error:
                for member in dict.fromkeys(stack.members):
                    reports[member.job.trial] = self._failed(member, error)
                continue
            for (share, fold, answer), loss in zip(parts, found, strict=True):
                losses[share.member.job.trial, fold], answers[share.member.job.trial, fold] = float(loss), answer
        whole = [member for trial, member in sorted(self.members.items()) if trial not in reports]
        with blaming(whole):
            scored = self.scorers.score(whole, answers)
        seconds = (time.perf_counter() - began) / max(1, len(self.members))
        for member in whole:
            trial, folds = member.job.trial, range(len(member.job.folds))
            own = np.array([losses[trial, fold] for fold in folds])
            reports[trial] = self._report(member, own, scored[trial], seconds)
        return list(reports.values())

    def _report(self, member: Member, losses: Floats, scored: tuple[Floats, Read], seconds: float) -> EpochReport:
        try:
            report = member.curves.add(losses, scored[0], seconds, scored[1])
        except Exception as error:  # a trial's failure is recorded, whatever its kind; the others go on
            return self._failed(member, error)
        others = member.curves.others()
        for share in member.shares:
            share.schedule.end_epoch([others[fold] for fold in share.folds])
        reason = member.reason if report.epoch == 1 else None
        return replace(report, engine="packed", reason=reason)

    def _failed(self, member: Member, error: Exception) -> EpochReport:
        epoch, n_metrics = member.curves.epoch + 1, len(self.engine.setup.metrics)
        return replace(failed(member.job, epoch, n_metrics, error), engine="packed")

    def _first_reason(self, report: EpochReport) -> str | None:
        return self.reasons.get(report.trial) if report.epoch == 1 else None

    def _leave(self, trial: int) -> Member:
        self._composed = False
        return self.members.pop(trial)


def _trained_again(engine: Engine, job: Job, epochs: int) -> dict[str, Any] | None:
    """A job's state after so many epochs, trained alone; None before the first.

    Raises:
        TrainingError: it failed.
    """
    run = engine.start([job])
    for _ in range(epochs):
        (report,) = run.step()
        if report.failure is not None:
            raise TrainingError(report.failure.message)
    return run.state_dict()[job.trial] if epochs else None


def _fits(share: Share, others: Sequence[Share]) -> bool:
    """Whether models may stand in one stack: the same batches, and no contradiction in the order of operations."""
    programs = [program for other in others for program in (other.member.training, other.member.answering)]
    return share.key == others[0].key and all(
        fits(program, programs) for program in (share.member.training, share.member.answering)
    )
