"""What a person is told of a study whose labels are noise: nothing that is not so. And how trials are compared."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna_dashboard import get_note, save_note
from typer.testing import CliRunner, Result

import foldtune
from foldtune.cli.main import app
from foldtune.errors import RequestError
from foldtune.search.note import HEADING
from foldtune.search.status import Status

STUDY = """
name: noise
data: {arrays: noise.npz}
objective: accuracy
model: {use: MLP, d_block: {int: [4, 32]}, dropout: {float: [0, 0.5]}}
optimizer: {use: AdamW, lr: {float: [1e-3, 1e-1], log: true}}
training: {epochs: 2}
search: {trials: 12}
"""
CLAIM = re.compile(r"\b(better|worse|improve\w*|significant\w*|effect\w*|proves?|stands out)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a searched study of noise, and what `run` printed."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    np.savez(folder / "noise.npz", X=generator.normal(size=(120, 4)), y=generator.permutation(np.arange(120) % 2))
    (folder / "noise.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ran = CliRunner().invoke(app, ["run", "noise.yaml", "--workers", "0", "--quiet"])
    assert ran.exit_code == 0, ran.output
    return folder, ran.stdout


@pytest.fixture
def noise(searched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `run` printed, in the study's folder."""
    monkeypatch.chdir(searched[0])
    return searched[1]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def told(*arguments: str) -> Any:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_noise_claims_nothing_in_words(noise: str) -> None:
    shown = call("show", "noise").stdout
    score = shown[shown.index("Score") :]
    assert score.strip() in noise  # at the end of the search already
    assert not CLAIM.search(score), score
    assert "corrected" in score and "naive best" in score and "95% interval" in score
    assert "not for adaptive search; residual optimism possible" in " ".join(score.split())
    assert "cannot tell" in score


def test_noise_claims_nothing_in_json(noise: str) -> None:
    said = told("show", "noise")
    score, best = said["score"], said["best"]
    assert list(score) == ["naive", "corrected", "interval", "level", "label"]
    assert score["naive"] == best["value"] > score["corrected"] and score["level"] == 0.95
    assert score["interval"][0] < 0.5 < score["interval"][1] and "residual optimism possible" in score["label"]
    assert said["confirmation"]["winner"] in {trial["number"] for trial in said["trials"]}
    assert "verdict" not in json.dumps(said["confirmation"]) and said["audits"] == []


def test_confirmed_trials_are_ranked_by_all_their_partitions(noise: str) -> None:
    said = told("show", "noise")
    trials = {trial["number"]: trial for trial in said["trials"]}
    for one in said["confirmation"]["ranked"]:
        assert len(one["values"]) == 3 and one["values"][0] == pytest.approx(trials[one["number"]]["value"])
        assert one["fold_values"][0] == trials[one["number"]]["fold_values"]
    assert 1 <= said["confirmation"]["epoch"] <= 2


def test_numbers_are_explained(noise: str) -> None:
    out = " ".join(call("show", "noise", "--explain").stdout.split())
    assert "the choice is repeated on 1000 bootstrap samples" in out and "Source: Tsamardinos" in out
    compared, explained = (
        call("compare", "noise", "0", "1").stdout,
        call("compare", "noise", "0", "1", "--explain").stdout,
    )
    titles = explained.removeprefix(compared).splitlines()
    for title in ("advantage", "95% interval", "corrected t", "the same"):
        assert title in compared and title in titles
    assert sum(line.strip().startswith("Source: ") for line in titles) == 4


def test_one_run_of_five_folds_leans_at_most(noise: str) -> None:
    complete = [trial["number"] for trial in told("show", "noise")["trials"] if trial["state"] == "complete"]
    single = [number for number in complete if number not in _confirmed()]
    for second in single[1:]:
        said = told("compare", "noise", str(single[0]), str(second))
        assert said["partitions"] == 1 and len(said["trials"][0]["fold_values"]) == 1
        assert said["worse"] + said["same"] + said["better"] == pytest.approx(1)
        assert said["verdict"] in ("cannot tell", "leaning the same")
    first, second = _confirmed()[:2]
    assert told("compare", "noise", str(first), str(second))["partitions"] == 3
    assert told("compare", "noise", str(first), str(single[0]))["partitions"] == 1


