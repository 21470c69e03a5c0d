"""The locked rows: scored once, by a net that knows nothing of them; every look is counted."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.errors import DataError, ResumeError, StoreError
from foldtune.search import locked_test
from foldtune.search.locked_test import run_test
from foldtune.search.result import load_study
from foldtune.search.run import run_study
from foldtune.store.records import Finding
from foldtune.store.store import Store
from foldtune.train.fold_trainer import FoldTrainer
from foldtune.values import Floats, OutOfFold
from tests.search.audits import N_ROWS, noise, study


def searched(url: str, **sections: Any) -> dict[str, Any]:
    """A finished study; its arrays."""
    tree = study(**sections)
    run_study(tree, storage=url, workers=0)
    arrays: dict[str, Any] = tree["data"]["arrays"]
    return arrays


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one finished study."""
    file = tmp_path_factory.mktemp("finished") / "study.db"
    run_study(study(), storage=f"sqlite:///{file}", workers=0)
    return file


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> str:
    """The URL of a copy of it."""
    return f"sqlite:///{shutil.copy(finished, tmp_path / 'study.db')}"


@pytest.mark.slow
def test_noise_stays_noise_on_locked_rows(sqlite_url: str) -> None:
    arrays = noise(400)
    searched(sqlite_url, data={"arrays": arrays, "test_fraction": 0.5}, training={"epochs": 8, "batch_size": 32})
    found = run_test("noise", storage=sqlite_url, data=arrays)
    score, (low, high) = found.content["scores"]["accuracy"], found.content["interval"]
    assert abs(score - 0.5) < 2 * 0.5 / np.sqrt(200) and low < 0.5 < high
    assert low < score < high and high - low == pytest.approx(4 * 0.5 / np.sqrt(200), rel=0.25)
    best = load_study("noise", storage=sqlite_url).best
    assert best is not None and best.values is not None and best.values[0] > 0.5
    assert (found.trial, found.content["n_rows"], found.content["n_train"]) == (best.number, 200, 200)


