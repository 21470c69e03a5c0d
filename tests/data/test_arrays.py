from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.errors import DataError

from .makers import read

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def test_npz_and_mapping_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=X, y=Y, g=np.array(list("ppqqrr")))
    stored = read(tmp_path, arrays="a.npz", group="g")
    given = read(tmp_path, arrays={"X": X, "y": Y, "g": np.array(list("ppqqrr"))}, group="g")
    assert stored.fingerprint == given.fingerprint
    assert stored.groups is not None and stored.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert stored.numeric_names == ("x0", "x1")


def test_keys_are_chosen(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((6, 1, 3, 3), np.uint8), label=Y, t=Y[::-1])
    data = read(tmp_path, arrays="a.npz", features="images", target="label", time="t")
    assert data.numeric.shape == (6, 1, 3, 3) and data.categorical.shape == (6, 0)
    assert data.time is not None and data.time.tolist() == Y[::-1].tolist()


def test_npy_files(tmp_path: Path) -> None:
    for name, array in (("X", X), ("y", Y), ("g", Y)):
        np.save(tmp_path / f"{name}.npy", array)
    data = read(tmp_path, arrays="X.npy", target="y.npy", group="g.npy")
    assert data.groups is not None and data.groups.tolist() == Y.tolist()
    with pytest.raises(DataError, match=r"^data\.target: an .npy file of features needs one of the target"):
        read(tmp_path, arrays="X.npy")


def test_tables_in_a_mapping_keep_their_columns(tmp_path: Path) -> None:
    table = pd.DataFrame({"n": X[:, 0], "c": list("ababab"), "s": Y}, index=range(9, 3, -1))
    data = read(tmp_path, arrays={"X": table, "y": pd.Series(Y, name="label")}, group="s", drop=["n"])
    assert data.categorical_names == ("c",) and data.target_names == ("label",) and data.groups is not None


def test_columns_of_arrays_go_by_position(tmp_path: Path) -> None:
    data = read(tmp_path, arrays={"X": X.astype(int), "y": Y}, categorical=[1])
    assert data.numeric_names == ("x0",) and data.categorical[:, 0].tolist() == ["1", "3", "5", "7", "9", "11"]


def test_several_targets_mean_regression(tmp_path: Path) -> None:
    data = read(tmp_path, arrays={"X": X, "y": X[:, ::-1]})
    assert data.task == "regression" and data.target.shape == (6, 2) and data.target_names == ("y0", "y1")


@pytest.mark.parametrize(
    ("arrays", "section", "message"),
    [
        ({"X": X, "Y": Y}, {}, r"^data\.target: the array must be there, however: 'y'\. Did you mean Y\?"),
        ({"x": X, "y": Y}, {"target": "q"}, r"^data\.features: .*'X'(.|\n)*^data\.target: .*'q'"),
        ({"X": X, "y": Y[:5]}, {}, r"same number of rows, however: X has 6, y has 5"),
        ({"X": X, "y": Y, "g": Y[:2]}, {"group": "g"}, r"however: X has 6, y has 6, g has 2"),
        ({"X": X[:, 0], "y": Y}, {}, r"row axis and at least one more, however: shape \(6,\)"),
        ({"X": X + 0j, "y": Y}, {}, r"must hold real numbers, however: dtype complex128"),
        ({"X": X.astype(object), "y": Y}, {}, r"must hold real numbers, however: dtype object\. Text and mixed"),
        ({"X": X, "y": Y + 0j}, {}, r"must hold numbers or text labels, however: dtype complex128"),
        ({"X": X, "y": np.zeros((6, 1, 1))}, {}, r"the target must have one or two axes, however: shape \(6, 1, 1\)"),
        ({"X": [[1], [2, 3]], "y": [0, 1]}, {}, r"rows must all have one shape"),
        ({"X": X, "y": Y}, {"group": "g"}, r"^data\.group: the column must be there"),
        ({"X": np.full((6, 1, 2), np.inf), "y": Y}, {}, r"features must be finite, however: infinite in 6 of 6 rows"),
        ({"X": np.zeros((6, 1, 2)), "y": Y}, {"drop": [0]}, r"^data\.drop\.0: the column must be there"),
    ],
)  # fmt: skip
def test_refusals(arrays: dict[str, Any], section: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="(?m)" + message):
        read(tmp_path, arrays=arrays, **section)


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=X, y=np.array([print, None] * 3, dtype=object))
    with pytest.raises(DataError, match="the array `y` must be readable without pickle"):
        read(tmp_path, arrays="a.npz")
    np.save(tmp_path / "o.npy", np.array([print], dtype=object))
    np.savez(tmp_path / "many.npz", X=X)
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    with pytest.raises(DataError, match="the file must hold one array"):
        read(tmp_path, arrays="many.npy", target="many.npy")
    with pytest.raises(DataError, match="must hold NumPy arrays that need no pickle"):
        read(tmp_path, arrays="o.npy", target="o.npy")


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no zip")
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name, message in (
        ("none.npz", "the file must exist"),
        ("bad.npz", "must hold NumPy arrays"),
        ("one.npz", "the name of a file with one array must end in .npy"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, arrays=name)
    with pytest.raises(DataError, match=r"must be an \.npz or \.npy file or a mapping of arrays, however: int"):
        read(tmp_path, arrays=3)
