"""What must hold once a study is done, whatever happened to it; and the figures."""

from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np
from optuna.storages import RDBStorage
from sqlalchemy import text

from foldtune.search.mirror import STATES
from foldtune.search.pool import LocalPool
from foldtune.search.result import StudyResult, load_curves, load_study
from foldtune.search.run import run_study
from foldtune.selection.winner import n_finalists
from foldtune.store.store import Store
from foldtune.testing.confirm_laws import check_same_repeats
from foldtune.testing.search_laws import check_same_trials
from foldtune.testing.store_laws import same
from foldtune.values import Job

from .arena import Arena


@dataclass(frozen=True)
class Figures:
    """What faults cost.

    Args:
        scenario: what happened.
        faults: how often.
        lost: trials that are missing or failed.
        redone: epochs trained to their end again, of all trials together.
        most: of one trial between two faults.
        duplicates: epochs stored twice, numbers given twice, and trials twice in Optuna's copy.
        seconds: of the wall clock.
    """

    scenario: str
    faults: int
    lost: int
    redone: int
    most: int
    duplicates: int
    seconds: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def check_whole(arena: Arena) -> tuple[int, int]:
    """Every trial is there once, whole, and nothing is left behind.

    Returns:
        Trials lost, and duplicates: both 0, or it raises.
    """
    result = load_study("chaos", storage=arena.url)
    ended = [trial for trial in result.trials if trial.state in ("complete", "pruned")]
    assert [trial.number for trial in result.trials] == list(range(arena.trials))
    assert len(ended) == arena.trials, [(trial.number, trial.state, trial.failure) for trial in result.trials]
    with closing(Store(arena.url)) as store, store.engine.connect() as connection:
        stored = connection.execute(text("SELECT * FROM foldtune_curves")).all()
        repeats = store.repeats(result.record.uuid)
        leases = connection.scalar(text("SELECT count(*) FROM foldtune_leases"))
    assert len(repeats) == arena.confirm * n_finalists(arena.trials)
    assert {repeat.state for repeat in repeats} <= {"complete"}
    jobs = [(trial.number, 0, trial.epochs) for trial in ended]
    jobs += [(repeat.trial, repeat.repeat, repeat.epochs) for repeat in repeats]
    wanted = {(trial, repeat, epoch) for trial, repeat, epochs in jobs for epoch in range(1, epochs + 1)}
    assert {(row.trial, row.repeat, row.epoch) for row in stored} == wanted
    assert wanted <= set(arena.trained())
    assert leases == 0
    assert arena.artifacts and [file for file in arena.artifacts.rglob("*") if file.is_file()] == []
    extra = check_copy(arena, result)
    return arena.trials - len(ended), len(stored) - len(wanted) + extra


def check_copy(arena: Arena, result: StudyResult) -> int:
    """Optuna's tables show what ours do; how many trials they have beside."""
    storage = RDBStorage(arena.url, skip_table_creation=True)
    try:
        copied = storage.get_all_trials(storage.get_study_id_from_name("chaos"))
    finally:
        storage.remove_session()
        storage.engine.dispose()
    for trial, copy in zip(result.trials, copied, strict=True):
        assert (copy.number, copy.params) == (trial.number, trial.params)
        assert copy.state == STATES[trial.state], (trial.number, trial.state, copy.state)
    return len(copied) - len(result.trials)


def check_alone(arena: Arena) -> None:
    """Every stored curve is the one that its configuration gives when it trains alone."""
    plan, result = arena.plan(), load_study("chaos", storage=arena.url)
    for trial in result.trials:
        pool = LocalPool(plan.setup("cpu"))
        pool.add(Job(trial.number, trial.config, plan.folds))
        scores = np.stack([pool.step()[0].scores for _ in range(trial.epochs)])
        assert np.array_equal(load_curves("chaos", trial.number, storage=arena.url).scores, scores, equal_nan=True)


def check_undisturbed(arena: Arena) -> None:
    """One search loop at a time: trials, decisions, curves, answers and confirmation are those of a study that nothing
    happened to."""
    url = f"sqlite:///{arena.folder}/undisturbed.db"
    whole = run_study(arena.file, storage=url, workers=0)
    result = load_study("chaos", storage=arena.url)
    check_same_trials(whole.trials, result.trials)
    assert whole.best and result.best and whole.best.number == result.best.number
    for trial in whole.trials:
        curves = load_curves("chaos", trial.number, storage=url)
        assert same(curves, load_curves("chaos", trial.number, storage=arena.url))
    with closing(Store(url)) as undisturbed, closing(Store(arena.url)) as store:
        uuids = whole.record.uuid, result.record.uuid
        repeats, again = undisturbed.repeats(uuids[0]), store.repeats(uuids[1])
        check_same_repeats(repeats, again)
        for one in repeats:
            key = one.trial, one.repeat
            assert same(undisturbed.curves(uuids[0], *key), store.curves(uuids[1], *key))
        for repeat in range(arena.confirm + 1):
            assert same(undisturbed.answers(uuids[0], repeat), store.answers(uuids[1], repeat))
