"""What `foldtune trial` says of a trial that failed, and that it can be tried again."""

import json
from pathlib import Path

import pytest
from torch import Tensor, nn
from typer.testing import CliRunner

from foldtune.cli.main import app

STUDY = f"""
name: bad
data: {{use: iris}}
model: {{use: "{__name__}:Breaking"}}
training: {{epochs: 1}}
search: {{trials: 1, cohort: 1}}
"""


class Breaking(nn.Linear):
    """Breaks in training alone, where no check sees it."""

    broken = True

    def forward(self, x: Tensor) -> Tensor:
        if self.broken and self.training and len(x) > 20:
            raise ValueError("a mistake of the user's")
        return super().forward(x)


def test_a_failed_trial_says_why_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY)
    runner = CliRunner()
    run = ["run", "study.yaml", "--workers", "0", "--quiet"]
    assert runner.invoke(app, run).exit_code == 1
    assert "failed: user code" in runner.invoke(app, ["show", "bad"]).stdout
    text = runner.invoke(app, ["trial", "bad", "0"]).stdout
    assert "failed (user code): ValueError: a mistake of the user's" in text
    assert '    raise ValueError("a mistake of the user\'s")\n' in text
    assert "Try again: foldtune resume bad --retry-failed\n" in text
    monkeypatch.setattr(Breaking, "broken", False)
    assert runner.invoke(app, [*run, "--retry-failed"]).exit_code == 0
    document = json.loads(runner.invoke(app, ["trial", "bad", "0", "--json"]).stdout)
    assert (document["state"], document["failure"]) == ("complete", None)
    assert [failure["kind"] for failure in document["earlier_failures"]] == ["user code"]
    assert "attempt 1 failed (user code)" in runner.invoke(app, ["trial", "bad", "0"]).stdout
