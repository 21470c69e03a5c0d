import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from foldtune.report.text import duration, short_names, yaml
from foldtune.search.numbers import number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (12.3456, "12.3456"),
        (2934.512, "2934.5"),
        (1.5e-7, "1.500e-07"),
        (-0.5, "-0.5000"),
        (None, "-"),
    ],
)
def test_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.04, "0.0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min"), (None, "-")])
def test_duration(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@given(st.sets(st.from_regex(r"[ab](\.[ab]){0,3}", fullmatch=True), min_size=1))
def test_short_names_are_endings_that_tell_names_apart(names: set[str]) -> None:
    short = short_names(sorted(names))
    assert all(name == ending or name.endswith(f".{ending}") for name, ending in short.items())
    assert all(sum(other == e or other.endswith(f".{e}") for other in names) == 1 or e == n for n, e in short.items())


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
trees = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True),
    st.recursive(
        leaves,
        lambda inner: st.lists(inner) | st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), inner),
        max_leaves=12,
    ),
    min_size=1,
    max_size=4,
)


@given(trees)
def test_yaml_reads_back_as_the_same_tree(tree: dict[str, object]) -> None:
    assert YAML(typ="safe", pure=True).load(yaml(tree)) == tree
