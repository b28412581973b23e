"""Many deliveries at once: connections are shared and bounded, and who hangs delays nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sortingoffice.flows import deliver
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store.database import Database
from tests import spooled
from tests.delivering import Sinks, at_sink, delivering, ended, tried
from tests.servers import HANG, Late, Sink
from tests.spooled import INWARD
from tests.waiting import until


async def test_connections_are_reused_and_bounded_per_destination(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=3)
    sink.answers["."] = Late(0.02, "250 2.0.0 taken")
    deliveries = [made.put() for _ in range(30)]
    async with delivering(made):
        await until(ended(made, *deliveries))
    assert sink.most_open <= 3
    assert sink.sessions <= 6
    assert len(sink.received) == 30


async def test_a_backlog_is_claimed_by_the_dozen_not_one_for_each_that_has_gone(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=3)
    deliveries = [made.put() for _ in range(60)]
    before = made.db.writes
    async with delivering(made):
        await until(ended(made, *deliveries))
        claims = made.db.writes - before - len(deliveries)
    assert claims <= 20, "it was 28 where each that had gone asked for the next"


async def test_only_a_few_large_messages_are_in_memory_at_once(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sortingoffice.flows.attempt.LARGE", 1000)
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    sink.answers["MAIL"] = HANG
    raw = INWARD + b"x" * 1000 + b"\r\n"
    for domain in ("home.example", "shop.example", "other.example"):
        for n in range(3):
            made.put(raw=raw, recipient=f"x{n}@{domain}")
    async with delivering(made, drain=0.1):
        await until(lambda: sink.open_sessions == 2)  # the others wait without
        await until(lambda: sum("MAIL" in line for line in sink.commands) >= 4)
        await asyncio.sleep(0.3)
        assert sum("MAIL" in line for line in sink.commands) == 4


async def test_a_smarthost_that_is_down_is_one_destination_whoever_the_mail_is_for(
    sqlite_db: Database, sink: Sink, tmp_path: Path
) -> None:
    nobody = {"smarthost": f"127.0.0.2:{sink.port}"}
    made = spooled.make(sqlite_db, tmp_path, delivery=nobody)
    deliveries = [made.put(recipient=f"x@d{n}.example") for n in range(30)]
    async with delivering(made):
        await until(lambda: tried(made, deliveries) >= 3)
        await asyncio.sleep(0.3)
        assert tried(made, deliveries) <= 6


async def test_a_destination_that_hangs_delays_nobody_else(
    sqlite_db: Database,
    sinks: Sinks,
    sink: Sink,
    zone: ZoneServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "_POLL", 1000.0)  # who is told begins, and doesn't wait for its next look
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    # The same port at another address: whoever calls hangs.
    slow = sinks(host="127.0.0.2", port=sink.port, answers={"CONNECT": HANG})
    zone.set("slow.example", "MX", "10 mx.slow.example")
    zone.set("mx.slow.example", "A", "127.0.0.2")
    hanging = [made.put(recipient=f"x{n}@slow.example") for n in range(300)]
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: slow.sessions > 0)
        late = made.put()
        wake.set()
        await until(ended(made, late))
        assert not tried(made, hanging)


async def test_many_that_hang_leave_room_for_one_that_does_not(
    sqlite_db: Database,
    sinks: Sinks,
    sink: Sink,
    zone: ZoneServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "_POLL", 1000.0)
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    slow = sinks(host="127.0.0.2", port=sink.port, answers={"CONNECT": HANG})
    zone.set("mx.slow.example", "A", "127.0.0.2")
    hanging = []
    for n in range(40):
        zone.set(f"slow{n}.example", "MX", "10 mx.slow.example")
        hanging += [made.put(recipient=f"x@slow{n}.example") for _ in range(4)]
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: slow.open_sessions >= 100)
        late = made.put()
        wake.set()
        await until(ended(made, late))
        assert not tried(made, hanging)


async def test_a_host_that_is_down_is_not_tried_for_each_message(
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    zone.set("down.example", "MX", "10 mx.down.example")
    zone.set("mx.down.example", "A", "127.0.0.2")  # nobody listens
    deliveries = [made.put(recipient=f"x{n}@down.example") for n in range(50)]
    async with delivering(made):
        await until(lambda: tried(made, deliveries) >= 3)
        await asyncio.sleep(0.5)
        assert tried(made, deliveries) <= 6
        sinks(host="127.0.0.2", port=sink.port)  # and when it is back, a probe finds it
        await until(lambda: sum(made.now(each).state.final for each in deliveries) >= 40)
