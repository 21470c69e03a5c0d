from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldtune.errors import Problem, SpecError
from foldtune.spec.schema import ConfigSpec, StudySpec, TrainingSpec
from foldtune.spec.shape import parse_section, related, salvage, without

STUDY: dict[str, Any] = {"name": "a", "data": {"use": "iris"}, "model": "MLP"}
CONFIG: dict[str, Any] = {"model": "MLP", "loss": "MSELoss", "optimizer": "SGD"}


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"optimiser": "Adam"}, "optimiser: there is no key `optimiser` here. Did you mean optimizer?"),
        ({"search": {"trails": 3}}, "search.trails: there is no key `trails` here. Did you mean trials?"),
        ({"search": {"zzz": 3}}, "search.zzz: there is no key `zzz` here. Known here: trials, timeout"),
        ({"search": {"trials": 0}}, "search.trials: this must be greater than 0, however: 0."),
        ({"search": {"trials": 2.5}}, "search.trials: this must be a whole number, however: 2.5."),
        ({"search": {"trials": "3"}}, "search.trials: this must be a whole number, however: '3'."),
        ({"search": {"trials": True}}, "search.trials: this must be a whole number, however: True."),
        (
            {"search": {"timeout": "2 hours"}},
            "search.timeout: a time is a number of seconds, or written 30s, 15m, 2h or",
        ),
        ({"search": {"timeout": -1}}, "search.timeout: this must be greater than 0, however: -1."),
        ({"search": None}, "search: this must be a mapping, however: null."),
        ({"search": {"sampler": 3}}, "search.sampler: this must be a mapping or the name of a class, however: 3."),
        ({"search": {"sampler": {"seed": 3}}}, "search.sampler.use: the key `use` must be given."),
        ({"validation": {"use": 3}}, "validation.use: this must be a text, however: 3. Write '3' in quotes."),
        ({"metrics": "f1"}, "metrics: this must be a list, however: 'f1'. Write [f1]."),
        ({"metrics": [3]}, "metrics.0: this must be a mapping or the name of a class, however: 3."),
        (
            {"name": "a b"},
            "name: this must begin with a letter or digit, and hold only those, `_`, `.` and `-`, however: 'a b'.",
        ),
        ({"name": 3}, "name: this must be a text, however: 3. Write '3' in quotes."),
        ({"data": "iris"}, "data: this must be a mapping, however: 'iris'. Write {use: iris}."),
        ({"data": {}}, "data: exactly one of `use`, `table` and `arrays` must be given, however: none."),
        ({"data": {"use": "iris", "table": "a"}}, "must be given, however: use and table."),
        ({"data": {"use": "iris", "drop": "a"}}, "data.drop: this must be a list, however: 'a'. Write [a]."),
        (
            {"data": {"use": "iris", "task": "classify"}},
            "data.task: this must be 'classification', 'multilabel' or 'regression', however",
        ),
        ({"data": {"use": "iris", "test_fraction": 2}}, "data.test_fraction: this must be less than 1, however: 2."),
        (
            {"data": {"use": "iris", "target": {}}},
            "data.target: this must be a text or a whole number or a list, however: {}.",
        ),
    ],
)
def test_what_a_study_file_gets_wrong_is_said_in_its_words(section: dict[str, Any], text: str) -> None:
    spec, problems = parse_section(StudySpec, {**STUDY, **section}, ())
    assert spec is None
    assert len(problems) == 1 and text in problems[0].text()


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (
            {"training": {"epochs": {"itn": [1, 3]}}},
            "training.epochs: this must be a whole number, however: {'itn': [1, 3]}. Did you mean int?",
        ),
        (
            {"regularization": {"early_stopping": {"patiance": 1}}},
            "regularization.early_stopping.patiance: there is no key `patiance` here. Did you mean patience?",
        ),
        ({"regularization": {"clip_norm": 0}}, "regularization.clip_norm: this must be greater than 0, however: 0."),
        ({"regularization": {"l1": -1}}, "regularization.l1: this must be greater than or equal to 0, however: -1."),
        (
            {"preprocessing": {"numeric": [3]}},
            "preprocessing.numeric.0: this must be a mapping or the name of a class, however: 3.",
        ),
        (
            {"preprocessing": {"categorical": {"min_freq": 3}}},
            "preprocessing.categorical.min_freq: there is no key `min_freq` here. Did you mean min_frequency?",
        ),
        (
            {"preprocessing": {"categorical": {"min_frequency": "many"}}},
            "preprocessing.categorical.min_frequency: this must be a whole number or a number",
        ),
        ({"augmentation": ["RandomCrop"]}, "augmentation: this must be left out, however: ['RandomCrop']."),
    ],
)
def test_so_is_what_a_configuration_gets_wrong(section: dict[str, Any], text: str) -> None:
    _, problems = parse_section(ConfigSpec, {**CONFIG, **section}, ())
    assert [text in problem.text() for problem in problems] == [True]


def test_all_problems_come_at_once() -> None:
    _, problems = parse_section(StudySpec, {"search": {"trails": 3, "trials": 0}, "metrics": "f1"}, ())
    assert {problem.path for problem in problems} == {
        ("name",),
        ("data",),
        ("model",),
        ("search", "trails"),
        ("search", "trials"),
        ("metrics",),
    }


def test_without_leaves_positions_in_lists_alone() -> None:
    tree = {"a": {"b": [{"c": 1, "d": 2}, {"c": 3}]}, "e": 5}
    assert without(tree, [("a", "b", 0, "c")]) == {"a": {"b": [{"d": 2}, {"c": 3}]}, "e": 5}
    assert without(tree, [("a", "b", 1)]) == {"a": {}, "e": 5}
    assert without(tree, [("a", "missing")]) == {"e": 5}
    assert without(tree, [("missing",)]) == tree
    assert tree["a"]["b"][0] == {"c": 1, "d": 2}  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "other", "expected"),
    [
        (("a",), ("a", "b"), True),
        (("a", "b"), ("a",), True),
        (("a", "b"), ("a", "b"), True),
        (("a", "b"), ("a", "c"), False),
        (("a",), ("b",), False),
    ],
)
def test_problems_are_related_along_one_path(path: tuple[str, ...], other: tuple[str, ...], expected: bool) -> None:
    assert related(Problem(path, "wrong"), [Problem(other, "wrong")]) is expected


def _parse(tree: Any) -> tuple[TrainingSpec | None, list[Problem]]:
    return parse_section(TrainingSpec, tree, ())


@given(
    st.dictionaries(
        st.sampled_from(["epochs", "batch_size", "epoch", "lr"]),
        st.one_of(st.integers(-2, 9), st.none(), st.text(max_size=2), st.lists(st.integers(), max_size=2)),
    )
)
def test_salvage_keeps_what_is_right_and_names_what_is_not(tree: dict[str, Any]) -> None:
    spec, rest, problems = salvage(_parse, tree, {})
    wrong = {problem.path[0] for problem in problems}
    assert set(tree) == set(rest) | wrong and not set(rest) & wrong
    assert all(getattr(spec, key) == value for key, value in rest.items())


def test_salvage_puts_stand_ins_where_something_must_be() -> None:
    spec, rest, problems = salvage(lambda tree: parse_section(StudySpec, tree, ()), {"name": 3, "data": "x"}, STUDY)
    assert rest == STUDY and spec.name == "a"
    assert [problem.path for problem in problems] == [("name",), ("data",), ("model",)]
    with pytest.raises(SpecError, match="the key `model` must be given"):
        salvage(lambda tree: parse_section(StudySpec, tree, ()), {}, {})
