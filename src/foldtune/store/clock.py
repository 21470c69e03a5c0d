"""The database's clock: workers on many machines agree about one clock, which is none of theirs."""

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now_s(FunctionElement[float]):
    """Seconds since 1970 in UTC when the database comes to this statement, to a millisecond or better.

    Example:
        >>> from sqlalchemy import create_engine, select
        >>> with create_engine("sqlite://").connect() as connection:
        ...     connection.scalar(select(now_s())) > 1_700_000_000
        True
    """

    type = Double()
    inherit_cache = True


@compiles(now_s, "sqlite")
def _sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # `unixepoch('subsec')` needs SQLite 3.42


@compiles(now_s, "postgresql")
def _postgresql(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"  # now() is when the transaction began


@compiles(now_s, "mysql", "mariadb")
def _mysql(*_: Any, **__: Any) -> str:
    return "(timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1e6)"  # local time has an hour twice a year
