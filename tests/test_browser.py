"""optuna-dashboard on a study of ours, as a person sees it: in Chromium."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import foldtune
from foldtune.dashboard import make_server
from foldtune.search.note import HEADLINE

STUDY = {
    "name": "seen",
    "data": {"use": "iris"},
    "model": {"use": "MLP", "d_block": {"int": [4, 8]}},
    "training": {"epochs": 3},
    "search": {"trials": 6, "confirm": 0},
}


@pytest.fixture
def chromium() -> str:
    """The browser."""
    found = shutil.which("chromium")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no browser is installed: chromium")
    return found


@contextmanager
def served(url: str) -> Iterator[str]:
    """The address of a running dashboard."""
    with make_server(url, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def seen(chromium: str, folder: Path, address: str) -> str:
    """What stands on a page once its scripts have nothing more to do."""
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    command += ["--virtual-time-budget=60000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout


@pytest.mark.slow
def test_a_browser_shows_the_honest_score_beside_the_best(chromium: str, sqlite_url: str, tmp_path: Path) -> None:
    result = foldtune.run_study(STUDY, storage=sqlite_url, workers=0)
    score = result.finding("score")
    assert result.best is not None and result.best.values is not None and score is not None
    with served(sqlite_url) as address:
        study, note = (seen(chromium, tmp_path, f"{address}/dashboard/studies/1{page}") for page in ("", "/note"))
    assert f"{result.best.values[0]:.4f}"[:5] in study
    corrected = f"corrected {score.content['corrected']:.4f}"
    assert HEADLINE in study and corrected in study
    assert "residual optimism possible" in note and "naive best" in note
