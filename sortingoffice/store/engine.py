"""How the two databases are opened, and which of their failures are "not now".

Promise: a connection from here is durable (a commit that returned has been fsynced) and checks
foreign keys, or it is not handed out at all.

Each database gets two engines: one that writes, whose transactions take the write lock at their
BEGIN, and one that cannot write.

Sources: sqlite.org/pragma.html, sqlite.org/lang_transaction.html (BEGIN IMMEDIATE), sqlite.org/wal.html;
PostgreSQL manual 20.5 (synchronous_commit), 20.11 (lock_timeout), 34.1.2 (keepalives, tcp_user_timeout),
appendix A (SQLSTATE).
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL

from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass
from sortingoffice.store.place import Place
from sortingoffice.store.statement import say
from sortingoffice.store.turn import Turn

# What a transaction function is handed; flows name it without importing SQLAlchemy.
Transaction = sa.Connection

BUSY_SECONDS = 5  # how long a write waits for another process's lock before it is 451
# Of a PostgreSQL that waits for no lock of ours any more: twice that, and less than a sender waits for any
# answer (RFC 5321 §4.5.3.2: minutes) or a lease lasts.
SILENT_SECONDS = 10
READERS = 4
_WRITES = {"writes": True}
_AGE = "age"
_READ_ONLY = "25006"  # PostgreSQL: we speak to a standby, after a failover


class Unavailable(Exception):
    """The database cannot do it now: locked, full, restarting or gone.  Try again later (451).

    What was asked is not stored, except where a connection broke inside COMMIT itself, or the server fell
    silent there: then it is unknown.  To who asked it is as if our 250 had been lost on its way, and whoever
    tries again is known by an idempotency key, for some hours.
    """


class OutOfReach(Unavailable, OfficeError):
    """`Unavailable`, told to a person at the command line."""


@dataclass(frozen=True, slots=True)
class Engines:
    """glance: reads, and never waits for anybody; None where a database is further away than a thread."""

    writer: sa.Engine
    reader: sa.Engine
    glance: sa.Engine | None = None

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()
        if self.glance is not None:
            self.glance.dispose()


def open(text: str) -> Engines:
    """Engines for a URL; nothing is connected yet.

    Raises OfficeError for a URL that is neither SQLite's (a file) nor PostgreSQL's.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: of a port or a bracket
        raise OfficeError(
            "database is not a URL; write postgresql://user@host/name or leave it empty"
        ) from None
    if "@" in (url.host or ""):  # not shown: it is the end of a password
        raise OfficeError("database has an @ within its user or password: write it as %40")
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return _sqlite(url.set(drivername="sqlite+pysqlite"))
    if backend == "postgresql":
        return _postgresql(url.set(drivername="postgresql+psycopg"))
    raise OfficeError(
        f"database {backend!r} is not supported; write postgresql://… or leave it empty for SQLite"
    )


def writes(tx: Transaction) -> bool:
    """Whether this transaction may write; one that only reads can lock no row."""
    return bool(tx.get_execution_options().get("writes"))


def _sqlite(url: URL) -> Engines:
    settings: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}, "pool_timeout": BUSY_SECONDS}
    writer = sa.create_engine(url, pool_size=2, execution_options=_WRITES, **settings)
    reader = sa.create_engine(url, pool_size=READERS, max_overflow=4, **settings)
    event.listen(writer, "connect", _prepare_sqlite_writer)
    event.listen(reader, "connect", _prepare_sqlite_reader)
    # A deferred transaction that turns to writing is refused at once when another has written
    # meanwhile, whatever the time-out: so a writer asks for the lock first.
    event.listen(writer, "commit", _refuse_to_commit_nothing)
    event.listen(writer, "begin", _begin_to_write)
    event.listen(writer, "checkin", lambda _, record: "turn" in record.info and record.info["turn"].leave())
    event.listen(writer, "close", lambda _, record: record.info.pop("turn").close())
    glance = sa.create_engine(url, pool_size=1, connect_args={"timeout": 0})
    event.listen(glance, "connect", _prepare_sqlite_reader)
    place = Place(Path(url.database or ""))
    for each in (writer, reader):
        place.watch(each)
    place.watch_held(glance, Unavailable)
    for each in (reader, glance):
        event.listen(each, "begin", lambda tx: say(tx, "BEGIN"))
    return Engines(writer, reader, glance)


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, not the driver's
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL: NORMAL may lose the last commits in a power cut
        "foreign_keys": 1,
        "recursive_triggers": 1,  # else INSERT OR REPLACE would get past "append only"
        "secure_delete": 1,  # a message that has left, with the card values in it, leaves the file too
    }
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name}={value}")
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != value:
            raise OfficeError(
                f"SQLite refuses {name}={value} here (it says {actual}); "
                "put data_dir on a local file system, or use PostgreSQL"
            )
    # A large message leaves a large log behind; give the disk back after the next checkpoint.
    connection.execute(f"PRAGMA journal_size_limit={64 << 20}")


def _prepare_sqlite_writer(connection: sqlite3.Connection, record: Any) -> None:
    _prepare_sqlite(connection, record)
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    record.info["turn"] = Turn(Path(file))


def _begin_to_write(tx: Transaction) -> None:
    tx.info["turn"].take()
    say(tx, "BEGIN IMMEDIATE")


def _prepare_sqlite_reader(connection: sqlite3.Connection, record: object) -> None:
    _prepare_sqlite(connection, record)
    connection.execute("PRAGMA query_only=ON")


