import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldtune.errors import DataError, Problem, RequestError, Source, SpecError, located, nearest

SOURCE = Source("study.yaml", {(): 1, ("optimizer",): 4, ("optimizer", "lr"): 5}, overridden=(("search", "seed"),))


def test_a_problem_says_place_path_rule_value_and_hint() -> None:
    problem = Problem(("optimizer", "lr"), "`lr` must be positive", "-1", "Write 0.1.")
    assert problem.text(SOURCE) == "study.yaml:5: optimizer.lr: `lr` must be positive, however: -1. Write 0.1."
    assert problem.text() == "optimizer.lr: `lr` must be positive, however: -1. Write 0.1."


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("optimizer", "lr", "float", 0), "study.yaml:5"),
        (("optimizer", "momentum"), "study.yaml:4"),
        (("model",), "study.yaml:1"),
        (("search", "seed"), "command line"),
        (("search",), "study.yaml:1"),
    ],
)
def test_a_node_without_a_line_stands_at_its_nearest_ancestor(path: tuple[str | int, ...], place: str) -> None:
    assert SOURCE.place(path) == place


def test_a_dict_has_no_places() -> None:
    assert Source().place(("model",)) == ""


def test_problems_come_once_each_and_in_the_order_of_lines() -> None:
    first, second = Problem(("optimizer",), "first"), Problem(("optimizer", "lr"), "second")
    error = SpecError([second, first, second], SOURCE)
    assert str(error).splitlines() == ["study.yaml:4: optimizer: first.", "study.yaml:5: optimizer.lr: second."]


def test_a_message_of_another_library_gets_no_second_full_stop() -> None:
    assert Problem((), "this must work", "It failed.").text() == "this must work, however: It failed."
    assert Problem((), "this must fit", "'abc...").text().endswith("'abc....")


def test_located_attaches_the_file_but_does_not_replace_one() -> None:
    with pytest.raises(DataError, match=r"^study\.yaml:4: optimizer: wrong\.$"), located(SOURCE):
        raise DataError.of(("optimizer",), "wrong")
    with pytest.raises(SpecError, match=r"^other\.yaml:9"), located(SOURCE):
        raise SpecError([Problem((), "wrong")], Source("other.yaml", {(): 9}))


def test_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(SpecError([Problem(("a",), "wrong")], SOURCE)))
    assert isinstance(error, RequestError) and str(error) == "study.yaml:1: a: wrong."


@pytest.mark.parametrize(
    ("name", "names", "hint"),
    [
        ("adamw", ["Adam", "AdamW", "SGD"], "Did you mean AdamW or Adam?"),
        ("seperator", ["sep", "header"], "Did you mean sep?"),
        ("epoch", ["epochs", "batch_size"], "Did you mean epochs?"),
        ("zzz", ["epochs", "batch_size"], ""),
    ],
)
def test_nearest_names_what_may_be_meant(name: str, names: list[str], hint: str) -> None:
    assert nearest(name, names) == hint


@given(st.text(min_size=1), st.lists(st.text(min_size=1), max_size=5))
def test_nearest_names_at_most_three_that_exist(name: str, names: list[str]) -> None:
    hint = nearest(name, names)
    assert hint == "" or sum(candidate in hint for candidate in names) >= 1
    assert hint.count(" or ") <= 2 + sum(candidate.count(" or ") for candidate in names)
