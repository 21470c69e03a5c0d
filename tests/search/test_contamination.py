"""Parameters that another search found on the locked rows void an audit; their origin is looked for in the database."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from foldtune.search.locked_test import run_test
from foldtune.search.run import run_study
from foldtune.store.records import Finding
from tests.search.audits import noise, study

FOUND = {"model.d_block": 9, "optimizer.lr": 0.01}


def searched(url: str, name: str, enqueue: Any, **data: Any) -> None:
    tree = study(name=name, data={"arrays": noise(), "test_fraction": 0.25, **data})
    tree["search"] = {**tree["search"], "enqueue": enqueue}
    run_study(tree, storage=url, workers=0, overrides=["search.trials=2"])


def scored(url: str, name: str, enqueue: Any, **data: Any) -> Finding:
    searched(url, name, enqueue, **data)
    return run_test(name, again=True, storage=url, data=noise())


def sampled(url: str, name: str = "first", **sections: Any) -> dict[str, Any]:
    """Parameters that a search found."""
    trials = run_study(study(name=name, **sections), storage=url, workers=0, overrides=["search.trials=3"]).trials
    return dict(trials[2].params)


def test_parameters_found_on_the_locked_rows_void_the_test(sqlite_url: str) -> None:
    params = sampled(sqlite_url, data={"arrays": noise()})
    found = scored(sqlite_url, "warm", [params])
    assert found.content["void"] == "it began with parameters that trial 2 of first found on the same rows"
    assert found.content["scores"]["accuracy"] is not None, "the score stands beside it"


def test_parameters_found_with_the_same_rows_locked_do_not(sqlite_url: str) -> None:
    params = sampled(sqlite_url)
    content = scored(sqlite_url, "warm", [params]).content
    assert content["void"] is None
    assert content["cautions"] == [
        "Nobody knows where the parameters of 1 enqueued trial come from: found on these rows, they void the score."
    ]


def test_other_data_and_favourites_do_not(sqlite_url: str) -> None:
    params = sampled(sqlite_url, data={"arrays": noise(seed=1)})
    assert scored(sqlite_url, "other-data", [params]).content["void"] is None
    scored(sqlite_url, "early", [FOUND, {"optimizer.lr": 0.02}])
    for name in ("early", "favourites"):  # a list that is tried everywhere was found nowhere
        tree = study(name=f"{name}-again", data={"arrays": noise()})
        tree["search"] = {**tree["search"], "enqueue": [FOUND]}
        run_study(tree, storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    assert scored(sqlite_url, "late", [FOUND]).content["void"] is None


def test_nothing_else_of_other_studies_is_read(sqlite_url: str) -> None:
    params = sampled(sqlite_url, data={"arrays": noise()})
    searched(sqlite_url, "warm", [params])
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE foldtune_studies SET spec = 'damaged' WHERE id = 1")
        connection.execute("UPDATE foldtune_folds SET train = 'damaged' WHERE study_id = 1")
        connection.execute("UPDATE foldtune_trials SET config = 'damaged' WHERE study_id = 1")
    content = run_test("warm", storage=sqlite_url, data=noise()).content
    assert content["void"] == "it began with parameters that trial 2 of first found on the same rows"


def test_what_is_found_later_does_not(sqlite_url: str, tmp_path: Path) -> None:
    elsewhere = sampled(f"sqlite:///{tmp_path}/elsewhere.db", data={"arrays": noise()})
    tree = study(name="early")
    tree["search"] = {**tree["search"], "enqueue": [elsewhere]}
    run_study(tree, storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    assert sampled(sqlite_url, data={"arrays": noise()}) == elsewhere
    content = run_test("early", storage=sqlite_url, data=noise()).content
    assert content["void"] is None and len(content["cautions"]) == 1


def test_the_defaults_bring_nothing_in(sqlite_url: str) -> None:
    content = scored(sqlite_url, "defaults", [{}]).content
    assert content["void"] is None and content["cautions"] == []
    assert scored(sqlite_url, "nothing", []).content["cautions"] == []


def test_a_file_of_another_study_is_told_by_its_parameters(sqlite_url: str, tmp_path: Path) -> None:
    result = run_study(study(name="first", data={"arrays": noise()}), storage=sqlite_url, workers=0)
    (tmp_path / "first.json").write_text(json.dumps(result.to_dict()))
    found = scored(sqlite_url, "warm", str(tmp_path / "first.json"))
    assert "of first found on the same rows" in str(found.content["void"])


@pytest.mark.parametrize("extra", [True, False])
def test_a_wider_space_hides_nothing(sqlite_url: str, extra: bool) -> None:
    narrow = {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 32]}}
    params = sampled(sqlite_url, data={"arrays": noise()}, model=narrow)
    tree = study(name="wide", model={**narrow, "dropout": {"float": [0.0, 0.5]}} if extra else narrow)
    tree["search"] = {**tree["search"], "enqueue": [params]}
    run_study(tree, storage=sqlite_url, workers=0, overrides=["search.trials=2"])
    assert run_test("wide", storage=sqlite_url, data=noise()).content["void"] is not None
