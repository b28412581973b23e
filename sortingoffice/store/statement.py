"""Statements, written once by SQLAlchemy and then run by the database's driver itself.

SQLAlchemy finds the SQL, the order of the values and how a type is stored; that is the same at every run, and
doing it anew costs ten times what SQLite needs to answer (30 µs for a row by its key, where the
driver takes 3).  Here it is done once for each statement and database.

Promise: `run` does what `tx.execute` does with one set of values: in the transaction of `tx`, with
the same types, and with SQLAlchemy's exceptions.  The statement must be a constant of its module: what it was
compiled to is kept as long as the process lives.

Sources: PEP 249; docs.sqlalchemy.org, "Custom SQL Constructs" and `Compiled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sortingoffice.frozen import dataclass

Convert = Callable[[Any], Any]

_compiled: dict[tuple[sa.Executable, str, tuple[str, ...]], _Compiled] = {}


class Rows:
    """What a statement returned, in the order of its columns; to be read at most once."""

    __slots__ = ("_converts", "_cursor")

    def __init__(self, cursor: Any, converts: Sequence[tuple[int, Convert]]) -> None:
        self._cursor = cursor
        self._converts = converts

    @property
    def rowcount(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE without RETURNING touched."""
        return int(self._cursor.rowcount)

    def first(self) -> Sequence[Any] | None:
        row = self._cursor.fetchone()
        self._cursor.close()
        return None if row is None else self._converted(row)

    def scalar(self) -> Any:
        """The first column of the first row; None where there is none."""
        row = self.first()
        return None if row is None else row[0]

    def scalars(self) -> Iterator[Any]:
        return (row[0] for row in self)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return map(self._converted, self._cursor.fetchall())

    def _converted(self, row: Sequence[Any]) -> Sequence[Any]:
        if not self._converts:
            return row
        values = list(row)
        for at, convert in self._converts:
            values[at] = convert(values[at])
        return values


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement for one database.

    order     names of the values in their order; None where the driver takes them by name
    fixed     values that the statement itself brings, ready for the driver
    binds     how the other values are stored, where they are not stored as they are
    converts  how a column's value is handed out, where it is not handed out as it came
    """

    sql: str
    order: tuple[str, ...] | None
    fixed: Mapping[str, Any]
    binds: tuple[tuple[str, Convert], ...]
    converts: tuple[tuple[int, Convert], ...]

    def values(self, given: Mapping[str, Any]) -> Any:
        values = {**self.fixed, **given} if self.fixed else dict(given)
        for name, bind in self.binds:
            values[name] = bind(values[name])
        return values if self.order is None else tuple([values[name] for name in self.order])


def run(tx: sa.Connection, statement: sa.Executable, given: Mapping[str, Any]) -> Rows:
    """Run a constant statement with these values.

    For an INSERT and an UPDATE of a table the names of the values are also the columns that are written, as
    with `tx.execute`.
    """
    names = tuple(given) if isinstance(statement, sa.Insert | sa.Update) else ()
    key = (statement, tx.dialect.name, names)
    compiled = _compiled.get(key)
    if compiled is None:
        compiled = _compiled[key] = _compile(statement, tx.dialect, names)
    if not tx.in_transaction():
        tx.begin()  # as the first statement of a connection does
    driver: Any = tx.connection.dbapi_connection
    try:
        values = compiled.values(given)
    except ValueError as error:
        raise sa.exc.StatementError(str(error), compiled.sql, None, error) from error
    try:
        cursor = driver.execute(compiled.sql, values)
    except tx.dialect.dbapi.Error as error:  # type: ignore[union-attr]
        raise _told(tx, compiled.sql, error) from error
    return Rows(cursor, compiled.converts)


def say(tx: sa.Connection, text: str) -> None:
    """Run a command that has no values and returns nothing, in the transaction of `tx`."""
    driver: Any = tx.connection.dbapi_connection
    try:
        driver.execute(text).close()
    except tx.dialect.dbapi.Error as error:  # type: ignore[union-attr]
        raise _told(tx, text, error) from error


def _compile(statement: sa.Executable, dialect: sa.Dialect, names: tuple[str, ...]) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names) or None)  # type: ignore[attr-defined]
    if compiled.post_compile_params or compiled.literal_execute_params:
        raise TypeError("a statement whose text depends on its values is for SQLAlchemy")
    fixed: dict[str, Any] = {}
    binds: list[tuple[str, Convert]] = []
    for name, bind in compiled.binds.items():
        store = bind.type.dialect_impl(dialect).bind_processor(dialect)
        if not bind.required and bind.key not in names:
            value = bind.effective_value
            fixed[name] = value if store is None else store(value)
        elif store is not None:
            binds.append((name, store))
    order = tuple(compiled.positiontup) if compiled.positional else None
    return _Compiled(compiled.string, order, fixed, tuple(binds), _converts(statement, dialect))


def _converts(statement: Any, dialect: sa.Dialect) -> tuple[tuple[int, Convert], ...]:
    columns = statement.exported_columns if getattr(statement, "returns_rows", True) else ()
    found = []
    for at, column in enumerate(columns or ()):
        convert = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if convert is not None:
            found.append((at, convert))
    return tuple(found)


def _told(tx: sa.Connection, sql: str, error: Exception) -> Exception:
    """The driver's exception as SQLAlchemy's; a connection that broke is not used again."""
    dialect = tx.dialect
    broken = dialect.is_disconnect(error, tx.connection.dbapi_connection, None)  # type: ignore[arg-type]
    assert dialect.dbapi is not None
    told = sa.exc.DBAPIError.instance(
        sql,
        None,
        error,
        dialect.dbapi.Error,
        hide_parameters=True,
        connection_invalidated=broken,
        dialect=dialect,
    )
    if broken:
        tx.invalidate(told)
    return told if isinstance(told, Exception) else error
