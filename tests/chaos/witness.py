"""A user's module: it has a metric, and whoever imports it in order to train writes every epoch down.

`CHAOS_EPOCHS` names the file, one line `trial repeat epoch` per epoch trained to its end; `CHAOS_SLEEP_S` says how long
each takes at least.
"""

import os
import time

import numpy as np
from numpy.typing import NDArray

from foldtune.search.trainer import Trainer
from foldtune.values import EpochReport


def hits(y_true: NDArray[np.int64], y_pred: NDArray[np.int64]) -> float:
    """The share of right answers."""
    return float((y_true == y_pred).mean())


_step = Trainer.step


def _witnessed(self: Trainer) -> list[EpochReport]:
    time.sleep(float(os.environ["CHAOS_SLEEP_S"]))
    reports = _step(self)
    lines = "".join(f"{report.trial} {report.repeat} {report.epoch}\n" for report in reports)
    file = os.open(os.environ["CHAOS_EPOCHS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, lines.encode())  # whole, whoever else appends
    os.close(file)
    return reports


if "CHAOS_EPOCHS" in os.environ:
    Trainer.step = _witnessed  # type: ignore[method-assign]
