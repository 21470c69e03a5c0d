"""Validation rows go through the nets piece by piece; their scores are those of all at once."""

import numpy as np
import pytest

from foldtune.testing.engine_laws import ROWS, make_config, make_job, make_setup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine, stack
from foldtune.values import Fold


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 64])
def test_scores_do_not_depend_on_the_pieces(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "ROWS_AT_ONCE", rows_at_once)
    setup, rows = make_setup(), np.arange(ROWS, dtype=np.int64)
    folds = [Fold(np.setdiff1d(rows, valid)[:10], valid) for valid in np.split(rows, [13, 20])]  # 13, 7 and 11 rows
    job = make_job(make_config(training={"epochs": 2, "batch_size": 2}), folds=folds)
    runs = [engine.start([job]) for engine in (PackedEngine(setup), LockstepEngine(setup))]
    for _ in range(2):
        packed, lockstep = ([report.scores for report in run.step()] for run in runs)
        np.testing.assert_allclose(packed, lockstep, rtol=1e-5)  # sums of float32 in another order
