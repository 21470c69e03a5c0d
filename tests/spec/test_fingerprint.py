import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foldtune.errors import SpecError
from foldtune.spec.fingerprint import canonical, changed, differences, digest

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(JSON)
def test_a_tree_does_not_differ_from_itself(tree: object) -> None:
    assert canonical(tree) == tree
    assert differences(tree, tree) == []


@given(st.dictionaries(st.text(max_size=3), JSON, min_size=2))
def test_the_order_of_keys_changes_no_digest(tree: dict[str, object]) -> None:
    assert digest(tree) == digest(dict(reversed(tree.items())))


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON))
def test_trees_differ_somewhere_or_are_equal(left: dict[str, object], right: dict[str, object]) -> None:
    assert bool(differences(left, right)) is (left != right)


def test_differences_are_shown_with_both_values() -> None:
    stored = {"model": {"use": "MLP", "d_block": 8}, "search": {"trials": 5, "seed": 0}, "loss": "MSELoss"}
    asked = {"model": {"use": "MLP", "n_blocks": 2}, "search": {"trials": 50, "seed": 0}, "loss": "L1Loss"}
    assert str(SpecError(differences(stored, asked))).splitlines() == [
        "model.d_block: the stored study has 8, however: (absent).",
        "model.n_blocks: the stored study has (absent), however: 2.",
        'loss: the stored study has "MSELoss", however: "L1Loss".',
    ]


def test_budgets_may_change() -> None:
    stored, asked = {"search": {"trials": 5, "seed": 0}}, {"search": {"trials": 50, "timeout": 60, "seed": 0}}
    assert differences(stored, asked) == []
    assert changed(stored, asked) == {"search.trials": 50, "search.timeout": 60}
    assert changed(stored, stored) == {}


def test_python_objects_become_descriptions() -> None:
    assert canonical({"arrays": {"X": np.zeros((3, 2))}}) == {"arrays": {"X": "<ndarray 3 x 2>"}}
