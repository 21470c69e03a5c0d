"""`foldtune copy` on the command line; what is copied is tested with the store."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from foldtune.cli.main import app
from foldtune.errors import StoreError
from foldtune.testing import store_laws
from foldtune.testing.store_laws import make_finished, opened, same


def test_a_study_is_copied_and_a_second_time_refused(tmp_path: Path, postgres_url: str) -> None:
    here = f"sqlite:///{tmp_path / 'here.db'}"
    with opened(here) as store:
        lease = store_laws.create(store, make_finished(0, 0.1))
        store.release(lease)
        name = store.studies()[0].name
        trials = store.trials(lease.study)
    arguments = ("copy", name, "--storage", here, "--to", postgres_url)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert f"Copied {name}. Go on there with: foldtune resume {name} --storage postgresql" in done.stderr
    with opened(postgres_url) as store:
        assert same([trial.values for trial in store.trials(lease.study)], [trial.values for trial in trials])
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, StoreError) and "a study's name must be new" in str(again.exception)


@pytest.mark.parametrize("name", ["adult", "adlt"])
def test_a_study_that_is_not_there_creates_no_database(tmp_path: Path, name: str) -> None:
    here, there = (f"sqlite:///{tmp_path / file}" for file in ("here.db", "there.db"))
    with opened(here):
        pass
    done = CliRunner().invoke(app, ("copy", name, "--storage", here, "--to", there))
    assert f"there is no study '{name}'" in str(done.exception)
    assert not (tmp_path / "there.db").exists()
