"""What is known of a destination: by attempts that asked one of its hosts, and by nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sortingoffice.core import pace
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import Delivery
from sortingoffice.flows import deliver, putoff
from sortingoffice.flows.putoff import Aside
from sortingoffice.mail.reply import Reply
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Database
from sortingoffice.store.leases import Later
from tests.delivering import Sinks, at_sink, delivering, ended, tried
from tests.servers import HANG, Sink
from tests.spooled import Spooled
from tests.test_store_leases import fill
from tests.waiting import until

REFUSED = Tried(Reply(451, "4.4.1", "connection refused"), "mx.down.example[127.0.0.2]", unreachable=True)


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """In real time; everything goes to the sink but for two domains, where nobody listens."""
    made = at_sink(sqlite_db, sink, zone, tmp_path, retry=["15m"])
    made.office = replace(made.office, clock=lambda: datetime.now(UTC))
    made.clock.now = datetime.now(UTC)
    for number, name in enumerate(("dead", "down")):
        zone.set(f"{name}.example", "MX", f"10 mx.{name}.example")
        zone.set(f"mx.{name}.example", "A", f"127.0.0.{number + 2}")
    return made


def _puts(made: Spooled, number: int) -> list[Delivery]:
    return [made.put(recipient=f"x{n}@down.example") for n in range(number)]


def _waiting(made: Spooled, deliveries: list[Delivery]) -> list[Delivery]:
    """What was put off, is nobody's and isn't due."""
    now = made.office.clock()
    found = [made.now(each) for each in deliveries]
    put_off = [each for each in found if leases.UNTRIED in each.last_reply and not each.lease_node]
    return [each for each in put_off if each.due > now]


@pytest.mark.parametrize(
    ("tried", "reached"),
    [
        (Tried(Reply(250, "2.0.0", "taken"), "mx[192.0.2.1]"), True),
        (Tried(Reply(451, "4.7.1", "greylisted"), "mx[192.0.2.1]"), True),
        (Tried(Reply(556, "5.1.10", "takes no mail")), True),
        (REFUSED, False),
        (Tried(Reply(451, "4.4.3", "no answer from the DNS"), unreachable=True), False),
        (Tried(Reply(451, "4.3.0", "internal error of the office")), None),
        (Tried(Reply(451, "4.2.1", "there is no mailbox to deliver to")), None),
        (None, None),
    ],
)
def test_only_an_attempt_that_asked_a_host_tells_whether_it_is_in_reach(
    tried: Tried | None, reached: bool | None
) -> None:
    assert putoff.reached(tried) is reached


async def test_a_probe_that_is_stopped_brings_nothing_back(
    made: Spooled, sinks: Sinks, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_HEARTBEAT", 0.2)
    made.office = replace(made.office, clock=made.clock)  # it stands: what was put off doesn't fall due
    deliveries = _puts(made, 40)
    async with delivering(made, drain=0.1):
        await until(lambda: len(_waiting(made, deliveries)) >= 40 - 2 * pace.FIRST)
        silent = sinks(host="127.0.0.3", port=sink.port, answers={"CONNECT": HANG})
        await until(lambda: silent.open_sessions)
        before = len(_waiting(made, deliveries))
        for each in deliveries:
            if made.now(each).lease_node:
                made.db.call(spool.drop, each.id, "dropped", made.clock.now)
        await until(lambda: not silent.open_sessions, 4)
        await asyncio.sleep(0.5)
        assert len(_waiting(made, deliveries)) >= before - pace.FIRST, "but for some to probe with"
        await until(lambda: silent.open_sessions, 10)  # and it is probed on


async def test_a_short_outage_beside_a_long_one_delays_nothing_for_long(
    made: Spooled, sinks: Sinks, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(putoff, "_A_SECOND", 1.0)
    monkeypatch.setattr(pace, "SHORTEST_PAUSE", 0.3)
    monkeypatch.setattr(pace, "LONGEST_PAUSE", 0.3)
    _, one = made.letter(recipient="x@dead.example")
    made.db.call(fill, 300, one)
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: made.db.view(leases.were_put_off, "dead.example", made.clock.now, 1000)[200:])
        made.clock.now = datetime.now(UTC)
        deliveries = _puts(made, 40)
        wake.set()
        await until(lambda: tried(made, deliveries) >= 2 * pace.FIRST)  # all that was kept to probe with
        waiting = _waiting(made, deliveries)
        assert min(each.due for each in waiting) > made.clock.now + timedelta(seconds=30)
        sinks(host="127.0.0.3", port=sink.port)
        untried = [each for each in waiting if not made.now(each).attempts]
        await until(ended(made, *untried), 10)
    assert len(untried) >= 20


async def test_what_is_out_of_reach_again_while_others_are_brought_back_is_not_brought_back(
    made: Spooled,
) -> None:
    """The second one fails while the first is written."""
    for name in ("one", "two"):
        made.put(recipient=f"x@{name}.example")
    made.db.call(leases.put_off_due, "", made.clock.now, _an_hour(made), late=made.clock.now, most=10)
    aside = Aside(made.office, "here", "", lambda _: None, lambda each: each, lambda: fails())

    def fails() -> None:
        aside.out_of_reach("two.example", REFUSED, 60.0)

    for name in ("one.example", "two.example"):
        aside.out_of_reach(name, REFUSED, 60.0)
        aside.in_reach(name)
    await aside._bring_back()
    due = {each.delivery.destination: each.delivery.due for each in made.db.view(spool.queue)}
    assert due["one.example"] <= made.office.clock()
    assert due["two.example"] > made.office.clock()
    assert not aside._back


def _an_hour(made: Spooled) -> Later:
    return Later(
        made.clock.now + timedelta(hours=1), timedelta(seconds=1), f"451 4.4.1 {leases.UNTRIED}refused"
    )
