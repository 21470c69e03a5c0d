"""Audits in words."""

from datetime import UTC, datetime
from io import StringIO

from rich.console import Console

from foldtune.report.audits import audits
from foldtune.search.nested import _interval
from foldtune.store.records import Finding


def test_an_outer_fold_without_a_score_leaves_the_audit_without_one() -> None:
    scores = [0.5, None, 0.6]
    interval = _interval(scores, [{"n_rows": 10, "n_train": 20}] * 3)
    content = {"metric": "roc_auc", "J": 3, "scores": {"roc_auc": None}, "fold_scores": scores, "interval": interval}
    content |= {"level": 0.95, "n_rows": 30, "looks": 1, "void": None, "cautions": []}
    out = StringIO()
    Console(file=out, width=100).print(audits([Finding("nested", None, content, 1, datetime.now(UTC))]))
    assert "roc_auc -\n" in out.getvalue().replace(" \n", "\n") and "0.5000, -, 0.6000" in out.getvalue()