def test_the_best_of_noise_is_not_said_to_be_better_than_any(noise: str) -> None:
    said = told("show", "noise")
    best, *others = sorted(
        (trial for trial in said["trials"] if trial["state"] == "complete"), key=lambda t: -t["value"]
    )
    found = [told("compare", "noise", str(best["number"]), str(other["number"])) for other in others]
    assert max(one["better"] for one in found) > 0.8  # as chance has it
    assert {one["verdict"] for one in found} == {"cannot tell"}
    tried = sum(trial["state"] in ("complete", "pruned") for trial in said["trials"])
    assert tried - 1 > len(others), "pruned trials count, too"
    assert all(one["p_adjusted"] == pytest.approx(min(1, one["p"] * (tried - 1))) for one in found)


def test_a_comparison_is_the_same_from_both_sides(noise: str) -> None:
    there, back = told("compare", "noise", "0", "1"), told("compare", "noise", "1", "0")
    assert there["mean"] == pytest.approx(-back["mean"]) and there["better"] == pytest.approx(back["worse"])
    ahead = there["trials"][0]["mean"] - there["trials"][1]["mean"]
    assert there["mean"] == pytest.approx(ahead) and there["p"] == pytest.approx(back["p"])
    text = " ".join(call("compare", "noise", "0", "1").stdout.split())
    assert f"better {there['better']:.0%}" in text and f"trial 0 against trial 1: {there['verdict']}" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["noise", "0", "99"], "99"),
        (["nothing", "0", "1"], "nothing"),
        (["noise", "0", "0"], "0 twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(noise: str, arguments: list[str], words: str) -> None:
    done = refused("compare", *arguments)
    assert words in done


def test_a_trial_that_is_not_complete_is_refused(noise: str) -> None:
    pruned = [trial["number"] for trial in told("show", "noise")["trials"] if trial["state"] == "pruned"]
    assert f"trial {pruned[0]} is pruned" in refused("compare", "noise", "0", str(pruned[0]))


def refused(*arguments: str) -> str:
    """The message of a command that ends with exit code 2."""
    done = call(*arguments)
    assert isinstance(done.exception, RequestError), done.output
    return str(done.exception)


def test_the_dashboard_has_the_score_as_a_note_that_never_replaces_a_person_s(noise: str) -> None:
    study = optuna.load_study(study_name="noise", storage="sqlite:///foldtune.db")
    note = get_note(study)
    assert note.startswith(HEADING) and "**corrected**" in note and "residual optimism possible" in note
    before = told("show", "noise")
    save_note(study, "My own thoughts")
    assert call("resume", "noise", "--workers", "0", "--quiet").exit_code == 0
    assert get_note(study) == "My own thoughts"
    save_note(study, HEADING)
    assert call("resume", "noise", "--workers", "0", "--quiet").exit_code == 0
    assert get_note(study) == note and told("show", "noise") == before  # nothing new: nothing computed again


def _confirmed() -> list[int]:
    return [one["number"] for one in told("show", "noise")["confirmation"]["ranked"]]


def test_an_interrupted_search_has_its_score_and_says_of_how_many_trials(
    searched: tuple[Path, str], sqlite_url: str
) -> None:
    signals = iter([signal.SIGINT])

    def interrupt(status: Status) -> None:
        if status.counts.get("complete", 0) >= 3 and next(signals, None):
            signal.raise_signal(signal.SIGINT)

    file = searched[0] / "noise.yaml"
    options: Any = {"storage": sqlite_url, "workers": 0, "overrides": ["search.cohort=3", "search.trials=7"]}
    stopped = foldtune.run_study(file, watch=interrupt, **options)
    score = stopped.finding("score")
    assert stopped.ending == "interrupted" and score is not None and score.content["finished"] == stopped.finished < 7
    ended = foldtune.run_study(file, **options).finding("score")
    assert ended is not None and ended.content["finished"] == 7
