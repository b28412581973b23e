"""The delivering loop and destinations out of reach: their mail keeps its days, and nobody else's waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sortingoffice.core import pace
from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.flows import deliver, putoff
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import events, leases, spool
from sortingoffice.store.database import Database
from tests import spooled
from tests.delivering import Sinks, at_sink, delivering, ended, tried
from tests.servers import DROP, HANG, Late, Sink
from tests.spooled import NOW, Spooled
from tests.test_store_leases import fill
from tests.waiting import until

_PAUSE = 60.0  # longer than any of these tests waits


@pytest.fixture(params=["sqlite_db", "postgresql_db"])
def made(request: pytest.FixtureRequest, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """Everything that leaves goes to the sink, but for `down.example`, where nobody listens."""
    made = at_sink(request.getfixturevalue(request.param), sink, zone, tmp_path)
    _down(zone, "down.example")
    return made


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are when a host has been down for some minutes."""
    monkeypatch.setattr(pace, "SHORTEST_PAUSE", _PAUSE)


def _down(zone: ZoneServer, *domains: str) -> None:
    zone.set("mx.down.example", "A", "127.0.0.2")
    for domain in domains:
        zone.set(domain, "MX", "10 mx.down.example")


def _puts(made: Spooled, number: int, direction: Direction, **changes: object) -> list[Delivery]:
    return [made.put(direction, recipient=f"x{n}@down.example", **changes) for n in range(number)]


def _replies(made: Spooled, delivery: Delivery) -> list[str]:
    return [attempt.reply for attempt in made.db.view(spool.attempts, delivery.id)]


def _told(made: Spooled, what: str) -> int:
    return sum(event.what == what for event in made.db.view(events.every, None, 1000))


def _settled(made: Spooled, deliveries: list[Delivery]) -> bool:
    """Whether it was tried once and all but a few to probe with are nobody's."""
    now = [made.now(each) for each in deliveries]
    return any(each.attempts for each in now) and sum(bool(each.lease_node) for each in now) <= pace.FIRST


# ---- five days, four hours ------------------------------------------------------------------------


@pytest.mark.usefixtures("long_pauses")
async def test_what_has_expired_is_returned_though_its_host_is_tried_once_a_minute(made: Spooled) -> None:
    deliveries = _puts(made, 30, Direction.OUTWARD)
    made.clock.pass_(days=6)
    async with delivering(made, drain=0.1):
        await until(ended(made, *deliveries))
    assert {(made.now(each).state, made.now(each).reason) for each in deliveries} == {
        (DeliveryState.RETURNED, "expired")
    }
    assert _told(made, "returned") == 30
    alone = [_replies(made, each)[0] for each in deliveries if leases.UNTRIED not in _replies(made, each)[0]]
    assert 1 <= len(alone) <= pace.FIRST, "the others say that they were not tried by themselves"
    assert all(len(_replies(made, each)) == 1 for each in deliveries)


@pytest.mark.usefixtures("long_pauses")
async def test_a_delay_is_told_once_for_each_though_its_host_is_tried_once_a_minute(made: Spooled) -> None:
    deliveries = _puts(made, 30, Direction.OUTWARD)
    made.clock.pass_(hours=5)
    for again in range(2):
        async with delivering(made, node=f"n{again}", drain=0.1):
            await until(lambda: _told(made, "delayed") >= 30 and _settled(made, deliveries))
        made.clock.pass_(hours=2)
    assert _told(made, "delayed") == 30
    assert {made.now(each).state for each in deliveries} == {DeliveryState.QUEUED}


