"""Every trial of an open study, and what a search asks at each barrier, without going through thousands of them."""

from collections import Counter
from collections.abc import Iterator, Mapping

from foldtune.search.result import best_trial
from foldtune.store.records import TrialRecord
from foldtune.values import Direction, TrialState


class Trials(Mapping[int, TrialRecord]):
    """Trials by number.

    Args:
        direction: of the first objective.
        lease: token of this search loop's lease.

    Example:
        >>> trials = Trials("minimize", lease=3)
        >>> trials.put(TrialRecord(0, "running", "default", True, {}, {}, {}, lease=3))
        >>> trials.ours("running"), dict(trials.counts)
        ([0], {'running': 1})
    """

    def __init__(self, direction: Direction, lease: int) -> None:
        self.direction, self.lease = direction, lease
        self.best: TrialRecord | None = None
        self.counts = Counter[TrialState]()
        self._all: dict[int, TrialRecord] = {}
        self._open: dict[int, TrialRecord] = {}

    def __getitem__(self, number: int) -> TrialRecord:
        return self._all[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def n_finished(self) -> int:
        """How many are complete, pruned or failed."""
        return len(self) - self.counts["running"] - self.counts["waiting"]

    def put(self, trial: TrialRecord) -> None:
        """Add a trial, or replace it by what has become of it; one that is complete stays as it is."""
        number, before = trial.number, self._all.get(trial.number)
        if before is not None:
            self.counts[before.state] -= 1
        self.counts[trial.state] += 1
        self._all[number] = trial
        self._open.pop(number, None)
        if trial.state in ("running", "waiting"):
            self._open[number] = trial
        if trial.values is not None:
            self.best = best_trial(filter(None, (self.best, trial)), self.direction)

    def ours(self, state: str) -> list[int]:
        """The numbers of this search loop's own open trials of a state, ascending."""
        return sorted(number for number, trial in self._open.items() if trial.state == state and self._is_ours(trial))

    @property
    def others(self) -> list[int]:
        """The numbers of open trials of other search loops, ascending."""
        return sorted(number for number, trial in self._open.items() if not self._is_ours(trial))

    def _is_ours(self, trial: TrialRecord) -> bool:
        return trial.lease == self.lease