def _postgresql(url: URL) -> Engines:
    patience = SILENT_SECONDS
    said = {
        "connect_timeout": BUSY_SECONDS,
        "application_name": "sortingoffice",
        # A server that is gone without a word: found out while its connection is idle, too.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": round(patience * 1000),
    }
    # The admin's word goes first.
    ours = {name: value for name, value in said.items() if name not in url.query}
    settings: dict[str, Any] = {"connect_args": ours, "pool_timeout": BUSY_SECONDS}
    writer = sa.create_engine(url, pool_size=2, execution_options={**_WRITES, _AGE: _Age()}, **settings)
    # Each statement of a read is its own snapshot: two round trips less, and no function needs more.
    reader = sa.create_engine(
        url,
        pool_size=READERS,
        max_overflow=4,
        isolation_level="AUTOCOMMIT",
        execution_options={_AGE: _Age()},
        **settings,
    )
    event.listen(writer, "commit", _refuse_to_commit_nothing)
    event.listen(writer, "connect", _prepare_postgresql)
    event.listen(reader, "connect", _prepare_postgresql_reader)
    for each in (writer, reader):
        event.listen(each, "do_connect", lambda _d, _r, args, how: _connected(patience, *args, **how))
        event.listen(each, "connect", lambda _, record: record.info.update({_AGE: time.monotonic()}))
        event.listen(each, "checkout", each.get_execution_options()[_AGE].look)
    return Engines(writer, reader)


def _connected(patience: float, *args: Any, **how: Any) -> Any:
    from sortingoffice.store.connection import Connection  # psycopg: as in `intact`

    made = Connection.connect(*args, **{**how, "client_encoding": "utf8"})
    if (encoding := made.info.parameter_status("server_encoding")) not in ("UTF8", None):
        made.close()
        raise OfficeError(
            f"the database is in {encoding}, which lacks letters that people write; make one by "
            "`createdb --encoding=UTF8 --template=template0 NAME`, and move what is there by pg_dump"
        )
    made.patience = patience
    return made


class _Age:
    """When a connection of an engine was last found broken."""

    def __init__(self) -> None:
        self.broke = 0.0

    def look(self, _connection: object, record: Any, _proxy: object) -> None:
        if record.info[_AGE] <= self.broke:
            raise sa.exc.DisconnectionError  # to the pool, which makes a new one


def distrust(of: sa.Engine) -> None:
    """What is open now is as old as one that broke: none of it is used again."""
    age = of.get_execution_options().get(_AGE)
    if age is not None:
        age.broke = time.monotonic()


def take_time(tx: Transaction) -> None:
    """From now on this connection is waited for without an end: a new index over much is silent for long."""
    if tx.dialect.name == "postgresql":
        raw: Any = tx.connection.dbapi_connection
        raw.patience = None
        tx.detach()  # nobody gets it after us


def _prepare_postgresql(connection: Any, _: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
        cursor.execute("SET jit = off")  # compiling takes 30 ms, each time; none of ours takes as long to run
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone()[0] == "off":  # 250 means committed; stronger settings are the admin's choice
            cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _prepare_postgresql_reader(connection: Any, record: object) -> None:
    _prepare_postgresql(connection, record)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    connection.commit()


def intact(tx: Transaction) -> bool:
    """Whether what was done in the transaction can still be committed.

    SQLite ends a transaction by itself when the disk is full; PostgreSQL answers the COMMIT of a
    failed one with ROLLBACK, without an error.
    """
    if tx.closed or tx.invalidated:
        return False
    raw: Any = tx.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection):
        return raw.in_transaction
    from psycopg.pq import TransactionStatus  # an office on SQLite never needs it, and it is slow to import

    return raw.info.transaction_status not in (TransactionStatus.INERROR, TransactionStatus.UNKNOWN)


def my_turn(tx: Transaction, key: int) -> bool:
    """Whether no other node is at what this key stands for; if so, none will be until `tx` ends."""
    if tx.dialect.name == "sqlite":
        return True  # one writer at a time
    return bool(tx.execute(_TRY_LOCK, {"key": key}).scalar())


_TRY_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(:key)")


def _refuse_to_commit_nothing(tx: Transaction) -> None:
    if not intact(tx):
        raise RuntimeError("a transaction had failed, and its error was swallowed")


def gone(error: BaseException) -> bool:
    """Whether the connection broke, so that a new one may well work."""
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def silent(error: BaseException) -> bool:
    """Whether it is gone since the server said nothing for long."""
    if not gone(error):
        return False
    from sortingoffice.store.connection import Silent  # psycopg is here already: it said so

    return isinstance(getattr(error, "orig", None), Silent)


def read_only(error: BaseException) -> bool:
    """Whether we speak to a server that takes no writes: another, or the same anew, may."""
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlstate", None) == _READ_ONLY


def unavailable(error: BaseException) -> bool:
    """Whether this is the database's state and not a mistake of ours."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError | Unavailable):
        return True
    if isinstance(error, sa.exc.PendingRollbackError):  # a statement after the one that broke the connection
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) == _READ_ONLY


def tell_damage(error: BaseException) -> None:
    """Raises OfficeError, with what to do, where SQLite's file itself is damaged."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        remedy = "put a backup back with restore-backup"
        raise OfficeError(f"the database is damaged ({reason(error)}); {remedy}") from error


def reason(error: BaseException) -> str:
    """The driver's own words on one line, without the statement and its values: they hold addresses."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return " ".join(str(cause).split())[:200]
