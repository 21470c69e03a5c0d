"""A study's outcome, read from the store: what Python gets, and what `--json` prints."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foldtune.errors import StoreError
from foldtune.spec.schema import SearchSpec
from foldtune.store.codec import DAMAGED
from foldtune.store.records import Curves, Finding, FindingKind, StudyRecord, TrialRecord
from foldtune.store.store import Store
from foldtune.train.stopping import fold_mean
from foldtune.values import Direction

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Version of the document that `to_dict` gives."""


@dataclass(frozen=True, eq=False)
class StudyResult:
    """A study and its trials as they are stored.

    Args:
        record: the study's definition.
        trials: every trial, in number order.
        ending: why the search ended, when it was run just now: budget, patience, timeout, exhausted, interrupted.
        findings: what was found out about it, the oldest first.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from foldtune import run_study
        >>> tree = {"name": "doc", "data": {"use": "iris"}, "model": "MLP", "training": {"epochs": 1}}
        >>> with TemporaryDirectory() as folder:
        ...     storage = f"sqlite:///{folder}/foldtune.db"
        ...     _ = run_study(tree, storage=storage, workers=0, overrides=["search.trials=2"])
        ...     result = load_study("doc", storage=storage)
        >>> result.finished, sorted(result.best.params)
        (2, ['optimizer.lr', 'optimizer.weight_decay'])
    """

    record: StudyRecord
    trials: tuple[TrialRecord, ...]
    ending: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def budget(self) -> int:
        """Trials in all."""
        search = self.record.spec.get("search")
        trials = search.get("trials", SearchSpec().trials) if isinstance(search, dict) else None
        if not isinstance(trials, int):
            place = ("foldtune_studies", "spec", "search", "trials")
            raise StoreError.of(place, "a stored study must say how many trials it may have", trials, DAMAGED)
        return trials

    @property
    def finished(self) -> int:
        """Trials that are complete, pruned or failed."""
        return sum(trial.finished_at is not None for trial in self.trials)

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of the best first value; None without one."""
        return best_trial(self.trials, self.record.directions[0])

    @property
    def audits(self) -> tuple[Finding, ...]:
        """Scores on rows that the search never saw, the oldest first."""
        return tuple(finding for finding in self.findings if finding.kind in ("test", "nested"))

    def finding(self, kind: FindingKind) -> Finding | None:
        """The newest of its kind."""
        return next((finding for finding in reversed(self.findings) if finding.kind == kind), None)

    @property
    def warnings(self) -> list[dict[str, str]]:
        """What was doubtful before anything was trained: `path` in the study file, and `message`."""
        found = self.finding("warnings")
        with of_ours():
            return [] if found is None else list(found.content["warnings"])

    def ranked(self) -> list[TrialRecord]:
        """Complete trials from best to worst, then pruned ones by how far they came, then the others."""
        sign = 1.0 if self.record.directions[0] == "minimize" else -1.0
        order = {"complete": 0, "pruned": 1, "running": 2, "waiting": 3, "failed": 4}

        def key(trial: TrialRecord) -> tuple[int, int, float, int]:
            depth = -trial.epochs if trial.state == "pruned" else 0
            return order[trial.state], depth, sign * (value(trial) or 0.0), trial.number

        return sorted(self.trials, key=key)

    def frame(self) -> "pd.DataFrame":
        """One row per trial: number, state, value, every metric's mean over folds, epochs, seconds and parameters."""
        import pandas as pd

        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                "value": value(trial),
                **metric_means(self.record, trial),
                "epochs": trial.epochs,
                "seconds": trial.seconds,
                **trial.params,
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows).set_index("number") if rows else pd.DataFrame()

    def to_dict(self) -> dict[str, Any]:
        """The document that `--json` prints, floats as stored."""
        best, confirmed, calibrated = self.best, self.finding("confirmation"), self.finding("calibration")
        return {
            "format": FORMAT,
            "study": self.name,
            "objective": list(self.record.objectives),
            "direction": list(self.record.directions),
            "budget": {"trials": self.budget, "finished": self.finished},
            "best": None if best is None else _document(best, ("number", "value", "values", "params")),
            "score": _score(self.finding("score")),
            "confirmation": confirmed and finding_document(confirmed),
            "calibration": calibrated and finding_document(calibrated),
            "audits": [finding_document(audit) for audit in self.audits],
            "warnings": self.warnings,
            "trials": [_document(trial, TRIAL_KEYS) for trial in self.trials],
        }


