import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.data.categories import fit_codes
from foldtune.errors import SpecError
from foldtune.spec.schema import CategoricalSpec

LABELS = st.sampled_from(["a", "b", "c", "d", "nan", "", "None", None])


def column(values: list[str | None]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LABELS, min_size=1, max_size=40),
    st.lists(LABELS, min_size=1, max_size=20),
    st.sampled_from([None, 1, 2, 5, 0.2]),
    st.sampled_from([None, 1, 2, 3]),
)
def test_codes(
    train: list[str | None], other: list[str | None], min_frequency: int | float | None, max_categories: int | None
) -> None:
    spec = CategoricalSpec(min_frequency=min_frequency, max_categories=max_categories)
    codes = fit_codes(column(train), spec)
    seen = codes.transform(column(train))
    assert {code for code, value in zip(seen, train, strict=True) if value is None} <= {0}
    assert sorted({int(code) for code in seen} - {0}) == list(range(2, codes.cardinality))
    for code, value in zip(codes.transform(column(other)), other, strict=True):
        assert code == (0 if value is None else 1 if value not in train else seen[train.index(value)])
    if max_categories is not None:
        assert codes.cardinality <= 2 + max_categories


def test_rare_categories_share_the_last_code() -> None:
    codes = fit_codes(column(["z", "z", "a", "b", "m", "m"]), CategoricalSpec(min_frequency=2))
    assert codes.transform(column(["m", "z", "a", "b"])).tolist() == [2, 3, 4, 4]


def test_a_column_without_training_values() -> None:
    codes = fit_codes(column([None, None]), CategoricalSpec())
    assert codes.cardinality == 2 and codes.transform(column(["a", None])).tolist() == [1, 0]


def test_a_frequency_that_scikit_learn_refuses() -> None:
    with pytest.raises(SpecError, match=r"^preprocessing\.categorical: `OrdinalEncoder` must accept its arguments"):
        fit_codes(column(["a"]), CategoricalSpec(min_frequency=0))
