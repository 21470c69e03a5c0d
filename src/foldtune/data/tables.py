"""CSV and Parquet files, one or many, and DataFrames, as one table."""

import glob
import gzip
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldtune.data.features import kind
from foldtune.data.source import listed, raise_any
from foldtune.errors import DataError, Problem
from foldtune.errors import Path as Place
from foldtune.refs import parameters

PARQUET = (".parquet", ".pq")
NOT_OPTIONS = frozenset({"filepath_or_buffer", "path", "iterator", "chunksize", "kwargs"})
"""Arguments of the readers that would change what is read, or what comes back."""


def reader_options(table: object) -> tuple[str, tuple[str, ...]]:
    """The function that reads `table`, and the options that it takes; a DataFrame takes none."""
    if isinstance(table, pd.DataFrame):
        return "a DataFrame", ()
    parquet = str(table).lower().endswith(PARQUET)
    names = parameters(pd.read_parquet if parquet else pd.read_csv)
    return (
        "pandas.read_parquet" if parquet else "pandas.read_csv",
        tuple(name for name in names if name not in NOT_OPTIONS),
    )


def read_table(table: object, options: Mapping[str, Any], folder: Path, path: Place) -> pd.DataFrame:
    """All rows of a DataFrame, of a file, or of the files that a pattern matches, in the order of their names.

    Args:
        table: a DataFrame, or a path or pattern relative to `folder`.
        options: the reader's own.
        folder: where the study file stands.
        path: the place in the study file, for messages.

    Returns:
        A table of N rows, counted from 0.

    Raises:
        DataError: no such file, it cannot be read, or the files have different columns.
    """
    if isinstance(table, pd.DataFrame):
        return table.reset_index(drop=True)
    if not isinstance(table, str | Path):
        raise DataError.of(path, "`table` must be a file, a pattern of files or a DataFrame", type(table).__name__)
    files = find_files(str(table), folder, path)
    frames = [read_file(file, options, path) for file in files]
    raise_any(_disagreements(files, frames, path))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def find_files(pattern: str, folder: Path, path: Place) -> list[Path]:
    """The file of that name, or all files that match the pattern, sorted.

    Raises:
        DataError: there is none.
    """
    exact = folder / pattern
    if exact.is_file():
        return [exact]
    matches = sorted(Path(match) for match in glob.glob(str(exact), recursive=True))
    if files := [match for match in matches if match.is_file()]:
        return files
    hint = f"Paths are relative to {folder}; `--data DIR` names another folder."
    if exact.is_dir():
        hint = f"It is a folder: write a pattern such as {pattern.rstrip('/')}/*.csv."
    raise DataError.of(path, "the file must exist", exact, hint)


def read_file(file: Path, options: Mapping[str, Any], path: Place) -> pd.DataFrame:
    """One CSV or Parquet file.

    Raises:
        DataError: pandas cannot read it; the message shows the line.
    """
    if not file.stat().st_size:
        raise DataError.of(path, "the file must not be empty", file)
    try:
        with warnings.catch_warnings():  # kinds are decided, and reported, column by column
            warnings.simplefilter("ignore")
            frame = _read(file, options)
    except pd.errors.EmptyDataError as error:
        raise DataError.of(path, "the file must not be empty", f"{file}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError.of(path, f"{file} must be UTF-8 text", error, "Give its `encoding`.") from error
    except (ValueError, TypeError, LookupError, OSError, EOFError) as error:
        raise DataError.of(path, f"{file} must be readable", _parser_message(file, error), _hint(file)) from error
    return frame.reset_index(drop=True)


def _read(file: Path, options: Mapping[str, Any]) -> pd.DataFrame:
    if file.name.lower().endswith(PARQUET):
        return pd.read_parquet(file, **options)
    frame: pd.DataFrame = pd.read_csv(file, **{**_csv_engine(options), **options})
    return frame


def _csv_engine(options: Mapping[str, Any]) -> dict[str, Any]:
    # By default pandas guesses a column's kind chunk by chunk, which mixes 1 and "1" in one column.
    sep = options.get("sep", options.get("delimiter", ","))
    other = options.get("engine", "c") != "c" or options.get("skipfooter")
    return {} if other or sep is None or (len(sep) > 1 and sep != r"\s+") else {"low_memory": False}


def _parser_message(file: Path, error: Exception) -> str:
    message = " ".join(str(error).split())
    match = re.search(r"\bline (\d+)", message)
    if match and (line := _line(file, int(match[1]))):
        return f"{message}: {line!r}"
    return message


def _line(file: Path, number: int) -> str:
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
        for index, line in enumerate(lines, start=1):
            if index == number:
                return line.decode(errors="replace").rstrip("\r\n")[:120]
    return ""


def _hint(file: Path) -> str | None:
    if file.name.lower().endswith(PARQUET):
        return None
    return "Options of pandas.read_csv such as `sep`, `quoting`, `comment` and `skiprows` may stand beside `table`."


def _disagreements(files: Sequence[Path], frames: Sequence[pd.DataFrame], path: Place) -> list[Problem]:
    first, problems = frames[0], []
    for file, frame in zip(files[1:], frames[1:], strict=True):
        if list(frame.columns) != list(first.columns):
            odd = [repr(column) for column in first.columns.symmetric_difference(frame.columns, sort=False)]
            found = f"{file.name} has {frame.shape[1]} columns, {files[0].name} {first.shape[1]}"
            value = f"{found}; not in both: {listed(odd) or 'none, the order differs'}"
            problems.append(Problem(path, "all files must have the same columns", value))
        elif differing := _differing_kinds(first, frame):
            value = f"{listed(differing)} in {files[0].name} and {file.name}"
            hint = "Name such columns under `categorical` and give a `dtype`, or make the files agree."
            problems.append(Problem(path, "a column must be numbers in all files or in none", value, hint))
    return problems


def _differing_kinds(first: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    both = [name for name in first.columns if not np.all(first[name].isna()) and not np.all(other[name].isna())]
    return [f"`{name}`" for name in both if kind(first[name]) != kind(other[name])]