@contextmanager
def of_ours() -> Iterator[None]:
    """Read what findings say.

    Raises:
        StoreError: they are not as foldtune writes them.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration) as error:
        place = ("foldtune_findings", "content")
        raise StoreError.of(place, "a stored finding must be one of foldtune's", repr(error), DAMAGED) from error


SCORE_KEYS = "naive corrected interval level label".split()
TRIAL_KEYS = "number state value values params fold_values epochs seconds engine failure".split()


def load_study(name: str, *, storage: str = "sqlite:///foldtune.db") -> StudyResult:
    """A stored study's outcome. Nothing is written, and neither torch nor the data are needed.

    Args:
        name: the study's name.
        storage: SQLAlchemy URL of the database.

    Raises:
        StoreError: there is no such database or study.
    """
    store = Store(storage, create=False)
    try:
        return read_result(store, name)
    finally:
        store.close()


def read_result(store: Store, name: str, ending: str | None = None) -> StudyResult:
    """A study's outcome from an open store."""
    record = store.study(name)
    return StudyResult(record, tuple(store.trials(record.uuid)), ending, tuple(store.findings(record.uuid)))


def load_curves(name: str, number: int, *, storage: str = "sqlite:///foldtune.db") -> Curves:
    """Losses and metrics of every epoch and fold of one trial."""
    store = Store(storage, create=False)
    try:
        return store.curves(store.study(name).uuid, number)
    finally:
        store.close()


def best_trial(trials: Iterable[TrialRecord], direction: Direction) -> TrialRecord | None:
    """The complete trial of the best first value; the earliest of equals."""
    sign = 1.0 if direction == "minimize" else -1.0
    complete = ((sign * trial.values[0], trial.number, trial) for trial in trials if trial.values is not None)
    return min(complete, key=lambda found: found[:2], default=(0, 0, None))[2]


def value(trial: TrialRecord) -> float | None:
    """A complete trial's value, or the last fold mean of a pruned one."""
    values = trial_values(trial, 1)
    return values[0] if values else None


def trial_values(trial: TrialRecord, n_objectives: int) -> list[float] | None:
    """A complete trial's values, or the last fold means of a pruned one."""
    if trial.values is not None:
        return list(trial.values)
    if trial.scores is None:
        return None
    return [fold_mean(trial.scores[:, column]) for column in range(n_objectives)]


def metric_means(record: StudyRecord, trial: TrialRecord) -> Mapping[str, float]:
    """Every metric's mean over folds, at the epochs that count."""
    if trial.scores is None:
        return {}
    return {label: fold_mean(trial.scores[:, column]) for column, label in enumerate(record.metrics)}


@of_ours()
def _score(finding: Finding | None) -> dict[str, Any] | None:
    """The honest score; null where there is none, or nothing to correct. Its interval is null for a fold correction."""
    if finding is None or finding.content["corrected"] is None:
        return None
    return _sayable({key: finding.content[key] for key in SCORE_KEYS})


@of_ours()
def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding with its kind, its trial and its date, as `--json` prints it."""
    date = finding.created_at.isoformat()
    return {"finding": finding.kind, "trial": finding.trial, "date": date, **_sayable(finding.content)}


def _sayable(content: dict[str, Any]) -> dict[str, Any]:
    """The same; a ValueError where JSON cannot say it."""
    json.dumps(content, allow_nan=False)
    return content


def _document(trial: TrialRecord, keys: Sequence[str]) -> dict[str, Any]:
    values = trial_values(trial, len(trial.values or (0,)))
    failure = trial.failure and {"kind": trial.failure.kind, "message": trial.failure.message}
    everything = {
        "number": trial.number,
        "state": trial.state,
        "value": values[0] if values else None,
        "values": values,
        "params": trial.params,
        "fold_values": None if trial.scores is None else trial.scores[:, 0].tolist(),
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "engine": trial.engine,
        "failure": failure,
    }
    return {key: everything[key] for key in keys}
