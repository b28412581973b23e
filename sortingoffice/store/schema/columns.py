"""What tables are made of: the columns' types, and the words in which the rooms write their columns.

Times are integer microseconds since 1970 in UTC, handed out as aware datetimes; enums are their text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime as integer microseconds."""

    impl = sa.BigInteger
    cache_ok = True

    # The processors themselves, without TypeDecorator's detour by the driver's, of which an integer has none:
    # a message's rows hold some thirty times.
    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], int | None]:
        return _microseconds

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[int | None], datetime | None]:
        return _moment


def _microseconds(value: datetime | None) -> int | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return (value - _EPOCH) // _MICROSECOND


def _moment(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


class Word(TypeDecorator[StrEnum]):
    """A StrEnum as its text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__()
        self.enum = enum

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[StrEnum | str | None], str | None]:
        member = self._member
        return lambda value: None if value is None else member(value).value

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[str | None], StrEnum | None]:
        member = self._member
        return lambda value: None if value is None else member(value)

    @property
    def _member(self) -> Callable[[str], StrEnum]:
        """enum(value), five times as fast."""
        known: dict[str, StrEnum] = {each.value: each for each in self.enum}
        return lambda value: known.get(value) or self.enum(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite's rowid alias must be INTEGER; PostgreSQL's ids are BIGINT.
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def key() -> sa.Column[int]:
    return sa.Column("id", Id, primary_key=True, autoincrement=True)


def to(table: str, *, null: bool = False, index: bool = False, unique: bool = False) -> sa.Column[Any]:
    key = sa.ForeignKey(f"{table}.id")
    return sa.Column(f"{table}_id", Id, key, nullable=null, index=index, unique=unique)


def text(name: str, **extra: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, **extra)


def flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def count(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=null)


def octets(name: str, *, null: bool = False, **extra: Any) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=null, **extra)


def at(name: str, *, null: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, Instant, nullable=null)


def word(name: str, enum: type[StrEnum]) -> sa.Column[Any]:
    return sa.Column(name, Word(enum), nullable=False)


def table(name: str, *columns: Any) -> sa.Table:
    # AUTOINCREMENT: an id that was in a token or a log is never given out again.
    return sa.Table(name, metadata, *columns, sqlite_autoincrement=True)


def partial(name: str, where: str, *columns: sa.ColumnElement[Any]) -> sa.Index:
    """An index over the few rows that wait, however long the history grows."""
    condition = sa.text(where)
    return sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)
