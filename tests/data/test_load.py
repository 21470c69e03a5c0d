from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldtune.data.load import options_problems
from foldtune.errors import DataError
from foldtune.spec.schema import DataSpec

from .makers import read, write

SMALL = pd.DataFrame({"a": [1.5, 2.0, None, 4.0], "b": ["x", None, "y", "x"], "y": ["no", "yes", "no", "yes"]})


def frame(**columns: Any) -> pd.DataFrame:
    return pd.concat([SMALL, pd.DataFrame(columns)], axis=1)


def test_kinds_follow_dtypes(tmp_path: Path) -> None:
    data = read(tmp_path, table=frame(t=[True, False, True, None], i=[1, 2, 3, 4]), target="y")
    assert data.numeric_names == ("a", "t", "i")
    assert np.array_equal(data.numeric[:, 1], [1, 0, 1, np.nan], equal_nan=True)
    assert data.categorical.tolist() == [["x"], [None], ["y"], ["x"]]
    assert data.classes == ("no", "yes") and data.target.tolist() == [0, 1, 0, 1]


def test_numeric_and_categorical_overrule(tmp_path: Path) -> None:
    table = frame(n=["1", "2.5", None, "4"], k=[1, 2, None, 1], f=[0.5, 1, 1, 1])
    data = read(tmp_path, table=table, target="y", numeric=["n"], categorical=["k", "f"], drop=["a"])
    assert data.numeric_names == ("n",) and data.categorical_names == ("b", "k", "f")
    assert np.array_equal(data.numeric[:, 0], [1, 2.5, np.nan, 4], equal_nan=True)
    assert data.categorical[:, 1:].tolist() == [["1", "0.5"], ["2", "1"], [None, "1"], ["1", "1"]]


def test_columns_without_names_are_named_by_position(tmp_path: Path) -> None:
    file = write(tmp_path, "1,a,no\n2,b,yes\n3,a,no\n")
    for target in (2, -1):
        data = read(tmp_path, table=file, header=None, target=target, drop=[1])
        assert data.target_names == ("2",) and data.numeric_names == ("0",)


def test_position_names_a_column_with_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, table=SMALL, target=2).target_names == ("y",)


def test_group_and_time_are_no_features(tmp_path: Path) -> None:
    table = frame(g=["p", "q", "p", "q"], t=["2024-01-01", "2024-03-01T12:00", "2024-02-01", "2023-01-01"])
    data = read(tmp_path, table=table, target="y", group="g", drop=["t"])
    assert data.numeric_names == ("a",) and data.groups is not None and data.groups.tolist() == [0, 1, 0, 1]
    data = read(tmp_path, table=table, target="y", time="t", drop=["g"])
    assert data.time is not None and data.time.tolist() == [1704067200, 1709294400, 1706745600, 1672531200]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_dates_order_rows_whatever_their_unit(unit: str, tmp_path: Path) -> None:
    dates = pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-03", "2024-01-04"]).as_unit(unit)  # type: ignore[arg-type]
    data = read(tmp_path, table=frame(t=dates), target="y", time="t")
    assert data.time is not None and (data.time - data.time[0]).tolist() == [0, -86400, 86400, 172800]


def test_fingerprint_is_that_of_the_values_not_of_the_file_format(tmp_path: Path) -> None:
    table = frame(i=[1, 2, 3, 4])
    table.to_csv(tmp_path / "data.csv", index=False)
    table.to_parquet(tmp_path / "data.parquet")
    prints = {read(tmp_path, table=t, target="y").fingerprint for t in (table, "data.csv", "data.parquet")}
    assert len(prints) == 1
    assert read(tmp_path, table=table.iloc[::-1], target="y").fingerprint not in prints


