"""Several processes at one spool: one believes a destination out of reach that another delivers to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.core import pace
from sortingoffice.core.model import Attempt, Delivery, Direction
from sortingoffice.flows.office import Office
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import leases, schema
from sortingoffice.store.database import Database
from sortingoffice.values import Endpoint
from tests.delivering import Sinks, at_sink, delivering, ended
from tests.servers import Sink
from tests.spooled import Spooled
from tests.test_store_put_off import every, put
from tests.test_store_spool import NOW, SECOND, to
from tests.waiting import until

_PAUSE = 60.0  # longer than any of these tests waits


@pytest.fixture(params=["sqlite_db", "postgresql_db"])
def made(
    request: pytest.FixtureRequest,
    sink: Sink,
    zone: ZoneServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Spooled:
    """In real time; nobody listens where mail to `down.example` goes, and who finds that out waits long."""
    monkeypatch.setattr(pace, "SHORTEST_PAUSE", _PAUSE)
    made = at_sink(request.getfixturevalue(request.param), sink, zone, tmp_path, retry=["15m"])
    made.office = replace(made.office, clock=lambda: datetime.now(UTC))
    zone.set("down.example", "MX", "10 mx.down.example")
    zone.set("mx.down.example", "A", "127.0.0.2")
    return made


def _puts(made: Spooled, number: int, name: str = "x", **changes: Any) -> list[Delivery]:
    made.clock.now = datetime.now(UTC)
    return [made.put(recipient=f"{name}{n}@down.example", **changes) for n in range(number)]


async def _some_at_a_time(made: Spooled) -> list[Delivery]:
    deliveries = []
    for n in range(20):
        deliveries += _puts(made, 2, f"y{n}.")
        await asyncio.sleep(0.15)
    return deliveries


def _all_put_off(made: Spooled, deliveries: list[Delivery]) -> bool:
    """But for some to probe with, by who has failed."""
    now = [made.now(each) for each in deliveries]
    return sum(leases.UNTRIED in each.last_reply for each in now) >= len(now) - 2 * pace.FIRST


async def test_what_one_process_has_found_in_reach_is_not_put_off_by_another(
    made: Spooled, sinks: Sinks, sink: Sink
) -> None:
    first = _puts(made, 20)
    async with delivering(made, node="one", drain=0.1) as wake:
        await until(lambda: _all_put_off(made, first))
        await asyncio.sleep(1.2)  # it looks at the others' attempts from now on
        sinks(host="127.0.0.2", port=sink.port)
        async with delivering(made, node="two", drain=0.1) as other:
            _puts(made, 1, "found", due=made.office.clock() - timedelta(hours=1))
            other.set()
            late = await _some_at_a_time(made)
            wake.set()
            untried = [each for each in first if not made.now(each).attempts]
            await until(ended(made, *late, *untried), 6)


async def test_a_process_without_a_way_out_puts_nothing_off_for_long_that_another_delivers(
    made: Spooled, sinks: Sinks, sink: Sink
) -> None:
    sinks(host="127.0.0.2", port=sink.port)
    without = replace(made, office=_going(made, port=1))
    first = _puts(made, 20)
    async with delivering(without, node="one", drain=0.1):
        await until(lambda: _all_put_off(made, first))
        await asyncio.sleep(1.2)
        async with delivering(made, node="two", drain=0.1) as other:
            other.set()
            late = await _some_at_a_time(made)
            await asyncio.sleep(1.0)
            now, left = made.office.clock(), [made.now(each) for each in first + late]
    untried = [each for each in left if not each.state.final and not each.attempts and not each.lease_node]
    assert all(each.due < now + timedelta(seconds=5) for each in untried)
    assert any(each.state.final for each in left)


@pytest.mark.parametrize("way", ["mx", "smarthost"])
async def test_a_process_without_a_way_out_leaves_the_mail_to_who_has_one(
    made: Spooled, sinks: Sinks, sink: Sink, way: str
) -> None:
    if way == "smarthost":
        smart = Endpoint("127.0.0.2", sink.port)
        made.office = _going(made, smarthost=smart)
        without = replace(made, office=_going(made, smarthost=replace(smart, port=1)))
    else:
        without = replace(made, office=_going(made, port=1))
    sinks(host="127.0.0.2", port=sink.port)
    first = _puts(made, 20)
    async with delivering(without, node="one", drain=0.1):
        await until(lambda: _all_put_off(made, first))
        await asyncio.sleep(1.2)
        async with delivering(made, node="two", drain=0.1):
            _puts(made, 1, "found", due=made.office.clock() - timedelta(hours=1))
            # The probes that it has are sent, and fail: with the next pause nothing is its own.
            await until(lambda: sum(made.now(each).attempts for each in first) > pace.FIRST)
            late = await _some_at_a_time(made)
            untried = [each for each in first if not made.now(each).attempts]
            await until(ended(made, *late, *untried), 10)
    now = [made.now(each) for each in late]
    assert {each.attempts for each in now} == {1}
    assert not any(leases.UNTRIED in each.last_reply for each in now)
    waited = sorted((each.ended or made.office.clock()) - each.created for each in now)
    assert waited[len(waited) // 2] < timedelta(seconds=2)


def _going(made: Spooled, **delivery: Any) -> Office:
    config = made.office.config
    return replace(made.office, config=replace(config, delivery=replace(config.delivery, **delivery)))


async def test_nothing_is_returned_for_one_process_s_failure_to_reach_who_takes_mail_from_another(
    made: Spooled, sinks: Sinks, sink: Sink
) -> None:
    first = _puts(made, 20)
    async with delivering(made, node="one", drain=0.1):
        await until(lambda: _all_put_off(made, first))
        await asyncio.sleep(1.2)
        sinks(host="127.0.0.2", port=sink.port)
        async with delivering(made, node="two", drain=0.1) as other:
            (found,) = _puts(made, 1, "found")
            other.set()
            await until(ended(made, found), 10)
            over = _puts(made, 20, "over", direction=Direction.OUTWARD, expires=made.office.clock())
            await until(ended(made, *over), 10)
    assert {made.now(each).reason for each in over} == {"delivered"}


def test_what_was_taken_is_seen_once_whoever_brought_it(db: Database) -> None:
    put(db, to("a.example"), to("a.example"), to("b.example"))
    first, second, third = (each.id for each in every(db))

    def tried(delivery: int, seconds: int, reply: str) -> None:
        db.call(lambda tx: schema.insert(tx, Attempt(0, delivery, NOW + seconds * SECOND, "", "", reply, 0)))

    tried(first, 0, "250 2.0.0 taken")
    seen, taken = db.view(leases.taken_since, None)
    assert taken == {}
    tried(second, 2, "250 2.0.0 taken")
    tried(first, 1, "250 2.0.0 taken")
    tried(third, 3, "451 4.2.0 later")
    last, taken = db.view(leases.taken_since, seen)
    assert taken == {"a.example": NOW + 2 * SECOND}
    assert db.view(leases.taken_since, last) == (last, {})
