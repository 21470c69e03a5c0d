"""A study watched through its rows alone, while others search."""

import time
from collections import Counter

from foldtune.search.finalists import Again, by_key, missing, wanted
from foldtune.search.result import StudyResult, best_trial
from foldtune.search.status import RunningTrial, Status, news, news_again, planned
from foldtune.store.records import RepeatRecord, TrialRecord
from foldtune.store.store import Store


class Spectator:
    """Reads what is new about a study each time it is asked, and writes nothing.

    Args:
        store: where its rows are.
        name: the study's name.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.record = store, store.study(name)
        self.trials: dict[int, TrialRecord] = {}
        self.means: dict[int, dict[int, float]] = {}
        self.confirmed: set[Again] = set()
        self.tick, self.began, self._finished_before = -1, time.monotonic(), 0
        self._finished_before = self.look().finished

    def look(self) -> Status:
        """The study as it stands."""
        changes = self.store.changes(self.record.uuid, self.tick)
        ended = [trial for trial in changes.trials if trial.finished_at is not None]
        fresh = [trial for trial in ended if trial.number not in self._finished]
        self.tick = changes.tick
        self.trials |= {trial.number: trial for trial in changes.trials}
        self.means |= {trial.number: dict(changes.means.get(trial.number, {})) for trial in changes.trials}
        return self._status(fresh)

    @property
    def _finished(self) -> set[int]:
        return {trial.number for trial in self.trials.values() if trial.finished_at is not None}

    def _status(self, fresh: list[TrialRecord]) -> Status:
        """The status with a line for each trial that has ended since."""
        objective, budget = self.record.objectives[0], StudyResult(self.record, ()).budget
        best = best_trial(self.trials.values(), self.record.directions[0])
        spent, finished = time.monotonic() - self.began, len(self._finished)
        here = finished - self._finished_before
        running = [self._running(trial) for trial in self.trials.values() if trial.state == "running"]
        asked = wanted(self.record, self.trials.values()) if finished == len(self.trials) else []
        again = self.store.repeats(self.record.uuid) if asked else []
        return Status(
            study=self.record.name,
            objective=objective,
            budget=budget,
            counts=dict(Counter(trial.state for trial in self.trials.values())),
            running=tuple(running) or tuple(self._again(repeat) for repeat in again if repeat.state == "running"),
            best=(best.number, best.values[0]) if best and best.values else None,
            seconds=spent,
            remaining_s=max(0, budget - finished) * spent / here if here else None,
            news=tuple(news(trial, objective) for trial in fresh) + self._news_again(again),
            confirming=(len(asked) - len(missing(asked, by_key(again))), len(asked)) if asked else None,
        )

    def _news_again(self, again: list[RepeatRecord]) -> tuple[str, ...]:
        """A line for each confirmation that has ended since."""
        ended = by_key(repeat for repeat in again if repeat.finished_at is not None)
        fresh = [repeat for key, repeat in ended.items() if key not in self.confirmed]
        self.confirmed |= set(ended)
        return tuple(news_again(repeat, self.record.objectives[0]) for repeat in fresh)

    def _running(self, trial: TrialRecord) -> RunningTrial:
        mean = self.means[trial.number].get(trial.epochs)
        return RunningTrial(trial.number, trial.epochs, planned(trial), len(self.record.folds), mean)

    def _again(self, repeat: RepeatRecord) -> RunningTrial:
        epochs, folds = planned(self.trials[repeat.trial]), len(self.record.folds)
        return RunningTrial(repeat.trial, repeat.epochs, epochs, folds, None, repeat.repeat)
