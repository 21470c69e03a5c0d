"""Column types that give back, in every database, exactly what they were given."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from numpy.typing import NDArray
from sqlalchemy import DateTime, Dialect, Double, LargeBinary, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine, UserDefinedType

from foldtune.errors import Path, StoreError
from foldtune.store import codec
from foldtune.store.codec import DAMAGED
from foldtune.store.kinds import fits

MAX_SENT_BYTES = 2**24 - 2**16
"""Of an array, escaped: a statement with it fits into 16 MiB, all that MariaDB takes unless told otherwise."""

T = TypeVar("T")

_ESCAPED = (b"\0", b"\n", b"\r", b"\x1a", b'"', b"'", b"\\")
_FINITE = ("mysql", "mariadb")
_LARGEST = sys.float_info.max


class Stored(TypeDecorator[T]):
    """A column that is read with care: what does not belong there is refused, by the column's name.

    `place` is the table's and the column's name, once it has them.
    """

    __abstract__ = True
    place: Path = ()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], T | None]:
        process = super().result_processor(dialect, coltype)
        assert process

        def read(value: Any) -> T | None:
            try:
                return process(value)
            except StoreError as error:
                problems = [replace(problem, path=(*self.place, *problem.path)) for problem in error.problems]
                raise StoreError(problems) from error
            except (ValueError, TypeError, OverflowError) as error:
                shown = f"{value!r:.40} ({error})"
                raise StoreError.of(
                    self.place, "a stored value must be of its column's kind", shown, DAMAGED
                ) from error

        return read


class Tree(Stored[Any]):
    """A JSON tree as text: databases' own JSON types reorder keys, refuse NaN, or change numbers.

    Args:
        kind: of the tree, as `kinds.fits` reads it.
    """

    impl = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else codec.dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if not fits(tree := codec.load(value), self.kind):
            raise ValueError("JSON of another shape")
        return tree


class Word(Stored[str]):
    """One of a few short texts.

    Args:
        kind: the `Literal` of them.
    """

    impl = String(16)
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if not fits(value, self.kind):
            raise ValueError(f"not one of {', '.join(get_args(self.kind))}")
        return value


class Array(Stored[NDArray[Any]]):
    """A NumPy array as bytes.

    Args:
        dtypes: what it may be made of, as NumPy writes them: "<i8".
        ndim: number of its axes.
        packed: compressed where that is smaller.
        sent: whether it must take at most `MAX_SENT_BYTES` on its way to the server.
    """

    impl = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    cache_ok = True

    def __init__(self, dtypes: tuple[str, ...], ndim: int, *, packed: bool = False, sent: bool = False) -> None:
        super().__init__()
        self.dtypes, self.ndim, self.packed, self.sent = dtypes, ndim, packed, sent

    def process_bind_param(self, value: NDArray[Any] | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        self._check(value, None)
        data = codec.encode(value, packed=self.packed)
        if self.sent and (size := len(data) + sum(map(data.count, _ESCAPED))) > MAX_SENT_BYTES:
            rule = f"a trial's answers must take at most {MAX_SENT_BYTES} bytes on their way to the database"
            raise StoreError.of((), rule, size, "Keep less: `search.out_of_fold: losses`, or none.")
        return data

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> NDArray[Any] | None:
        if value is None:
            return None
        array = codec.decode(value)
        self._check(array, DAMAGED)
        return array

    def _check(self, array: NDArray[Any], hint: str | None) -> None:
        if array.dtype.newbyteorder("<").str not in self.dtypes or array.ndim != self.ndim:
            rule = f"a stored array must be of {' or '.join(self.dtypes)} and have {self.ndim} axes"
            raise StoreError.of((), rule, f"{array.dtype} and {array.ndim}", hint)


class _Untyped(UserDefinedType[float]):
    """A SQLite column without affinity: a REAL column would store -0.0 as the integer 0."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "BLOB"


class Number(Stored[float]):
    """A double; NaN stands as NULL, which SQL's own AVG, MIN and MAX pass over.

    MySQL and MariaDB have no infinity, for which their largest double stands, and no negative zero.
    """

    impl: TypeEngine[float] = Double().with_variant(_Untyped(), "sqlite")
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        if value is None or value != value:
            return None
        return max(-_LARGEST, min(_LARGEST, value)) if dialect.name in _FINITE else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        if value is None:
            return math.nan
        return math.copysign(math.inf, value) if abs(value) == _LARGEST and dialect.name in _FINITE else value


class Instant(Stored[datetime]):
    """A moment, to the microsecond, in UTC."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise StoreError.of((), "a stored time must have a time zone", value)
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)
