"""The command line on a machine whose clock is wrong, or with leases that end soon.

`CHAOS_HOURS` shifts what Python shows as the time; `CHAOS_LEASE_S` is how long a lease holds, and a
transaction may stand still.
"""

import datetime
import os
import time
from typing import Any

from foldtune.cli.main import script
from foldtune.search import confirm, definition, loop, study
from foldtune.store import engine

_HOURS = float(os.environ.get("CHAOS_HOURS", "0"))
_real_time, _real_datetime = time.time, datetime.datetime


class _Shifted(datetime.datetime):
    """Shows another time, and is otherwise as it was."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _real_datetime.now(tz) + datetime.timedelta(hours=_HOURS)


def main() -> None:
    """Run the command line so."""
    if _HOURS:
        time.time = lambda: _real_time() + 3600 * _HOURS
        for module in (confirm, definition, loop, study):
            setattr(module, "datetime", _Shifted)  # noqa: B010
    if lease_s := os.environ.get("CHAOS_LEASE_S"):
        study.LEASE_S, engine.IDLE_S = float(lease_s), int(lease_s)
    script()
