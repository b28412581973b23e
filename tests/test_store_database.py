"""The one door: group commit, cancellation, failures, and databases that go away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import Account, AccountState, Domain
from sortingoffice.errors import OfficeError
from sortingoffice.store import accounts, domains, engine, relationships
from sortingoffice.store.database import Database, OutOfReach, Transaction, Unavailable
from tests.database import Cluster
from tests.test_store_spool import relationship

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def add(tx: Transaction, name: str) -> Domain:
    return domains.add(tx, Domain(0, name, NOW))


def names(db: Database) -> set[str]:
    return {each.name for each in db.view(domains.every)}


class Gate:
    """A write that waits, so that the next ones gather behind it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, tx: Transaction) -> None:
        self.entered.set()
        assert self.open.wait(10)


async def behind(db: Database, gate: Gate) -> asyncio.Task[None]:
    """A task that holds the writer at the gate."""
    task = asyncio.create_task(db.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    return task


# ---- group commit --------------------------------------------------------------------------------


async def test_an_answered_write_is_there_for_everybody(db: Database) -> None:
    stored = await db.write(add, "a.example")
    assert await db.read(domains.by_name, "a.example") == stored
    assert db.view(domains.by_name, "a.example") == stored


async def test_writes_that_wait_share_one_commit(db: Database) -> None:
    gate = Gate()
    first = await behind(db, gate)
    waiting = [asyncio.create_task(db.write(add, f"d{n}.example")) for n in range(40)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *waiting)
    assert len(names(db)) == 40
    assert db.writes == 41
    assert db.commits <= 8


async def test_a_failed_write_takes_no_other_with_it(db: Database) -> None:
    def broken(tx: Transaction) -> None:
        add(tx, "half.example")
        raise KeyError("ours")

    gate = Gate()
    first = await behind(db, gate)
    tasks = [
        asyncio.create_task(db.write(broken)),
        asyncio.create_task(db.write(add, "a.example")),
        asyncio.create_task(db.write(broken)),
        asyncio.create_task(db.write(add, "a.example")),  # twice the same name
        asyncio.create_task(db.write(add, "b.example")),
    ]
    await asyncio.sleep(0)
    gate.open.set()
    await first
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each).__name__ for each in found] == [
        "KeyError",
        "Domain",
        "KeyError",
        "IntegrityError",
        "Domain",
    ]
    assert names(db) == {"a.example", "b.example"}


async def test_nobody_is_answered_before_the_commit(sqlite_db: Database) -> None:
    """What is answered, another connection sees; what another connection does not see, is not answered."""
    gate = Gate()
    early = asyncio.create_task(sqlite_db.write(add, "early.example"))
    behind_it = asyncio.create_task(sqlite_db.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    assert early.done() == ("early.example" in names(sqlite_db))
    gate.open.set()
    await asyncio.gather(early, behind_it)
    assert names(sqlite_db) == {"early.example"}


async def test_cancelling_the_task_does_not_cancel_the_write(db: Database) -> None:
    gate = Gate()
    first = await behind(db, gate)
    under_way = asyncio.create_task(db.write(add, "a.example"))
    await asyncio.sleep(0)
    for task in (first, under_way):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.open.set()
    await db.write(add, "b.example")  # behind them
    assert names(db) == {"a.example", "b.example"}


async def test_closing_finishes_what_waits(db: Database) -> None:
    gate = Gate()
    first = await behind(db, gate)
    waiting = [asyncio.create_task(db.write(add, f"d{n}.example")) for n in range(300)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.to_thread(db.close)
    await asyncio.gather(first, *waiting)
    with pytest.raises(Unavailable):
        await db.write(add, "late.example")


async def test_a_group_is_bounded_so_that_the_first_need_not_wait_for_the_last(db: Database) -> None:
    gate = Gate()
    first = await behind(db, gate)
    waiting = [asyncio.create_task(db.write(add, f"d{n}.example")) for n in range(600)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *waiting)
    assert db.commits >= 600 // 128


async def test_a_write_that_raises_stopiteration_is_answered(db: Database) -> None:
    def odd(tx: Transaction) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError):
        await db.write(odd)


async def test_a_write_that_swallows_its_failure_is_not_answered_as_stored(db: Database) -> None:
    def twice(tx: Transaction) -> None:
        add(tx, "a.example")
        if db.dialect == "sqlite":  # as it does by itself when the disk is full
            tx.exec_driver_sql("ROLLBACK")
        with contextlib.suppress(sa.exc.DBAPIError):
            tx.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    with pytest.raises((RuntimeError, Unavailable)):
        await db.write(twice)
    with pytest.raises(RuntimeError):
        db.call(twice)
    await db.write(add, "b.example")


async def test_a_transaction_that_ends_by_itself_costs_no_other_write(sqlite_db: Database) -> None:
    def lost(tx: Transaction) -> None:
        tx.exec_driver_sql("ROLLBACK")
        tx.exec_driver_sql("SELECT nothing")

    gate = Gate()
    first = await behind(sqlite_db, gate)
    before = asyncio.create_task(sqlite_db.write(add, "a.example"))
    losing = asyncio.create_task(sqlite_db.write(lost))
    after = asyncio.create_task(sqlite_db.write(add, "b.example"))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, before, after)
    with pytest.raises(Unavailable):
        await losing
    assert names(sqlite_db) == {"a.example", "b.example"}


