"""Column types that give back, in every database, exactly what they were given."""

import math
import sys
from datetime import UTC, datetime
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import DateTime, Dialect, Double, LargeBinary, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine, UserDefinedType

from foldtune.errors import StoreError
from foldtune.store import codec

_FINITE = ("mysql", "mariadb")
_LARGEST = sys.float_info.max


class Tree(TypeDecorator[Any]):
    """A JSON tree as text: databases' own JSON types reorder keys, refuse NaN, or change numbers."""

    impl = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else codec.dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else codec.load(value)


class Array(TypeDecorator[NDArray[Any]]):
    """A NumPy array as bytes, compressed where `packed`."""

    impl = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    cache_ok = True

    def __init__(self, packed: bool = False) -> None:
        super().__init__()
        self.packed = packed

    def process_bind_param(self, value: NDArray[Any] | None, dialect: Dialect) -> bytes | None:
        return None if value is None else codec.encode(value, packed=self.packed)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> NDArray[Any] | None:
        return None if value is None else codec.decode(value)


class _Untyped(UserDefinedType[float]):
    """A SQLite column without affinity: a REAL column would store -0.0 as the integer 0."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "BLOB"


class Number(TypeDecorator[float]):
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


class Instant(TypeDecorator[datetime]):
    """A moment, to the microsecond, in UTC."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise StoreError.of((), "a stored time must have a time zone", value)
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)
