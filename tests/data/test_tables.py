import gzip
from pathlib import Path

import pandas as pd
import pytest

from foldtune.errors import DataError

from .makers import read, write

TEXT = "a,b,y\n1,p,0\n2,q,1\n3,p,0\n4,q,1\n"


def test_csv_options_are_pandas_own(tmp_path: Path) -> None:
    file = write(tmp_path, "% made\n1; p;no\n?;q;yes\n2;p;no\n", "odd.data")
    data = read(
        tmp_path, table=file, sep=";", header=None, names=["a", "b", "y"], comment="%", na_values="?",
        skipinitialspace=True, target="y",
    )  # fmt: skip
    assert data.categorical[:, 0].tolist() == ["p", "q", "p"]
    assert pd.isna(data.numeric[1, 0])


@pytest.mark.parametrize("options", [{"sep": r"\s*,\s*"}, {"sep": None}, {"skipfooter": 1}, {"engine": "python"}])
def test_options_that_need_the_python_engine(options: dict[str, object], tmp_path: Path) -> None:
    assert read(tmp_path, table=write(tmp_path, TEXT), target="y", **options).numeric.shape[1] == 1


def test_a_column_has_one_kind_however_long_the_file(tmp_path: Path) -> None:
    """Read in chunks, as pandas does by default, `b` would hold both 1 and "01"."""
    wide = ",".join("1" * 99)  # pandas reads about a million cells at a time
    lines = [f"{label},{row % 2},{wide}" for row, label in enumerate([*["01"] * 20_000, "x"])]
    write(tmp_path, "\n".join([",".join(["b", "y", *(f"w{index}" for index in range(99))]), *lines]))
    assert set(read(tmp_path, table="data.csv", target="y").categorical[:, 0]) == {"01", "x"}


def test_compressed_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    pd.read_csv(tmp_path / "a.csv.gz").to_parquet(tmp_path / "a.pq")
    prints = {read(tmp_path, table=name, target="y").fingerprint for name in ("a.csv.gz", "a.pq")}
    assert len(prints) == 1


def test_many_files_stand_in_the_order_of_their_names(tmp_path: Path) -> None:
    for value in (4, 2, 7, 1, 6, 3, 5):
        write(tmp_path, f"x,y\n{value},0\n{value},1\n", f"{value}.csv")
    assert read(tmp_path, table="*.csv", target="y").numeric[::2, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    assert read(tmp_path, table=write(tmp_path, TEXT, "a[1].csv"), target="y").n_rows == 4


def test_files_must_have_the_same_columns(tmp_path: Path) -> None:
    write(tmp_path, "x,y\n1,0\n2,1\n", "a.csv")
    write(tmp_path, "x,z\n1,0\n2,1\n", "b.csv")
    write(tmp_path, "y,x\n1,0\n2,1\n", "c.csv")
    with pytest.raises(
        DataError, match=r"same columns, however: b.csv has 2 columns, a.csv 2; not in both: 'y', 'z'"
    ) as e:
        read(tmp_path, table="*.csv", target="y")
    assert "the order differs" in str(e.value)


def test_a_column_must_have_one_kind_in_all_files(tmp_path: Path) -> None:
    write(tmp_path, "x,y\n1,0\n2,1\n", "a.csv")
    write(tmp_path, "x,y\nu,0\nv,1\n", "b.csv")
    with pytest.raises(DataError, match=r"numbers in all files or in none, however: `x` in a.csv and b.csv"):
        read(tmp_path, table="*.csv", target="y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^data\.table: the file must not be empty"),
        ("\n\n", r"^data\.table: the file must not be empty"),
        ("a,y\n", r"^data\.table: there must be rows"),
        ("a,y\n1,2\n1,2,3\n", r"must be readable, however: .*Expected 2 fields in line 3, saw 3: '1,2,3'\. Options of"),
    ],
)
def test_files_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, table=write(tmp_path, text), target="y")


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "latin.csv").write_bytes("a,y\né,1\n".encode("latin-1"))
    (tmp_path / "bad.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    for name, message in (
        ("none.csv", "the file must exist, however: .*none.csv. Paths are relative to"),
        ("none*.csv", "the file must exist"),
        ("sub", r"It is a folder: write a pattern such as sub/\*.csv"),
        ("latin.csv", "must be UTF-8 text, however: .* Give its `encoding`"),
        ("bad.csv.gz", "must be readable"),
        ("bad.parquet", "must be readable"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, table=name, target="y")
    with pytest.raises(DataError, match="must be a file, a pattern of files or a DataFrame, however: int"):
        read(tmp_path, table=3, target="y")
    with pytest.raises(DataError, match=r"must be readable, however: .*Usecols"):
        read(tmp_path, table=write(tmp_path, TEXT), target="y", usecols=["nope"])
