import math
from typing import Any

import pytest

from foldtune.spec.domains import Choice, Float, Int, Option, find, parse


@pytest.mark.parametrize(
    ("node", "domain"),
    [
        ({"float": [0, 1]}, Float(0.0, 1.0)),
        ({"float": [1e-4, 1], "log": True, "default": 0.1}, Float(1e-4, 1.0, log=True, default=0.1)),
        ({"float": [0.0001, 0.3001], "step": 0.1}, Float(0.0001, 0.3001, step=0.1)),
        ({"int": [1, 4]}, Int(1, 4)),
        ({"int": [1, 9], "step": 4, "default": 5}, Int(1, 9, step=4, default=5)),
        (
            {"choice": [None, True, 3]},
            Choice(
                (Option(None, None, ("choice", 0)), Option(True, True, ("choice", 1)), Option(3, 3, ("choice", 2))),
                None,
            ),
        ),
    ],
)
def test_domains_become_values(node: dict[str, Any], domain: Any) -> None:
    assert parse(node) == (domain, [])


def test_domains_stand_anywhere_also_in_lists() -> None:
    tree, problems = parse(
        {"layers": [{"use": "Linear", "out_features": {"int": [4, 8]}}, {"choice": ["ReLU", "GELU"]}]}
    )
    assert problems == []
    assert tree["layers"][0]["out_features"] == Int(4, 8)
    assert tree["layers"][1].labels == ("ReLU", "GELU")


def test_options_are_labelled_by_class_or_by_key() -> None:
    tree, _ = parse({"choice": [{"use": "my.net:Net", "width": 3}, "MLP"]})
    assert tree.labels == ("Net", "MLP") and tree.default == "Net"
    tree, _ = parse({"choice": {"small": {"use": "MLP"}, "deep": {"use": "MLP"}}, "default": "deep"})
    assert tree.labels == ("small", "deep") and tree.default == "deep"
    assert tree.option("deep").where == ("choice", "deep")


def test_a_class_may_have_an_argument_called_choice() -> None:
    assert parse({"use": "my:Net", "choice": [1]}) == ({"use": "my:Net", "choice": [1]}, [])


@pytest.mark.parametrize(
    ("node", "path", "text"),
    [
        (
            {"float": [1, 0.1]},
            (),
            "low must be below high, however: float: [1, 0.1]. Swap them, or write a plain value.",
        ),
        ({"int": [3, 3]}, (), "low must be below high, however: int: [3, 3]. Swap"),
        ({"float": [0, 1, 2]}, (), "`float` takes [low, high], two numbers, however: [0, 1, 2]."),
        ({"float": 3}, (), "`float` takes [low, high], two numbers, however: 3."),
        ({"float": ["a", "b"]}, (), "`float` takes [low, high], two numbers"),
        ({"float": [0, math.inf]}, (), "`float` takes [low, high], two numbers"),
        ({"float": [0, math.nan]}, (), "`float` takes [low, high], two numbers"),
        ({"float": [False, True]}, (), "`float` takes [low, high], two numbers"),
        ({"int": [1.5, 3]}, (), "`int` takes [low, high], two whole numbers, however: [1.5, 3]."),
        ({"float": [0, 1], "log": True}, (), "a `log` domain needs a positive low, however: 0."),
        ({"float": [1, 2], "log": 1}, (), "`log` must be true or false, however: 1."),
        ({"float": [1, 2], "log": True, "step": 0.5}, (), "`step` and `log` cannot go together"),
        ({"int": [1, 9], "step": 0}, (), "`step` must be a positive whole number, however: 0."),
        (
            {"int": [1, 9], "step": 3},
            (),
            "high must be low plus a whole number of steps, however: int: [1, 9], step: 3.",
        ),
        ({"int": [1, 9], "step": 2, "default": 2}, (), "`default` must be low plus a whole number of steps"),
        ({"int": [1, 9], "default": 10}, (), "`default` must lie between low and high, however: 10, int: [1, 9]."),
        ({"int": [1, 9], "default": "3"}, (), "`default` must be one of the whole numbers, however: '3'."),
        ({"float": [0, 1], "logg": True}, ("logg",), "logg: a `float` domain has no `logg`. Did you mean log?"),
        ({"choice": [1], "log": True}, ("log",), "a `choice` domain has no `log`"),
        ({"choice": []}, (), "a `choice` needs options: a list, or a mapping from labels, however: []."),
        ({"choice": {}}, (), "a `choice` needs options"),
        ({"choice": "abc"}, (), "a `choice` needs options"),
        ({"choice": None}, (), "a `choice` needs options"),
        ({"choice": [1, 2], "default": 3}, ("default",), "default: `default` must be one of 1, 2, however: 3."),
        ({"choice": [True, False], "default": 1}, ("default",), "`default` must be one of True, False, however: 1."),
        ({"choice": [1, 1]}, ("choice", 1), "every option of a choice needs a label of its own, however: 1."),
        ({"choice": [1, True]}, ("choice", 1), "every option of a choice needs a label of its own"),
        ({"choice": [None, "None"]}, ("choice", 1), "every option of a choice needs a label of its own"),
        (
            {"choice": [{"use": "MLP", "a": 1}, {"use": "MLP"}]},
            ("choice", 1),
            "Write `choice: {name: ..., other: ...}`.",
        ),
        ({"choice": [[1, 2], [3]]}, ("choice", 0), "an option that is a list or mapping needs a label. Write `choice:"),
        ({"choice": [math.nan]}, ("choice", 0), "an option must be finite, however: nan."),
        (
            {"choice": {"a.b": {"x": {"int": [1, 2]}}}},
            ("choice", "a.b"),
            "cannot have a dot: names of parameters are paths",
        ),
        ({"betas.x": {"float": [0, 1]}}, ("betas.x",), "cannot have a dot: names of parameters are paths"),
        ({"choice": [{"use": "SGD", "lr": {"float": [2, 1]}}]}, ("choice", 0, "lr"), "low must be below high"),
    ],
)
def test_wrong_domains_are_refused(node: dict[str, Any], path: tuple[Any, ...], text: str) -> None:
    _, problems = parse({"here": node})
    assert problems[0].path == ("here", *path)
    assert text in problems[0].text()


def test_all_problems_come_at_once() -> None:
    tree = {
        "a": {"float": [2, 1]},
        "b": [{"int": [1.5, 2]}, {"choice": []}],
        "c": {"choice": [{"use": "X", "p": {"float": 1}}]},
    }
    _, problems = parse(tree)
    assert [problem.path for problem in problems] == [("a",), ("b", 0), ("b", 1), ("c", "choice", 0, "p")]


def test_find_shows_the_first_domain() -> None:
    assert find({"a": [1, {"b": {"choice": [1]}}]}) == ("a", 1, "b")
    assert find({"a": {"use": "X", "choice": 1}}) is None
