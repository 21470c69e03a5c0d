"""A locked test file has the columns, kinds, classes and groups of the study's own rows, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.data.dataset import Dataset
from foldtune.data.load import load
from foldtune.data.matching import load_inputs, load_test_file
from foldtune.errors import DataError
from foldtune.spec.schema import DataSpec

OWN = "age,town,g,when,y\n30,Rome,p,2024-01-01,no\n41,Oslo,q,2024-01-02,yes\n52,Rome,p,2024-01-03,no\n"


def both(folder: Path, text: str, own: str = OWN, *, test: str = "test.csv", **section: Any) -> tuple[Dataset, Dataset]:
    """The study's own rows, and those of its test file."""
    (folder / "own.csv").write_text(own)
    (folder / "test.csv").write_text(text)
    spec = DataSpec(**{"table": "own.csv", "target": "y", "test": test, "drop": ["when"], **section})
    like = load(spec, folder)
    return like, load_test_file(spec, folder, like)


def test_columns_are_found_by_name_and_others_left_out(tmp_path: Path) -> None:
    like, test = both(tmp_path, "y,id,town,g,age\nyes,7,Bern,p,\nno,8,Rome,r,60\n")
    assert test.numeric_names == like.numeric_names == ("age",)
    assert np.isnan(test.numeric[0, 0]) and test.numeric[1, 0] == 60
    assert test.categorical.tolist() == [["Bern", "p"], ["Rome", "r"]]
    assert test.target.tolist() == [1, 0] and test.classes == like.classes == ("no", "yes")


def test_values_follow_their_columns_names(tmp_path: Path) -> None:
    own = "a,b,c,d,y\n1,2,p,q,0.5\n3,4,r,s,1.5\n"
    like, test = both(tmp_path, "d,y,b,c,a\nq,0.1,20,p,10\n", own, drop=[])
    assert like.numeric_names == test.numeric_names and like.categorical_names == test.categorical_names
    assert test.numeric.tolist() == [[10, 20]] and test.categorical.tolist() == [["p", "q"]]


def test_a_file_with_one_class_keeps_the_codes_of_all(tmp_path: Path) -> None:
    assert both(tmp_path, "age,town,g,y\n1,Rome,p,yes\n")[1].target.tolist() == [1]


def test_groups_keep_their_codes_and_new_ones_follow(tmp_path: Path) -> None:
    like, test = both(tmp_path, "age,town,g,y\n1,Rome,a,yes\n2,Rome,q,no\n", group="g")
    assert like.groups is not None and like.groups.tolist() == [0, 1, 0]
    assert test.groups is not None and test.groups.tolist() == [2, 1] and test.group_names == ("p", "q", "a")
    joined = like.followed_by(test)
    assert joined.groups is not None and joined.groups.tolist() == [0, 1, 0, 2, 1]
    assert joined.n_rows == 5 and joined.group_names == ("p", "q", "a")


def test_times_are_read_as_the_study_reads_them(tmp_path: Path) -> None:
    like, test = both(tmp_path, "age,town,g,when,y\n1,Rome,p,2024-01-04,yes\n", time="when", drop=["g"])
    assert like.time is not None and test.time is not None and test.time[0] - like.time[0] == 3 * 86400


def test_numbers_may_be_classes_or_labels(tmp_path: Path) -> None:
    own = "c,y\n1,0\nx,1\n2,0\n"
    assert both(tmp_path, "c,y\n1,0\n2,0\n", own, drop=[])[1].categorical.tolist() == [["1"], ["2"]]


def test_a_regression_target_may_be_constant(tmp_path: Path) -> None:
    own = "x,y\n1,0.5\n2,1.5\n"
    like, test = both(tmp_path, "x,y\n1,0.5\n", own, drop=[])
    assert test.task == "regression" and test.target.tolist() == [[0.5]]
    assert like.followed_by(test).target.shape == (3, 1)


