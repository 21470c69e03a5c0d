"""Keeps Optuna's tables up to date with ours: one search loop does it for all that work on a study."""

import math
import time
from collections.abc import Mapping

from foldtune.search.optuna_copy import OptunaCopy
from foldtune.search.trials import Trials
from foldtune.store.records import Lease
from foldtune.store.store import Store

EVERY_S = 1.0
"""How long Optuna's tables may lag behind ours: a trial that begins and ends meanwhile enters them in one commit."""


class Publisher:
    """Copies what changed, about once a second. The search loop with the oldest lease does; the others leave it to it.

    Args:
        store: our rows.
        lease: this search loop's.
        copy: Optuna's tables.
        trials: every trial by number, as this search loop knows it.
        means: the fold means of their epochs.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        copy: OptunaCopy,
        trials: Trials,
        means: Mapping[int, Mapping[int, float]],
    ) -> None:
        self.store, self.lease, self.copy = store, lease, copy
        self.trials, self.means = trials, means
        self.changed: set[int] = set()
        self.epochs: dict[int, int] = {}  # copied of each trial
        self.opened, self.last = False, -math.inf

    @property
    def is_done(self) -> bool:
        """Whether this search loop copies, and has copied all that it knows."""
        return self.opened and not self.changed

    def publish(self, *, now: bool = False) -> None:
        """Copy what changed, if it is time.

        Args:
            now: whatever the time is.

        Raises:
            StoreError: another program added trials to Optuna's copy.
        """
        if not now and time.monotonic() - self.last < EVERY_S:
            return
        self.last = time.monotonic()
        if not self.store.leads(self.lease):
            self.opened = False
        elif self.opened and not self._reopened():
            self._update()
        else:
            self._open()
        self.changed.clear()

    def _open(self) -> None:
        self.copy.open([self.trials[number] for number in range(self.trials.begun)], self.means)
        self.opened, self.epochs = True, {}

    def _update(self) -> None:
        begun = self.trials.begun
        self.changed.update(range(len(self.copy.ids), begun))
        for number in sorted(number for number in self.changed if number < begun):
            trial, done = self.trials[number], self.epochs.get(number, 0)
            self.copy.update(trial, {epoch: mean for epoch, mean in self.means[number].items() if epoch > done})
            self.epochs[number] = trial.epochs

    def _reopened(self) -> bool:
        """Whether a trial that has ended for Optuna is tried again."""
        return any(self.copy.is_tried_again(self.trials[number]) for number in self.changed)
