"""The delivering loop and an outage of the database: the living keep what they are at, the dead don't."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sortingoffice.core.model import Delivery, DeliveryState
from sortingoffice.flows import deliver, settle
from sortingoffice.flows.attempt import Attempts
from sortingoffice.flows.office import Office
from sortingoffice.net.relay import Relay
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import engine, leases, spool, turn
from sortingoffice.store.database import Database
from tests.delivering import QUICK, always, at_sink
from tests.servers import Late, Sink
from tests.spooled import INWARD, Spooled
from tests.waiting import until

_LEASE = timedelta(seconds=1.5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of all times, but for the seconds that are left to the others."""
    monkeypatch.setattr(leases, "LEASE", _LEASE)
    monkeypatch.setattr(leases.claim, "__defaults__", (_LEASE,))
    monkeypatch.setattr(deliver, "_HEARTBEAT", 0.5)
    monkeypatch.setattr(deliver, "_POLL", 0.05)
    monkeypatch.setattr(deliver, "_AWAY_POLL", 0.2)
    monkeypatch.setattr(settle, "_LONGEST_WAIT", 0.2)
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.25)
    monkeypatch.setattr(turn.Turn.take, "__defaults__", (0.1,))


@pytest.fixture
def made(quick: None, sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Iterator[Spooled]:
    """In real time, with a database that heeds the times above."""
    db = Database(f"sqlite:///{sqlite_db.path}")
    made = at_sink(db, sink, zone, tmp_path, concurrency_per_destination=5)
    made.office = replace(made.office, clock=lambda: datetime.now(UTC))
    made.clock.now = made.office.clock()
    yield made
    db.close()


@asynccontextmanager
async def _processes(made: Spooled, *names: str) -> AsyncIterator[None]:
    """Several, each with a database of its own."""
    stop = asyncio.Event()
    databases = [Database(f"sqlite:///{made.db.path}") for _ in names]
    runs = []
    for name, db in zip(names, databases, strict=True):
        of = made.office
        office = Office(of.config, db, of.keys, of.resolver, of.clock, of.random)
        relay = Relay("mx.sort.example", timeouts=QUICK)
        ways = Attempts(office, relay)
        runs.append(asyncio.create_task(deliver.run(always(ways), name, stop)))
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*runs)
        for db in databases:
            db.close()


@asynccontextmanager
async def _outage(made: Spooled) -> AsyncIterator[None]:
    """Another has the lock for all of it."""
    lock = sqlite3.connect(str(made.db.path), isolation_level=None, timeout=5)
    try:
        lock.execute("BEGIN IMMEDIATE")
        yield
        lock.execute("ROLLBACK")
    finally:
        lock.close()


def _puts(made: Spooled, number: int) -> list[Delivery]:
    """Each with its number as its Message-ID."""
    return [
        made.put(raw=INWARD.replace(b"<1@", b"<%d@" % n), recipient=f"x{n}@home.example")
        for n in range(number)
    ]


def _replies(made: Spooled, deliveries: list[Delivery]) -> set[str]:
    return {a.reply for each in deliveries for a in made.db.view(spool.attempts, each.id)}


def _copies(sink: Sink) -> Counter[bytes]:
    found = (re.search(rb"Message-ID: <([0-9]+)@", each.octets) for each in tuple(sink.received))
    return Counter(each[1] for each in found if each is not None)


def _done(made: Spooled) -> Callable[[], bool]:
    return lambda: not made.db.view(spool.queue)


async def test_an_outage_longer_than_a_lease_takes_nothing_from_the_living(made: Spooled, sink: Sink) -> None:
    sink.answers["."] = Late(0.3, "250 2.0.0 taken")
    deliveries = _puts(made, 60)
    async with _processes(made, "one", "two"):
        await until(lambda: len(sink.received) >= 8)
        async with _outage(made):
            before = len(sink.received)
            await asyncio.sleep(2 * _LEASE.total_seconds())
            assert len(sink.received) > before, "taken, and not on disk"
        await until(_done(made))
        assert _copies(sink) == Counter({b"%d" % n: 1 for n in range(60)})
        assert leases.CUT_SHORT not in _replies(made, deliveries)


async def test_who_died_in_an_outage_is_followed_soon_after(made: Spooled, sink: Sink) -> None:
    delivery = made.put()
    made.db.call(leases.claim, made.office.clock(), "dead", 10)
    async with _processes(made, "one"):
        async with _outage(made):
            await asyncio.sleep(2 * _LEASE.total_seconds())
        await asyncio.sleep(1.0)
        assert made.now(delivery).lease_node == "dead", "it might live"
        await until(lambda: made.now(delivery).state is DeliveryState.DELIVERED)
        replies = [attempt.reply for attempt in made.db.view(spool.attempts, delivery.id)]
        assert replies == [leases.CUT_SHORT, "250 2.0.0 taken"]


async def test_who_starts_in_an_outage_takes_nothing_from_the_living(made: Spooled, sink: Sink) -> None:
    delivery = made.put()
    made.db.call(leases.claim, made.office.clock(), "elsewhere", 10)
    async with AsyncExitStack() as stack:
        async with _outage(made):
            await stack.enter_async_context(_processes(made, "one"))
            await asyncio.sleep(2 * _LEASE.total_seconds())
        await asyncio.sleep(1.0)
        until_then = made.office.clock() + timedelta(seconds=20)
        assert made.db.call(leases.renew, (delivery.id,), "elsewhere", until_then) == (delivery.id,)
        await asyncio.sleep(3.0)
    assert sink.received == []