@pytest.mark.parametrize(
    ("text", "section", "message"),
    [
        (
            "age,y\n1,yes\n",
            {},
            r"^data\.test: the file must have the columns .* it lacks `town`, `g`\. The file has `age`",
        ),
        ("agee,town,g,y\n1,Rome,p,no\n", {}, r"it lacks `age`\. Did you mean agee\?"),
        ("age,town,g\n1,Rome,p\n", {}, r"it lacks `y`"),
        ("age,town,y\n1,Rome,no\n", {"group": "g"}, r"it lacks `g`"),
        ("age,town,g,y\nold,A,p,no\n2,A,p,no\n", {}, r"`age` in test\.csv must hold numbers, .* 'old' in 1 of 2 rows"),
        ("age,town,g,y\ninf,Rome,p,no\n", {}, r"`age` in test\.csv must be finite"),
        ("age,town,g,y\n1,17,p,no\n", {}, r"`town` in test\.csv must hold labels, .* numbers such as 17"),
        (
            "age,town,g,y\n1,A,p,maybe\n1,A,p,\n",
            {},
            r"must hold classes .* 'maybe', nan in 2 of 2.* These are 'no', 'yes'",
        ),
        ("age,town,g,y\n1,Rome,,no\n", {"group": "g"}, r"the group of every row must be known"),
        ("age,town,g,y\n", {}, r"^data\.test: there must be rows"),
        ("", {}, r"^data\.test: the file must not be empty"),
    ],
)
def test_refusals(tmp_path: Path, text: str, section: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        both(tmp_path, text, **section)


def test_problems_of_all_columns_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        both(tmp_path, "age,town,g,y\nold,3,p,maybe\n")
    assert len(caught.value.problems) == 3


def test_a_number_that_is_missing_in_the_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`y` in test\.csv must hold finite numbers, however: nan in 1 of 2 rows"):
        both(tmp_path, "x,y\n1,0.5\n2,\n", "x,y\n1,0.5\n2,1.5\n", drop=[])


def test_labels_of_a_test_file_are_zeros_and_ones(tmp_path: Path) -> None:
    own, names = "x,a,b\n1,0,1\n2,1,0\n", ["b", "a"]
    like, test = both(tmp_path, "b,x,a\nTrue,1,0\n", own, target=names, drop=[])
    assert test.task == "multilabel" and test.target.tolist() == [[1, 0]] and test.target.dtype == like.target.dtype
    for wrong in ("2", ""):
        with pytest.raises(DataError, match=r"`a` in test\.csv must hold 0 and 1, or booleans, .* in 1 of 1 rows"):
            both(tmp_path, f"b,x,a\n1,1,{wrong}\n", own, target=names, drop=[])


def test_a_file_of_another_format_does_not_take_the_options(tmp_path: Path) -> None:
    pd.DataFrame({"age": [1], "town": "Rome", "g": "p", "y": "no"}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"`pandas\.read_parquet` has no argument `skipinitialspace`"):
        both(tmp_path, "", test="t.parquet", skipinitialspace=True)
    assert both(tmp_path, "", test="t.parquet")[1].n_rows == 1


def test_arrays(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    images, labels = rng.rand(6, 1, 2, 2), np.array([0, 1, 2] * 2)
    np.savez(tmp_path / "own.npz", X=images, y=labels, g=labels)
    np.savez(tmp_path / "test.npz", X=images[:2], y=labels[1:3], g=labels[:2] + 2)
    np.savez(tmp_path / "other.npz", X=images[:, :, 0], y=labels, g=labels)
    spec = DataSpec(arrays="own.npz", group="g", test="test.npz")
    like = load(spec, tmp_path)
    test = load_test_file(spec, tmp_path, like)
    assert test.numeric.shape == (2, 1, 2, 2) and test.target.tolist() == [1, 2]
    assert test.groups is not None and test.groups.tolist() == [2, 3]
    with pytest.raises(DataError, match=r"inputs must have the shape \(1, 2, 2\) of .* however: \(1, 2\)"):
        load_test_file(spec.model_copy(update={"test": "other.npz"}), tmp_path, like)
    with pytest.raises(DataError, match=r"cannot hold inputs and target"):
        load_test_file(spec.model_copy(update={"test": "x.npy"}), tmp_path, like)


def test_a_bundled_set_takes_a_table(tmp_path: Path) -> None:
    spec = DataSpec(use="iris", test="t.csv")
    like = load(spec, tmp_path)
    frame = pd.DataFrame(like.numeric[:4], columns=list(like.numeric_names)).assign(target=[0, 0, 1, 2])
    frame.to_csv(tmp_path / "t.csv", index=False)
    test = load_test_file(spec, tmp_path, like)
    assert np.array_equal(test.numeric, like.numeric[:4]) and test.target.tolist() == [0, 0, 1, 2]


def test_inputs_need_no_target(tmp_path: Path) -> None:
    like, _ = both(tmp_path, OWN)
    (tmp_path / "new.csv").write_text("town,g,age\nBern,z,5\n")
    spec = DataSpec(table="own.csv", target="y", drop=("when",))
    numeric, categorical = load_inputs("new.csv", spec, tmp_path, like)
    assert numeric.tolist() == [[5.0]] and categorical.tolist() == [["Bern", "z"]]
