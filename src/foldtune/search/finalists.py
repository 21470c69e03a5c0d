"""Which trials are confirmed, on which fresh partitions, and how long that may take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from foldtune.errors import StoreError
from foldtune.selection.winner import to_confirm
from foldtune.spec.schema import SearchSpec
from foldtune.spec.shape import parse_section
from foldtune.store.records import RepeatRecord, StudyRecord, TrialRecord

Again = tuple[int, int]
"""A trial, and the partition that it is trained on again, from 1."""


def wanted(record: StudyRecord, trials: Iterable[TrialRecord]) -> list[Again]:
    """Everything that confirmation trains: the best trials on the first fresh partition, then on the next one.

    Nothing of a study that was created before there was confirmation, or that has several objectives.

    Args:
        record: the study's definition.
        trials: all of its trials, those that have ended and others.

    Raises:
        StoreError: what is stored cannot be asked for.
    """
    repeats = _partitions(record)
    if not repeats or len(record.directions) > 1:
        return []
    ended = [trial for trial in trials if trial.finished_at is not None]
    values = [(trial.number, trial.values[0]) for trial in ended if trial.values is not None]
    best = to_confirm(values, record.directions[0], n_trials=len(ended))
    return [(trial, repeat) for repeat in range(1, repeats + 1) for trial in best]


def _partitions(record: StudyRecord) -> int:
    """How many fresh ones a stored study asks for."""
    found = {"confirm": record.spec["search"].get("confirm", 0)}
    search, problems = parse_section(SearchSpec, found, ("search",))
    if search is None:
        raise StoreError(problems)
    return search.confirm


def missing(asked: Iterable[Again], found: Mapping[Again, RepeatRecord]) -> list[Again]:
    """What is yet to be trained. A trial that failed on one partition is out, and need not see another; a partition
    that does not suit the data is done without.

    Args:
        asked: what confirmation trains.
        found: what it has trained so far.
    """
    out = {trial for (trial, _), repeat in found.items() if repeat.state == "failed"}
    done = {again for again, repeat in found.items() if repeat.state in ("complete", "pruned")}
    return [again for again in asked if again not in done and again[0] not in out]


def by_key(repeats: Iterable[RepeatRecord]) -> dict[Again, RepeatRecord]:
    """Repeats by trial and partition."""
    return {(repeat.trial, repeat.repeat): repeat for repeat in repeats}


@dataclass(eq=False)
class Reserve:
    """How much of `search.timeout` is kept back for confirmation.

    Args:
        record: the study's definition.
        trials: all of its trials.
        cohort: trials in training at once.
    """

    record: StudyRecord
    trials: Mapping[int, TrialRecord]
    cohort: int
    _ended: int = field(default=-1, init=False)
    _seconds: float = field(default=0.0, init=False)

    def needed_s(self, ended: int, pace: float) -> float:
        """Seconds that confirmation would take now, by what the finalists themselves took; 0 without any.

        Args:
            ended: trials that have ended; the answer changes with it alone.
            pace: seconds that pass for a search loop in each second of its trials' own, with all slots in use.
        """
        if ended != self._ended:
            self._ended, self._seconds = ended, self._forecast(pace)
        return self._seconds

    def _forecast(self, pace: float) -> float:
        asked = wanted(self.record, self.trials.values())
        finalists = len({trial for trial, _ in asked})
        empty = max(1.0, self.cohort / finalists) if finalists else 0.0  # slots beside each that is used
        return pace * empty * sum(self.trials[trial].seconds for trial, _ in asked)
