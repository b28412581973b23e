"""The delivering loop while the wall clock is set, back or ahead."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import putoff
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import engine, leases, spool
from sortingoffice.store.database import Database
from tests.delivering import at_sink, delivering, ended
from tests.servers import Late, Sink
from tests.spooled import NOW, Spooled
from tests.waiting import until


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """Everything that leaves goes to the sink, by its exchange."""
    return at_sink(sqlite_db, sink, zone, tmp_path)


async def test_a_clock_that_jumps_sends_nothing_twice(made: Spooled, sink: Sink) -> None:
    sink.answers["."] = Late(0.5, "250 2.0.0 taken")
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: any("DATA" in line for line in sink.commands))
        made.clock.pass_(hours=2)  # the lease seems to have run out
        wake.set()
        await until(ended(made, delivery))
    assert len(sink.received) == 1


async def test_a_clock_that_is_set_back_delays_no_retry(made: Spooled, sink: Sink) -> None:
    made.clock.pass_(days=3)  # by mistake
    sink.answers["RCPT"] = ["451 4.2.0 later"]
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        made.clock.now = NOW
        wake.set()
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.DELIVERED


async def test_what_a_clock_that_was_ahead_put_off_is_due_when_the_office_starts(
    made: Spooled, sink: Sink
) -> None:
    made.clock.pass_(days=3)
    leased = made.put()
    assert made.db.call(leases.claim, made.clock.now, "there", 1)
    put_off = made.put(due=made.clock.now + timedelta(hours=1))
    made.clock.now = NOW
    rightly = made.put(due=NOW + timedelta(hours=1))
    assert [made.db.call(putoff.went_back, made.office) for _ in range(2)] == [2, 0]
    assert made.now(leased).due == made.now(leased).lease_until == NOW + timedelta(seconds=30)
    made.db.call(leases.give_back, "there")
    async with delivering(made):
        await until(ended(made, put_off))
    assert made.now(rightly).due == NOW + timedelta(hours=1)


async def test_at_its_start_the_office_puts_right_what_a_clock_that_was_ahead_has_put_off(
    made: Spooled,
) -> None:
    made.clock.pass_(days=3)
    put_off = made.put(due=made.clock.now + timedelta(hours=1))
    made.clock.now = NOW
    async with delivering(made):
        await until(ended(made, put_off))
    assert made.now(put_off).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("days", [3, 3650])
async def test_what_was_under_way_when_the_clock_leapt_is_tried_again_when_it_is_right_again(
    made: Spooled, sink: Sink, days: int
) -> None:
    sink.answers["RCPT"] = [Late(0.3, "451 4.2.0 later")]
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: any("RCPT" in line for line in sink.commands))
        made.clock.pass_(days=days)
        wake.set()
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        assert made.now(delivery).due > made.clock.now, "only that lies in the future"
        made.clock.now = NOW + timedelta(seconds=1)
        wake.set()
        await until(ended(made, delivery), 10)


async def test_what_waits_is_put_right_though_the_database_was_away_when_the_clock_was_set_back(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    made.office = replace(made.office, db=Database(f"sqlite:///{made.db.path}"))
    made.clock.pass_(days=3)
    sink.answers["RCPT"] = ["451 4.2.0 later"]
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        lock = sqlite3.connect(str(made.db.path), isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        made.clock.now = NOW
        wake.set()
        await asyncio.sleep(1.5)
        lock.execute("ROLLBACK")
        lock.close()
        await until(ended(made, delivery), 10)
    made.db.close()


async def test_a_clock_that_is_set_ahead_takes_no_lease_from_another_process(
    made: Spooled, sink: Sink
) -> None:
    sink.answers["."] = Late(0.8, "250 2.0.0 taken")
    delivery = made.put()
    async with delivering(made, node="here") as wake, delivering(made, node="there") as other:
        await until(lambda: any("DATA" in line for line in sink.commands))
        made.clock.pass_(hours=2)
        other.set()  # who holds nothing sees it first
        await asyncio.sleep(0.2)
        wake.set()
        await until(ended(made, delivery))
    assert len(sink.received) == 1
    assert len(made.db.view(spool.attempts, delivery.id)) == 1


async def test_nothing_is_given_up_for_a_clock_that_leapt_ahead(made: Spooled, sink: Sink) -> None:
    sink.answers["RCPT"] = "451 4.2.0 later"
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        made.clock.pass_(days=6)
        wake.set()
        await until(lambda: made.now(delivery).attempts == 2)
    assert made.now(delivery).state is DeliveryState.QUEUED
