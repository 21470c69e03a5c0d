"""optuna-dashboard on a study of ours, over HTTP."""

import json
import threading
from pathlib import Path
from urllib.request import urlopen

import pytest

import foldtune
from foldtune.cli.dashboard import dashboard
from foldtune.dashboard import make_server
from foldtune.errors import StoreError

STUDY = {"name": "seen", "data": {"use": "iris"}, "model": "MLP", "training": {"epochs": 3}, "search": {"trials": 3}}


def test_the_dashboard_shows_a_study_of_ours(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    result = foldtune.run_study(STUDY, storage=url, workers=0)
    server = make_server(url, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/api/studies", timeout=30) as answer:
            (listed,) = json.load(answer)["study_summaries"]
        with urlopen(f"http://127.0.0.1:{server.server_port}/api/studies/{listed['study_id']}", timeout=30) as answer:
            shown = json.load(answer)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert listed["study_name"] == "seen"
    assert [trial["values"] for trial in shown["trials"]] == [list(trial.values or ()) for trial in result.trials]
    assert all(len(trial["intermediate_values"]) == 2 for trial in shown["trials"])  # epochs 1 and 3, the rungs


def test_other_addresses_are_refused() -> None:
    with pytest.raises(StoreError, match=r"has no login and binds to this machine only, however: --host 0\.0\.0\.0"):
        dashboard("sqlite:///missing.db", "0.0.0.0", 0)