@pytest.mark.usefixtures("long_pauses")
async def test_what_is_neither_late_nor_over_waits_untried_for_no_longer_than_the_pause(
    made: Spooled,
) -> None:
    deliveries = _puts(made, 30, Direction.INWARD)
    soon = made.put(recipient="soon@down.example", expires=NOW + timedelta(seconds=20))
    async with delivering(made, drain=0.1):
        await until(lambda: _settled(made, deliveries))
        untried = [made.now(each) for each in deliveries if not made.now(each).attempts]
        put_off = [each for each in untried if not each.lease_node]
        assert len(put_off) >= 30 - 2 * pace.FIRST
        assert all(each.last_reply.startswith("451 4.4.1 not tried by itself: ") for each in put_off)
        assert not any(_replies(made, each) for each in put_off)
        spread = {each.due - NOW for each in put_off}
        assert timedelta(seconds=_PAUSE) <= min(spread) < max(spread) <= timedelta(seconds=1.2 * _PAUSE)
        assert made.now(soon).due <= made.now(soon).expires
        assert made.db.call(spool.retry, put_off[0].id, NOW), "nobody is at it"


@pytest.mark.usefixtures("long_pauses")
async def test_while_the_clock_is_in_doubt_nothing_that_waits_is_given_up(made: Spooled) -> None:
    deliveries = _puts(made, 10, Direction.INWARD)
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: _settled(made, deliveries) and tried(made, deliveries) == pace.FIRST)
        made.clock.pass_(days=6)  # a leap
        late = made.put(recipient="late@down.example", expires=NOW + timedelta(days=5))
        wake.set()
        await until(lambda: leases.UNTRIED in made.now(late).last_reply)
        await asyncio.sleep(0.5)
    assert {made.now(each).state for each in (late, *deliveries)} == {DeliveryState.QUEUED}


