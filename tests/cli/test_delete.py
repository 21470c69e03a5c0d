"""`foldtune delete`: nothing of a study is left, neither in Optuna's tables nor among the checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner, Result

from foldtune.cli import delete as module
from foldtune.cli.main import app, main
from foldtune.search import optuna_copy
from foldtune.store.artifacts import Artifacts, default_url
from foldtune.store.records import Place
from foldtune.testing import store_laws
from foldtune.testing.store_laws import opened


@pytest.fixture
def name(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A study with a copy of Optuna's and a checkpoint, beside another one."""
    monkeypatch.chdir(tmp_path)
    with opened(url) as store:
        for _ in range(2):
            lease = store_laws.create(store)
            Artifacts(default_url(url), lease.study).save(0, 1, b"weights")
            given: dict[str, Any] = {"objectives": {"log_loss": "minimize"}, "distributions": {}, "rungs": ()}
            optuna_copy.create_tables(store)
            store.publish(lease, optuna_copy.make_copy(store.studies()[-1].name, **given), check=True)
            store.release(lease)
        first, _ = (study.name for study in store.studies())
    yield first


def delete(name: str, url: str, *options: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ("delete", name, "--storage", url, *options), input=answer)


def left(url: str) -> tuple[int, int, int]:
    """How many studies are left: ours, Optuna's, and those with checkpoints."""
    storage = optuna.storages.RDBStorage(url, skip_table_creation=True)
    with opened(url) as store:
        found = (len(store.studies()), len(storage.get_all_studies()), len(list(Path(default_url(url)).iterdir())))
    storage.remove_session()
    storage.engine.dispose()
    return found


def test_everything_of_one_study_is_deleted(name: str, url: str) -> None:
    assert left(url) == (2, 2, 2)
    done = delete(name, url, "--yes")
    assert done.exit_code == 0, done.output
    assert done.stderr == f"Deleted {name}.\n"
    assert left(url) == (1, 1, 1)
    again = delete(name, url, "--yes")
    assert f"there is no study '{name}'" in str(again.exception)


def test_a_study_without_a_copy_or_checkpoints_is_deleted(sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        store.release(store_laws.create(store))
        name = store.studies()[0].name
    assert delete(name, sqlite_url, "--yes").exit_code == 0
    with opened(sqlite_url) as store:
        assert store.studies() == []


def test_nested_searches_stay_and_are_named(sqlite_url: str) -> None:
    with opened(sqlite_url) as store:
        for name in ("a.b", "a.b.nested-1-of-2", "a.b.nested-2-of-2", "a.c.nested-1-of-2", "axb.nested-1-of-2"):
            store.create_study(store_laws.make_study(name))
    done = delete("a.b", sqlite_url, "--yes")
    assert done.stderr.endswith(" its nested searches: a.b.nested-1-of-2, a.b.nested-2-of-2.\n"), done.output


@pytest.mark.parametrize("url", ["sqlite_url"], indirect=True)
def test_a_person_is_asked_and_a_script_must_say_yes(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "deleting a study must be confirmed" in str(delete(name, url).exception)
    monkeypatch.setattr(module, "_is_terminal", lambda: True)
    assert delete(name, url, answer="n\n").exit_code == 1
    assert left(url) == (2, 2, 2)
    assert delete(name, url, answer="y\n").exit_code == 0
    assert left(url) == (1, 1, 1)


@pytest.mark.parametrize("url", ["sqlite_url"], indirect=True)
def test_a_study_at_work_is_refused_and_whole(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(url) as store:
        store.acquire(store.study(name).uuid, Place("here", "", "", 7, ""), 60)
    monkeypatch.setattr("sys.argv", ["foldtune", "delete", name, "--storage", url, "--yes"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "process 7 on here is. Stop it first" in capsys.readouterr().err
    assert left(url) == (2, 2, 2)
