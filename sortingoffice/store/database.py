"""The one door to the database.

A transaction is a plain synchronous function `fn(tx, …)`.  It cannot await, so no transaction is
ever held across the network; it has no effect but on `tx`, so it can be run again.

    await db.read(fn, …)    on a reader's thread
    await db.glance(fn, …)  in the loop itself, where that is quicker: some rows by their keys
    await db.write(fn, …)   in the writer's group: returned means committed
    await db.write_first(fn, …)  the same, before whatever waits
    db.view(fn, …), db.call(fn, …)   the same two, in the caller's thread: commands and tests

Promise: what the database cannot do now is `Unavailable`, on either database; any other exception
is fn's own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from sortingoffice.errors import OfficeError
from sortingoffice.store import checkpoint, engine, migrations
from sortingoffice.store.engine import OutOfReach, Transaction, Unavailable, my_turn
from sortingoffice.store.handover import Desk
from sortingoffice.store.writer import Writer

__all__ = ["Database", "OutOfReach", "Transaction", "Unavailable", "my_turn"]

P = ParamSpec("P")
T = TypeVar("T")

_MIGRATION = 0x536F7274  # "Sort": the advisory lock that two nodes' upgrades meet at


class Database:
    """An office's database; nothing is opened before it is used, so make it after a fork."""

    def __init__(self, url: str) -> None:
        """`url` as in the config: sqlite:///PATH or postgresql://…; raises OfficeError for another."""
        self._engines = engine.open(url)
        self._writer = Writer(self._engines.writer)
        self._glancing: sa.Connection | None = None
        self._no_connection = 0.0  # time.monotonic() at which none could be had to read with
        self._proven = 0  # of the writes that were refused, those that no longer count
        self._proof: asyncio.Task[None] | None = None
        self._readers = ThreadPoolExecutor(engine.READERS, thread_name_prefix="database-reader")

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._engines.writer.dialect.name

    @property
    def path(self) -> Path | None:
        """SQLite's file; None on PostgreSQL."""
        name = self._engines.writer.url.database
        return Path(name) if self.dialect == "sqlite" and name else None

    @property
    def commits(self) -> int:
        """Group commits so far; `writes / commits` is the mean size of a group."""
        return self._writer.commits

    @property
    def writes(self) -> int:
        return self._writer.writes

    async def write(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """fn's value, committed.  Cancelling the task does not undo or stop the commit."""
        return await self._writer.write(lambda tx: fn(tx, *args, **kwargs))

    async def write_first(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, before whatever waits to be written: what a crash would make us do twice."""
        return await self._writer.write(lambda tx: fn(tx, *args, **kwargs), urgent=True)

    def open_desk(self, desk: Desk) -> None:
        """From now on what is written here is handed over to who delivers in this process."""
        self._writer.desk = desk

    def close_desk(self, desk: Desk) -> None:
        """Not any more, unless another has opened meanwhile."""
        if self._writer.desk is desk:
            self._writer.desk = None

    async def read(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        asked = time.monotonic()

        def look() -> T:
            if asked < self._no_connection:  # while it waited, others tried: it would fare no better
                raise Unavailable("the database can't be reached")
            return self._look(fn, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._readers, look)

    async def glance(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, for some rows by their keys: SQLite finds them sooner than a thread would wake up.

        What it can't tell at once, since somebody is at the file, is left to a thread, which may wait.
        """
        if self._engines.glance is None:
            return await self.read(fn, *args, **kwargs)
        try:
            if self._glancing is None:
                self._glancing = self._engines.glance.connect()
            with self._glancing.begin():
                return fn(self._glancing, *args, **kwargs)
        except Exception as error:
            self._stop_glancing()
            if not engine.unavailable(error):
                raise
        return await self.read(fn, *args, **kwargs)

    def _stop_glancing(self) -> None:
        connection, self._glancing = self._glancing, None
        if connection is not None:
            connection.close()

    def call(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A write transaction of its own, here and now."""
        try:
            with self._engines.writer.begin() as tx:
                return fn(tx, *args, **kwargs)
        except Exception as error:
            if engine.unavailable(error):
                raise OutOfReach(f"the database cannot be written: {engine.reason(error)}") from error
            engine.tell_damage(error)
            raise

    def view(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self._look(fn, *args, **kwargs)
        except Unavailable as error:
            raise OutOfReach(f"the database cannot be read: {error}") from error
        except sa.exc.DBAPIError as error:
            engine.tell_damage(error)
            raise

    def _look(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        for last in (False, True):
            connected = False
            try:
                with self._engines.reader.connect() as tx:
                    connected = True
                    return fn(tx, *args, **kwargs)
            except Exception as error:
                if engine.gone(error):
                    engine.distrust(self._engines.reader)
                    if not last:
                        continue  # the server was restarted: this connection was stale, the next is new
                if self.path is None and (not connected or engine.silent(error)):
                    self._no_connection = time.monotonic()
                if engine.unavailable(error):
                    raise Unavailable(engine.reason(error)) from error
                raise
        raise AssertionError("the loop ends in return or raise")

    async def takes_writes(self, seconds: float = 1.0) -> bool:
        """Whether none was refused for the database's state since one was stored that proves it well.

        Where one was, another try is made here, for nobody else may write in this process; what only looked
        for something to do, and found nothing, proves nothing: a disk may be full.

        seconds  that it may take; it goes on, and whoever asks next hears of it
        """
        refused = self._writer.refused
        if refused != self._proven and self._proof is None:
            self._proof = asyncio.create_task(self._prove(refused))
        if self._proof is not None:
            await asyncio.wait((self._proof,), timeout=seconds)
        return self._writer.refused == self._proven

    async def _prove(self, refused: int) -> None:
        try:
            await self.write(_write_the_same)
            self._proven = refused
        except Unavailable:
            pass  # it was counted, like the others
        finally:
            self._proof = None

    async def empty_log(self) -> bool:
        """SQLite's log of the last commits is cut to nothing, where nobody is at it now; whether it is."""
        path = self.path
        if path is None:
            return True
        try:
            return await asyncio.to_thread(checkpoint.truncate, path)
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error

    def upgrade(self) -> None:
        """Bring the schema up to date, in one transaction; does nothing where it is.

        Raises OfficeError where a newer version has been here.
        """
        from alembic import command  # half a second, and only here
        from alembic.config import Config

        def migrate(tx: Transaction) -> None:
            engine.take_time(tx)
            if tx.dialect.name == "postgresql":
                tx.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION})
            if _revision(tx) not in ("", *migrations.REVISIONS):
                raise _newer(_revision(tx))
            config = Config()
            config.set_main_option(
                "script_location", str(Path(migrations.__file__).parent).replace("%", "%%")
            )
            config.attributes["connection"] = tx
            command.upgrade(config, "head")

        self.call(migrate)

    def revision(self) -> str:
        """The schema's revision; "" where there is none."""
        return self.call(_revision)

    def check(self) -> None:
        """Raises OfficeError, with what to do, where the schema is not this version's."""
        found = self.view(_revision)  # only read: an office starts while somebody else writes for long
        if found == migrations.REVISIONS[-1]:
            return
        if not found:
            raise OfficeError("the database is empty; run: sortingoffice db upgrade")
        if found in migrations.REVISIONS:
            raise OfficeError(f"the database is of an older version ({found}); run: sortingoffice db upgrade")
        raise _newer(found)

    def close(self) -> None:
        """Finish the writes that wait, and give the connections back."""
        self._writer.close()
        self._readers.shutdown()
        self._stop_glancing()
        self._engines.close()


def _revision(tx: Transaction) -> str:
    """The schema's revision; "" where there is none."""
    if not sa.inspect(tx).has_table("alembic_version"):
        return ""
    return str(tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or "")


def _write_the_same(tx: Transaction) -> None:
    """The smallest write that reaches the disk."""
    tx.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))


def _newer(found: str) -> OfficeError:
    return OfficeError(
        f"the database was written by a newer version ({found}); install that version, or restore a backup"
    )