async def test_what_fails_in_the_moment_of_a_leap_of_the_clock_is_not_given_up(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_POLL", 30.0)  # nobody looks at the clock before it fails
    sink.answers["CONNECT"] = Late(1.0, DROP)
    alone = made.put()
    async with delivering(made, drain=0.1):
        await until(lambda: sink.open_sessions)
        made.clock.pass_(days=6)
        await until(lambda: made.now(alone).attempts)
    assert made.now(alone).state is DeliveryState.QUEUED


async def test_a_connection_that_one_message_breaks_returns_no_other(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    sink.answers["RCPT poison@home.example"] = DROP
    poison = made.put(recipient="poison@home.example")
    others = [made.put(recipient=f"x{n}@home.example") for n in range(10)]
    made.clock.pass_(days=6)  # for each it is the last attempt
    async with delivering(made):
        await until(ended(made, poison, *others))
    assert made.now(poison).state is DeliveryState.RETURNED
    assert {made.now(each).state for each in others} == {DeliveryState.DELIVERED}


async def test_a_host_that_refuses_one_connection_for_good_returns_no_other(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    sink.answers["CONNECT"] = ["554 5.3.2 not now"]
    deliveries = [made.put(recipient=f"x{n}@home.example") for n in range(10)]
    async with delivering(made):
        await until(lambda: sum(made.now(each).state is DeliveryState.DELIVERED for each in deliveries) >= 9)


async def test_a_smarthost_that_is_away_returns_nothing_early_and_gets_everything_when_it_is_back(
    sqlite_db: Database, sinks: Sinks, sink: Sink, tmp_path: Path
) -> None:
    made = spooled.make(sqlite_db, tmp_path, delivery={"smarthost": f"127.0.0.2:{sink.port}"})
    over = [made.put(recipient=f"over{n}@o{n}.example", expires=NOW + timedelta(hours=1)) for n in range(5)]
    waiting = [made.put(recipient=f"x{n}@d{n}.example") for n in range(40)]
    made.clock.pass_(hours=2)
    async with delivering(made):
        await until(ended(made, *over))
        assert {made.now(each).state for each in waiting} == {DeliveryState.QUEUED}
        sinks(host="127.0.0.2", port=sink.port)
        untouched = [each for each in waiting if not made.now(each).attempts]
        await until(ended(made, *untouched))
    assert {made.now(each).state for each in untouched} == {DeliveryState.DELIVERED}


# ---- and back again -------------------------------------------------------------------------------


async def test_the_first_that_gets_through_brings_back_what_was_put_off_and_nothing_else(
    made: Spooled, sinks: Sinks, sink: Sink
) -> None:
    elsewhere = made.put(
        recipient="grey@down.example", due=NOW + timedelta(hours=1), last_reply="451 4.7.1 greylisted"
    )
    deliveries = _puts(made, 50, Direction.INWARD)
    async with delivering(made):
        await until(lambda: _settled(made, deliveries))
        untried = [each for each in deliveries if not made.now(each).attempts]
        sinks(host="127.0.0.2", port=sink.port)
        await until(ended(made, *untried))  # though the clock stands
    assert len(untried) >= 40
    assert made.now(elsewhere).due == NOW + timedelta(hours=1)


async def test_a_host_that_stays_down_is_probed_on_however_few_are_kept_for_it(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SHORTEST_PAUSE", 0.1)
    monkeypatch.setattr(pace, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(putoff, "_SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(deliver, "_POLL", 0.05)
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    zone.set("down.example", "MX", "10 mx.down.example")
    zone.set("mx.down.example", "A", "127.0.0.2")
    made.clock.now = datetime.now(UTC)
    office = replace(made.office, clock=lambda: datetime.now(UTC))  # what was put off falls due
    made.office = office
    deliveries = _puts(made, 20, Direction.INWARD)
    async with delivering(made, drain=0.1):
        await until(lambda: tried(made, deliveries) >= 4 * pace.FIRST)


# ---- the others -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("long_pauses")
async def test_many_destinations_that_are_down_leave_room_for_one_that_is_not(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_WAITING", 8)  # 5000 of them, and 80 of each
    monkeypatch.setattr(deliver, "_HANDED", 20)  # 1000
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    domains = [f"d{n}.example" for n in range(8)]
    _down(zone, *domains)
    waiting = [made.put(recipient=f"x{n}@{domain}") for domain in domains for n in range(6)]
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: tried(made, waiting) >= 8)
        late = made.put()
        wake.set()
        await until(ended(made, late), 20)
        await until(lambda: sum(bool(made.now(each).lease_node) for each in waiting) <= 8 * pace.FIRST)


async def test_many_that_hang_with_much_behind_them_leave_room_for_one_that_does_not(
    sqlite_db: Database,
    sinks: Sinks,
    sink: Sink,
    zone: ZoneServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliver, "_WAITING", 40)
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=2)
    slow = sinks(host="127.0.0.2", port=sink.port, answers={"CONNECT": HANG})
    domains = [f"slow{n}.example" for n in range(10)]
    _down(zone, *domains)
    hanging = [made.put(recipient=f"x{n}@{domain}") for domain in domains for n in range(8)]
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: slow.open_sessions >= 20)
        await asyncio.sleep(0.2)
        late = made.put()
        wake.set()
        await until(ended(made, late), 4)
        assert not tried(made, hanging)


@pytest.mark.usefixtures("long_pauses")
async def test_what_waits_for_a_dead_host_comes_due_a_few_at_a_time(
    made: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_POLL", 0.05)
    monkeypatch.setattr(putoff, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(putoff, "_A_SECOND", 10.0)
    _, one = made.letter(recipient="x@down.example")
    made.db.call(fill, 2_000, one)
    async with delivering(made, drain=0.1):
        await until(lambda: len(_put_off(made)) >= 2_000 - 2 * pace.FIRST)
        seconds = sorted((each.due - NOW).total_seconds() for each in _put_off(made))
    assert seconds[0] >= _PAUSE
    assert max(seconds[n + 50] - seconds[n] for n in range(0, 1900, 50)) < 40
    assert min(seconds[n + 500] - seconds[n] for n in range(500, 1400, 100)) > 20, "at some ten a second"


def _put_off(made: Spooled) -> list[Delivery]:
    return [
        each.delivery
        for each in made.db.view(spool.queue)
        if not each.delivery.lease_node and leases.UNTRIED in each.delivery.last_reply
    ]
