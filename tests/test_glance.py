"""A glance: some rows by their keys, read in the loop itself where that is quicker than a thread."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import Domain
from sortingoffice.store import domains
from sortingoffice.store.database import Database, Transaction, Unavailable
from tests.spooled import NOW


def _thread(tx: Transaction) -> str:
    tx.execute(sa.text("SELECT 1"))
    return threading.current_thread().name


async def test_a_glance_sees_what_was_committed_just_now(db: Database) -> None:
    for name in ("one.example", "two.example"):
        assert await db.glance(domains.by_name, name) is None
        await db.write(domains.add, Domain(0, name, NOW))
        found = await db.glance(domains.by_name, name)
        assert found is not None
        assert found.name == name


async def test_a_glance_needs_no_thread_on_sqlite(sqlite_db: Database) -> None:
    assert await sqlite_db.glance(_thread) == threading.current_thread().name


async def test_a_glance_writes_nothing(db: Database) -> None:
    with pytest.raises((sa.exc.DBAPIError, Unavailable)):
        await db.glance(domains.add, Domain(0, "no.example", NOW))
    assert await db.glance(domains.by_name, "no.example") is None


async def test_a_mistake_in_a_glance_is_the_callers_and_the_next_one_works(db: Database) -> None:
    def wrong(tx: Transaction) -> None:
        raise LookupError("wrong")

    with pytest.raises(LookupError, match="wrong"):
        await db.glance(wrong)
    assert await db.glance(domains.by_name, "one.example") is None


async def test_a_glance_at_a_file_that_is_locked_leaves_the_loop_and_waits(sqlite_db: Database) -> None:
    path = sqlite_db.path
    assert isinstance(path, Path)
    await sqlite_db.glance(domains.by_name, "one.example")
    sqlite_db.close()  # the last connection out turns the log off, so that one may have the file alone
    alone = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    alone.execute("PRAGMA locking_mode=EXCLUSIVE")
    alone.execute("BEGIN EXCLUSIVE")
    again = Database(f"sqlite:///{path}")
    threading.Timer(0.3, alone.close).start()
    assert await again.glance(_thread) != threading.current_thread().name
    assert await again.glance(_thread) == threading.current_thread().name
    again.close()
