import json
from pathlib import Path
from typing import Any

import pytest

from foldtune.errors import SpecError
from foldtune.search.enqueue import read_enqueue
from foldtune.spec.domains import parse

TREE, _ = parse(
    {
        "optimizer": {
            "choice": [
                {"use": "SGD", "lr": {"float": [0.1, 1.0]}},
                {"use": "Adam", "lr": {"float": [0.001, 0.1], "default": 0.05}},
            ]
        },
        "training": {"batch_size": {"choice": [32, 64]}},
    }
)
ADAM = {"optimizer": "Adam", "optimizer.Adam.lr": 0.01, "training.batch_size": 64}


def test_what_is_left_out_takes_its_default(tmp_path: Path) -> None:
    given = [{}, {"optimizer": "Adam"}, ADAM]
    usual = {"optimizer": "SGD", "optimizer.SGD.lr": 0.55, "training.batch_size": 32}
    adam = {"optimizer": "Adam", "optimizer.Adam.lr": 0.05, "training.batch_size": 32}
    assert read_enqueue(given, TREE, tmp_path) == [usual, adam, ADAM]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("try.yaml", "- optimizer: Adam\n  optimizer.Adam.lr: 1e-2\n  training.batch_size: 64\n"),
        ("try.yaml", "trials:\n- {optimizer: Adam, optimizer.Adam.lr: 0.01, training.batch_size: 64}\n"),
        ("try.json", json.dumps([ADAM])),
        ("try.json", json.dumps({"format": 1, "trials": [{"number": 3, "params": ADAM}]})),
    ],
)
def test_a_file_may_hold_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_enqueue(name, TREE, tmp_path) == [ADAM]


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ([{"optimizer.Adam.lrr": 1}], (0, "optimizer.Adam.lrr"), "there is no parameter `optimizer.Adam.lrr`"),
        ([{}, {"optimizer.SGD.lr": 9.0}], (1, "optimizer.SGD.lr"), "must be a number from 0.1 to 1.0, however: 9.0"),
        ([{"optimizer.Adam.lr": 0.01}], (0, "optimizer.Adam.lr"), "exists only where optimizer=Adam"),
        ([{"training.batch_size": 48}], (0, "training.batch_size"), "must be one of 32, 64, however: 48"),
        ({"optimizer": "Adam"}, (), "`enqueue` is a list of mappings from parameter names to values"),
        ([3], (), "`enqueue` is a list of mappings"),
        (3, (), "`enqueue` is a list of mappings"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path: Path, given: Any, path: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_enqueue(given, TREE, tmp_path)
    (problem,) = caught.value.problems
    assert problem.path == ("search", "enqueue", *path) and message in problem.text()


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_enqueue([{"a": 1, "optimizer": "Adagrad"}, {"training.batch_size": 1}], TREE, tmp_path)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.yaml", None, r"^search\.enqueue: the file must exist, however: .*gone\.yaml\. Paths are relative to"),
        (
            "try.yaml",
            "- a: 1\n- {b: 2\n",
            r"the file must hold YAML, however: .*try\.yaml:\d: .* \(expected ',' or '}'",
        ),
        ("try.yaml", "- a: 1\n  a: 2\n", r"the file must hold YAML, however: .*a key can stand only once \(a\)"),
        ("try.json", "[{]", r"the file must hold JSON, however: .*try\.json: Expecting property name"),
        ("try.yaml", "3", "`enqueue` is a list of mappings"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SpecError, match=message):
        read_enqueue(name, TREE, tmp_path)