@pytest.mark.parametrize(
    ("table", "section", "message"),
    [
        (SMALL, {"target": "yy"}, r"^data\.target: the column must be there, however: 'yy'\. Did you mean y\?"),
        (SMALL, {"target": 9}, r"must be there, however: 9\. There are `a`, `b`, `y`\."),
        (frame(**{"c ": [1, 2, 3, 4]}), {"target": "c"}, r"The column is called 'c ': write it exactly so\."),
        (SMALL, {"target": "y", "drop": ["q"]}, r"^data\.drop\.0: the column must be there"),
        (SMALL, {"target": "y", "group": "q"}, r"^data\.group: the column must be there"),
        (SMALL, {"target": "y", "time": "q"}, r"^data\.time: the column must be there"),
        (SMALL, {}, r"^data\.target: a table needs `target`, the column to predict\. The columns are `a`, `b`, `y`\."),
        (SMALL, {"target": "y", "drop": ["y"]}, r"^data\.drop: a column that is used cannot be dropped, however: 'y'"),
        (SMALL, {"target": "y", "numeric": ["a"], "categorical": ["a"]}, r"cannot be both numeric and categorical"),
        (SMALL, {"target": "y", "group": "a", "time": "b"}, r"only one of `group` and `time`"),
        (SMALL, {"target": "y", "drop": ["a", "b"]}, r"^data\.table: there must be feature columns"),
        (SMALL.iloc[:0], {"target": "y"}, r"^data\.table: there must be rows, however: 0 rows"),
        (SMALL.set_axis(["a", "a", "y"], axis=1), {"target": "y"}, r"must have different names, however: `a`"),
        (
            SMALL,
            {"target": "b"},
            r"target `b` must have no missing values, however: missing in 1 of 4 rows, the first 1 \(counted "
            r"from 0\)\. foldtune drops no rows on its own",
        ),
        (
            frame(g=["p", None, "q", "q"]),
            {"target": "y", "group": "g"},
            r"^data\.group: the group of every row must be",
        ),
        (frame(t=[1, None, 2, 2]), {"target": "y", "time": "t"}, r"^data\.time: the time of every row must be known"),
        (
            frame(t=["Monday", "2024-01-01", "Tuesday", "2024-01-01"]),
            {"target": "y", "time": "t"},
            r"^data\.time: the time must be a number or an ISO 8601 date, however: 'Monday', 'Tuesday' in 2 of 4 rows",
        ),
        (frame(e=[None] * 4), {"target": "y"}, r"missing in every row, however: `e`\. Leave it out with `drop`"),
        (
            frame(e=[1, np.inf, 2, 3]),
            {"target": "y"},
            r"`e` must be finite, however: infinite in 1 of 4 rows, the first 1",
        ),
        (
            SMALL,
            {"target": "y", "numeric": ["b"]},
            r"^data\.numeric: `b` must hold numbers, however: 'x', 'y' in 3 of 4 rows",
        ),
        (
            frame(d=pd.to_datetime(["2024-01-01"] * 4)),
            {"target": "y"},
            r"must be numbers or categories, not dates, however: `d`\. Leave them out with `drop`, or turn them into",
        ),
        (
            frame(c=[1j, 2, 3, 4]),
            {"target": "y"},
            r"must hold real numbers, text or booleans, however: `c` \(complex128\)",
        ),
        (frame(c=[[1], [2], [3], [4]]), {"target": "y"}, r"text or booleans, however: `c` \(object\)"),
    ],
)
def test_refusals(table: pd.DataFrame, section: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, table=table, **section)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    table = frame(e=[None] * 4, i=[np.inf, 1, 1, 1], z=[1, 1, 1, 1])
    with pytest.raises(DataError) as caught:
        read(tmp_path, table=table, target="z", drop=["nope"])
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"table": "a.csv", "sepp": ";"}, "data.sepp: `pandas.read_csv` has no argument `sepp`. Did you mean sep?"),
        ({"table": "a.csv", "groups": "g"}, "`pandas.read_csv` has no argument `groups`. Did you mean group"),
        ({"table": "a.csv", "chunksize": 3}, "data.chunksize: `pandas.read_csv` has no argument `chunksize`"),
        ({"table": "a.parquet", "sep": ";"}, "data.sep: `pandas.read_parquet` has no argument `sep`"),
        ({"table": SMALL, "sep": ";"}, "data.sep: `a DataFrame` has no argument `sep`. There are no options here."),
        ({"arrays": "a.npz", "key": 1}, "data.key: `arrays` has no argument `key`. There are no options here."),
        ({"use": "make_moons", "noize": 1}, "data.noize: `make_moons` has no argument `noize`. Did you mean noise?"),
        ({"use": "make_moon"}, "data.use: there is no data set `make_moon`. Did you mean make_moons"),
        ({"use": "fetch_openml"}, "would download"),
        ({"use": "iris", "as_frame": True}, "data.as_frame: `load_iris` has no argument `as_frame`"),
        ({"use": "make_spd_matrix"}, "data.use: `make_spd_matrix` needs the argument `n_dim`"),
        ({"use": "no_such_module:make"}, "data.use: the module of `no_such_module:make` must be importable"),
    ],
)
def test_options_are_checked_without_reading(section: dict[str, Any], message: str) -> None:
    assert message in "\n".join(problem.text() for problem in options_problems(DataSpec(**section)))


def test_good_options_have_no_problems() -> None:
    for section in (
        {"table": "a.csv", "sep": ";", "header": None},
        {"use": "make_moons", "noise": 0.1},
        {"use": "iris"},
    ):
        assert options_problems(DataSpec(**section)) == []