def test_the_search_never_sees_a_locked_row_and_the_test_trains_on_none(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, trained = _spy(monkeypatch)
    arrays = searched(sqlite_url)
    locked = set(load_study("noise", storage=sqlite_url).record.locked.tolist())
    assert len(locked) == N_ROWS / 4 and given == set(range(N_ROWS)) - locked
    given.clear()
    trained.clear()
    found = run_test("noise", storage=sqlite_url, data=arrays)
    assert trained == set(range(N_ROWS)) - locked and given == set(range(N_ROWS))
    assert found.content["n_rows"] == len(locked)


def test_locked_rows_decide_on_nothing(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[OutOfFold] = []
    interval = locked_test._interval

    def noted(plan: Any, dataset: Any, fold: Any, found: OutOfFold) -> Any:
        answers.append(found)
        return interval(plan, dataset, fold, found)

    monkeypatch.setattr(locked_test, "_interval", noted)
    monkeypatch.setattr("foldtune.search.refit.refit_epoch", lambda means, direction, eligible: 8)
    scores = []
    for name, flipped in (("one", False), ("other", True)):
        arrays = noise()
        arrays["t"] = np.arange(N_ROWS)
        arrays["y"][-N_ROWS // 4 :] ^= flipped
        data = {"arrays": arrays, "time": "t", "test_fraction": 0.25}
        scheduler = {"use": "ReduceLROnPlateau", "patience": 0, "factor": 0.1}
        stopping = {"early_stopping": {"patience": 1}}
        given: dict[str, Any] = {"scheduler": scheduler, "regularization": stopping, "objective": "log_loss"}
        given |= {"validation": {"use": "TimeSeriesSplit", "n_splits": 3}, "training": {"epochs": 8, "batch_size": 16}}
        searched(sqlite_url, name=name, data=data, **given)
        scores.append(run_test(name, storage=sqlite_url, data=arrays).content["scores"]["accuracy"])
    assert np.array_equal(answers[0].answers, answers[1].answers), "the net depends on locked targets"
    assert scores[0] == pytest.approx(1 - scores[1])


def test_the_refit_trains_to_its_epoch_of_the_planned_schedule(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = searched(sqlite_url, scheduler={"use": "CosineAnnealingLR"})
    monkeypatch.setattr("foldtune.search.refit.refit_epoch", lambda means, direction, eligible: 2)
    rates: list[float] = []
    train = FoldTrainer.train_epoch

    def noted(trainer: FoldTrainer, epoch: int) -> float:
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return train(trainer, epoch)

    monkeypatch.setattr(FoldTrainer, "train_epoch", noted)
    monkeypatch.setattr("foldtune.search.locked_test.make_engine", _lockstep)
    found = run_test("noise", storage=sqlite_url, data=arrays)
    assert (found.content["epoch"], found.content["planned"]) == (2, 3)
    assert rates[1] / rates[0] == pytest.approx((1 + np.cos(np.pi / 3)) / 2)


def test_a_second_look_is_asked_for_and_stays_visible(done: str) -> None:
    arrays = noise()
    first = run_test("noise", storage=done, data=arrays)
    for trial in (None, 0):
        with pytest.raises(
            ResumeError, match=r"locked rows are looked at once, however: trial \d of noise was .* --again"
        ):
            run_test("noise", storage=done, data=arrays, trial=trial)
    other = next(trial.number for trial in load_study("noise", storage=done).trials if trial.number != first.trial)
    second = run_test("noise", storage=done, data=arrays, trial=other, again=True)
    audits = load_study("noise", storage=done).to_dict()["audits"]
    assert [(audit["finding"], audit["trial"], audit["looks"]) for audit in audits] == [
        ("test", first.trial, 1),
        ("test", second.trial, 2),
    ]
    assert [audit["winner"] for audit in audits] == [True, False]
    assert audits[0]["scores"] == first.content["scores"] and audits[0]["void"] is None


def test_a_fork_looks_at_the_same_rows(done: str) -> None:
    arrays = noise()
    run_test("noise", storage=done, data=arrays)
    searched(done, name="fork", training={"epochs": 2, "batch_size": 32})
    with pytest.raises(ResumeError, match=r"looked at once, however: trial \d of noise was"):
        run_test("fork", storage=done, data=arrays)
    assert run_test("fork", storage=done, data=arrays, again=True).content["looks"] == 2
    searched(done, name="elsewhere", search={**study()["search"], "seed": 1})
    assert run_test("elsewhere", storage=done, data=arrays).content["looks"] == 1, "its rows are others"


@pytest.mark.parametrize("again", [False, True])
def test_of_two_looks_at_once_the_one_that_is_recorded_first_is_the_first(done: str, again: bool) -> None:
    arrays, others = noise(), list[Finding]()

    def meanwhile(epoch: int, epochs: int) -> None:
        if not others:
            others.append(run_test("noise", storage=done, data=arrays))

    if again:
        found = run_test("noise", storage=done, data=arrays, watch=meanwhile, again=True)
        assert [look.content["looks"] for look in (*others, found)] == [1, 2]
    else:
        with pytest.raises(ResumeError, match=r"locked rows are looked at once, however: trial \d of noise was"):
            run_test("noise", storage=done, data=arrays, watch=meanwhile)
    audits = load_study("noise", storage=done).audits
    assert [audit.content["looks"] for audit in audits] == [1, 2][: 1 + again] and audits[0] == others[0]


def test_rows_of_a_file_are_looked_at_once_too(sqlite_url: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(noise()["X"]).assign(y=noise()["y"])
    frame[:64].to_csv(tmp_path / "rows.csv", index=False)
    frame[64:].to_csv(tmp_path / "locked.csv", index=False)
    data = {"table": str(tmp_path / "rows.csv"), "target": "y", "test": str(tmp_path / "locked.csv")}
    run_study(study(data=data), storage=sqlite_url, workers=0)
    found = run_test("noise", storage=sqlite_url)
    assert (found.content["n_train"], found.content["n_rows"]) == (64, N_ROWS - 64)
    with pytest.raises(ResumeError, match="looked at once"):
        run_test("noise", storage=sqlite_url)


def test_groups_are_drawn_whole_and_few_are_told(sqlite_url: str) -> None:
    arrays = {**noise(), "g": np.repeat(np.arange(N_ROWS // 4), 4)}
    arrays["y"] = arrays["X"][:, 1] + np.repeat(np.random.default_rng(3).standard_normal(N_ROWS // 4), 4)
    data = {"arrays": arrays, "group": "g", "test_fraction": 0.25}
    given = {"validation": {"use": "GroupKFold", "n_splits": 3}, "objective": "mean_squared_error"}
    run_study(study(data=data, **given), storage=sqlite_url, workers=0)
    content = run_test("noise", storage=sqlite_url, data=arrays).content
    low, high = content["interval"]
    assert low < content["scores"]["mean_squared_error"] < high
    assert content["cautions"] == ["Only 6 groups could be resampled: the interval is rough."]


def test_the_same_look_gives_the_same_score(done: str) -> None:
    arrays = noise()
    one, two = (run_test("noise", storage=done, data=arrays, again=again) for again in (False, True))
    assert {**two.content, "looks": 1} == one.content


def test_a_look_that_died_before_its_score_does_not_count(done: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = noise()
    with monkeypatch.context() as patched:
        patched.setattr(locked_test, "row_interval", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run_test("noise", storage=done, data=arrays)
    assert load_study("noise", storage=done).audits == ()
    assert run_test("noise", storage=done, data=arrays).content["looks"] == 1


def test_what_cannot_be_tested_is_refused(sqlite_url: str) -> None:
    arrays = searched(sqlite_url, data={"arrays": noise()})
    with pytest.raises(DataError, match=r"rows must be locked away for a test\. Write `test_fraction: 0.2`"):
        run_test("noise", storage=sqlite_url, data=arrays)
    searched(sqlite_url, name="locked")
    with pytest.raises(StoreError, match="there is no trial 99 in the study"):
        run_test("locked", storage=sqlite_url, data=arrays, trial=99)
    with pytest.raises(ResumeError, match="data: the stored study was made on other data"):
        run_test("locked", storage=sqlite_url, data=noise(seed=1))
    assert load_study("locked", storage=sqlite_url).audits == ()


def test_the_confirmed_winner_is_tested_and_the_preferred_one_before_it(sqlite_url: str) -> None:
    arrays = searched(sqlite_url, search={"trials": 10, "cohort": 3, "confirm": 1})
    best = load_study("noise", storage=sqlite_url).best
    assert best is not None
    with closing(Store(sqlite_url)) as store:
        record = store.study("noise")
        (confirmed,) = store.findings(record.uuid, "confirmation")
        other = next(one["number"] for one in confirmed.content["ranked"] if one["number"] != best.number)
        preferred = {"by": "simple", "number": other, "given_up": 0.01, "costs": {}}
        for winner, choice in ((other, None), (best.number, preferred)):
            content = {**confirmed.content, "winner": winner, "preferred": choice}
            tick = store.changes(record.uuid, -1).tick + 1
            store.keep(record.uuid, replace(confirmed, trial=winner, content=content, tick=tick))
            assert run_test("noise", storage=sqlite_url, data=arrays, again=True).trial == other


def _spy(monkeypatch: pytest.MonkeyPatch) -> tuple[set[int], set[int]]:
    """Numbers of the rows that engines are given, and of those that nets train on."""
    from foldtune.data import preprocess

    given: set[int] = set()
    trained: set[int] = set()
    fit = preprocess.fit_fold

    def noted(dataset: Any, spec: Any, fold: Any, **options: Any) -> Any:
        given.update(dataset.numeric[:, 0].astype(int).tolist())
        trained.update(dataset.numeric[fold.train, 0].astype(int).tolist())
        return fit(dataset, spec, fold, **options)

    monkeypatch.setattr(preprocess, "fit_fold", noted)
    return given, trained


def _lockstep(setup: Any) -> Any:
    from foldtune.train.lockstep import LockstepEngine

    return LockstepEngine(setup)


def _raise(error: BaseException) -> Callable[..., Floats]:
    def fail(*given: Any, **options: Any) -> Floats:
        raise error

    return fail