def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises((sa.exc.DBAPIError, Unavailable)):
        db.view(add, "a.example")
    assert names(db) == set()


async def test_a_revoke_and_an_arriving_message_never_overwrite_one_another(db: Database) -> None:
    """Two connections read, count and write the same relationship: no count is lost."""
    account = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, None, "card", NOW))
    of = db.call(relationships.add, relationship(account.id, "lamp-shop")).id

    def count(tx: Transaction) -> None:
        found = relationships.by_id(tx, of)
        assert found is not None
        relationships.update(tx, replace(found, received=found.received + 1))

    def many() -> None:
        for _ in range(60):
            db.call(count)

    await asyncio.gather(*(asyncio.to_thread(many) for _ in range(2)), *(db.write(count) for _ in range(60)))
    after = db.view(relationships.by_id, of)
    assert after is not None
    assert after.received == 180


# ---- SQLite --------------------------------------------------------------------------------------


def test_sqlite_is_durable_and_checks_foreign_keys(sqlite_db: Database) -> None:
    def settings(tx: Transaction) -> list[object]:
        wanted = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
        return [tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted]

    assert sqlite_db.call(settings) == ["wal", 2, 1, 1]
    assert sqlite_db.view(settings) == ["wal", 2, 1, 1]


async def test_a_locked_database_is_unavailable_and_recovers_by_itself(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    assert sqlite_db.path is not None
    db = Database(f"sqlite:///{sqlite_db.path}")
    other = sqlite3.connect(sqlite_db.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    found = await asyncio.gather(*(db.write(add, f"d{n}.example") for n in range(20)), return_exceptions=True)
    assert {type(each) for each in found} == {Unavailable}
    assert time.monotonic() - started < 3.8, "they wait together, not one after the other"
    with pytest.raises(OutOfReach, match="locked"):
        db.call(add, "a.example")
    assert await db.read(domains.every) == (), "reading goes on"
    other.execute("ROLLBACK")
    other.close()
    await db.write(add, "a.example")
    assert names(db) == {"a.example"}
    db.close()


async def test_a_full_disk_is_unavailable_and_recovers_by_itself(sqlite_db: Database) -> None:
    await sqlite_db.write(add, "before.example")

    def limit(pages: int) -> None:
        with sqlite_db._engines.writer.connect() as tx:
            raw = tx.connection.dbapi_connection
            assert raw is not None
            raw.execute(f"PRAGMA max_page_count={pages}")

    def large(tx: Transaction) -> None:
        add(tx, "x" * 2_000_000)

    limit(1)  # SQLite keeps to the pages that there are
    found = await asyncio.gather(
        sqlite_db.write(large), *(sqlite_db.write(large) for _ in range(5)), return_exceptions=True
    )
    assert {type(each) for each in found} == {Unavailable}
    assert all("full" in str(each) for each in found)
    limit(1_000_000)
    await sqlite_db.write(add, "after.example")
    assert names(sqlite_db) == {"before.example", "after.example"}


async def test_a_folder_that_is_not_there_is_unavailable_with_a_reason(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/none/office.sqlite")
    with pytest.raises(Unavailable, match="unable to open"):
        await db.write(add, "a.example")
    with pytest.raises(Unavailable, match="unable to open"):
        await db.read(domains.every)
    db.close()


@pytest.mark.parametrize("url", ["sqlite://", "mysql://a/b", "nonsense", "sqlite:///:memory:"])
def test_another_database_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(OfficeError, match="postgresql://"):
        Database(url)


# ---- PostgreSQL ----------------------------------------------------------------------------------


async def test_a_restarted_server_is_found_again_without_a_word(
    postgresql: Cluster, postgresql_db: Database
) -> None:
    db = postgresql_db
    await db.write(add, "a.example")
    await db.read(domains.every)
    postgresql.stop()
    with pytest.raises(Unavailable):
        await db.write(add, "gone.example")
    with pytest.raises(Unavailable):
        await db.read(domains.every)
    postgresql.start()
    await db.write(add, "b.example")
    assert names(db) == {"a.example", "b.example"}


async def test_a_stale_connection_costs_no_write(postgresql: Cluster, postgresql_db: Database) -> None:
    db = postgresql_db
    await db.write(add, "a.example")
    await db.read(domains.every)
    postgresql.stop()
    postgresql.start()
    await asyncio.gather(*(db.write(add, f"d{n}.example") for n in range(20)))
    assert len(await db.read(domains.every)) == 21


async def test_a_database_that_took_no_writes_for_a_while_is_found_again_without_a_restart(
    postgresql: Cluster, postgresql_db: Database
) -> None:
    """As after a failover to a standby and back: the connection lives, and its session takes no writes."""
    db = postgresql_db
    await db.write(add, "a.example")
    name = db.view(lambda tx: tx.exec_driver_sql("SELECT current_database()").scalar())
    postgresql.command(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgresql.command(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await db.write(add, "b.example")
    postgresql.command(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    for _ in range(20):
        with contextlib.suppress(Unavailable):
            await db.write(add, "b.example")
            break
        await asyncio.sleep(0.1)
    assert names(db) == {"a.example", "b.example"}


async def test_a_connection_that_breaks_in_a_group_costs_no_write(postgresql_db: Database) -> None:
    db = postgresql_db
    calls: list[int] = []

    def cut(tx: Transaction) -> None:
        calls.append(1)
        if len(calls) == 1:
            mine = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            db.call(lambda other: other.exec_driver_sql(f"SELECT pg_terminate_backend({mine})"))
        add(tx, "cut.example")

    gate = Gate()
    first = await behind(db, gate)
    before = asyncio.create_task(db.write(add, "a.example"))
    breaking = asyncio.create_task(db.write(cut))
    after = asyncio.create_task(db.write(add, "b.example"))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, before, breaking, after)
    assert names(db) == {"a.example", "b.example", "cut.example"}


async def test_two_groups_that_block_one_another_both_get_through(postgresql_db: Database) -> None:
    db = postgresql_db
    account = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, None, "card", NOW))
    one = db.call(relationships.add, relationship(account.id, "one")).id
    two = db.call(relationships.add, relationship(account.id, "two")).id
    holds_two = threading.Event()
    holds_one = threading.Event()

    def here(tx: Transaction) -> None:
        relationships.by_id(tx, one)
        holds_one.set()
        assert holds_two.wait(10)
        relationships.by_id(tx, two)

    def there() -> None:
        def run(tx: Transaction) -> None:
            assert holds_one.wait(10)
            relationships.by_id(tx, two)
            holds_two.set()
            relationships.by_id(tx, one)

        try:
            db.call(run)
        except OutOfReach:
            db.call(run)

    await asyncio.gather(db.write(here), asyncio.to_thread(there))


async def test_postgresql_commits_are_synchronous_whatever_the_server_says(postgresql_db: Database) -> None:
    url = postgresql_db._engines.writer.url.update_query_dict({"options": "-c synchronous_commit=off"})
    db = Database(url.render_as_string(hide_password=False))
    setting = await db.write(lambda tx: tx.exec_driver_sql("SHOW synchronous_commit").scalar())
    db.close()
    assert setting == "on"


# ---- letters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_lacks_letters_is_refused_before_any_mail_is_taken(
    postgresql: Cluster, encoding: str
) -> None:
    name = f"office_in_{encoding.lower()}"
    postgresql.command(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'")
    database = Database(postgresql.url(name))
    with pytest.raises(OfficeError, match=f"in {encoding}, .*--encoding=UTF8"):
        database.upgrade()
    with pytest.raises(OfficeError, match=f"in {encoding}, .*--encoding=UTF8"):
        database.check()
    database.close()


def test_every_letter_is_stored_whatever_the_environment_says_of_encodings(
    postgresql_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    postgresql_db.call(add, "lömp-€-😀.example")
    assert names(postgresql_db) == {"lömp-€-😀.example"}
