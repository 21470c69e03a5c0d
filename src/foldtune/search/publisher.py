"""Keeps Optuna's tables up to date with ours: one search loop does it for all that work on a study."""

import math
import time

from foldtune.store.publishing import Copy
from foldtune.store.records import Lease
from foldtune.store.store import Store

EVERY_S = 1.0
"""How long Optuna's tables may lag behind ours."""


class Publisher:
    """Copies what changed, about once a second. The search loop with the oldest lease does; the others leave it to it.

    Args:
        store: our rows.
        lease: this search loop's.
        copy: what Optuna's tables shall show.
    """

    def __init__(self, store: Store, lease: Lease, copy: Copy) -> None:
        self.store, self.lease, self.copy = store, lease, copy
        self.checked, self.last = False, -math.inf

    def publish(self, *, now: bool = False) -> int | None:
        """Copy what changed, if it is time.

        Args:
            now: whatever the time is.

        Returns:
            The study's tick up to which the copy goes; None where nothing was done.

        Raises:
            LeaseLostError: the lease is gone.
            StoreError: another program added trials to Optuna's copy.
        """
        if not now and time.monotonic() - self.last < EVERY_S:
            return None
        self.last = time.monotonic()
        if not self.store.leads(self.lease):
            self.checked = False
            return None
        tick = self.store.publish(self.lease, self.copy, check=not self.checked)
        self.checked = True
        return tick
