"""New mail goes to who delivers in the same process without a claim, and never before it is on disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice.core.model import Delivery, DeliveryState, SpooledMessage
from sortingoffice.mail import token
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Database, Transaction
from sortingoffice.store.handover import Claimed, Lease
from tests import spooled
from tests.delivering import at_sink, delivering
from tests.servers import Sink
from tests.spooled import NOW, Spooled
from tests.waiting import until

UNTIL = NOW + timedelta(seconds=30)


@dataclass
class Counter:
    """A desk that only counts what comes over it."""

    db: Database
    refuses: str = ""
    handed: list[Claimed] = field(default_factory=list)
    on_disk: list[Delivery | None] = field(default_factory=list)
    notices: int = 0

    def lease(self, destination: str, octets: int) -> Lease | None:
        return None if destination == self.refuses else Lease("here", UNTIL)

    def take(self, born: Sequence[Claimed]) -> None:
        self.handed += born
        self.on_disk += [self.db.view(spool.delivery_by_id, each.delivery.id) for each in born]

    def notice(self) -> None:
        self.notices += 1


@pytest.fixture(params=["sqlite_db", "postgresql_db"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Spooled:
    return spooled.make(request.getfixturevalue(request.param), tmp_path)


def put(tx: Transaction, message: SpooledMessage, delivery: Delivery) -> int:
    return spool.put(tx, message, (delivery,)).id


async def test_a_new_delivery_has_its_lease_from_birth_and_is_handed_over_once_on_disk(made: Spooled) -> None:
    desk = Counter(made.db)
    made.db.open_desk(desk)
    message, delivery = made.letter()
    number = await made.db.write(put, message, delivery)
    [handed] = desk.handed
    assert (handed.message.id, handed.message.raw) == (number, message.raw)
    assert handed.delivery == replace(
        delivery, id=handed.delivery.id, message_id=number, lease_node="here", lease_until=UNTIL, due=UNTIL
    )
    assert desk.on_disk == [handed.delivery]
    assert made.db.call(leases.claim, made.clock.now, "there", 10) == ()
    assert desk.notices == 0


async def test_what_is_not_due_or_ours_or_refused_by_the_desk_waits_for_a_claim(made: Spooled) -> None:
    desk = Counter(made.db, refuses="crowded.example")
    made.db.open_desk(desk)
    for changes in (
        {"due": NOW + timedelta(hours=1)},
        {"recipient": "anna@sort.example"},  # a domain that is hosted here
        {"recipient": "anna@crowded.example"},
    ):
        await made.db.write(put, *made.letter(**changes))
    assert desk.notices == 3
    await made.db.write(put, *made.letter(state=DeliveryState.HELD))
    assert (desk.handed, desk.notices) == ([], 3)
    waiting = made.db.view(spool.queue)
    assert [each.delivery.lease_node for each in waiting] == [""] * 4


async def test_a_write_that_fails_hands_nothing_over_and_its_neighbours_do(made: Spooled) -> None:
    desk = Counter(made.db)
    made.db.open_desk(desk)
    entered, gate = threading.Event(), threading.Event()

    def wait(tx: Transaction) -> None:
        entered.set()
        assert gate.wait(10)

    def fail(tx: Transaction, message: SpooledMessage, delivery: Delivery) -> int:
        put(tx, message, delivery)
        raise LookupError("a mistake")

    holding = asyncio.create_task(made.db.write(wait))
    await asyncio.to_thread(entered.wait, 10)
    letters = [made.letter() for _ in range(3)]
    writes = [
        asyncio.create_task(made.db.write(put, *letters[0])),
        asyncio.create_task(made.db.write(fail, *letters[1])),
        asyncio.create_task(made.db.write(put, *letters[2])),
    ]  # one group
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(holding, *writes, return_exceptions=True)
    stored = {each.message.token for each in made.db.view(spool.queue)}
    assert len(stored) == 2
    assert {each.message.token for each in desk.handed} == stored


async def test_a_desk_that_is_closed_gets_nothing(made: Spooled) -> None:
    desk = Counter(made.db)
    made.db.open_desk(desk)
    made.db.close_desk(desk)
    await made.db.write(put, *made.letter())
    assert desk.handed == []
    assert made.db.view(spool.queue)[0].delivery.lease_node == ""


async def test_an_urgent_write_goes_before_those_that_wait(made: Spooled) -> None:
    order: list[str] = []
    entered, gate = threading.Event(), threading.Event()

    def wait(tx: Transaction) -> None:
        entered.set()
        assert gate.wait(10)

    def note(tx: Transaction, name: str) -> None:
        order.append(name)

    holding = asyncio.create_task(made.db.write(wait))
    await asyncio.to_thread(entered.wait, 10)
    first = [asyncio.create_task(made.db.write(note, f"accept {n}")) for n in range(3)]
    await asyncio.sleep(0)
    last = asyncio.create_task(made.db.write_first(note, "outcome"))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(holding, last, *first)
    assert order == ["outcome", "accept 0", "accept 1", "accept 2"]


async def test_new_mail_is_delivered_under_the_lease_of_its_birth(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    older = made.put()
    async with delivering(made):
        await until(lambda: made.now(older).state.final)  # now nothing waits for a claim
        await asyncio.sleep(0.1)
        letters = [made.letter() for _ in range(30)]
        numbers = await asyncio.gather(*(made.db.write(put, *each) for each in letters))
        await until(lambda: not made.db.view(spool.census))
    came = {
        token.delivery_of(made.office.keys.token, each.sender.partition("@")[0]) for each in sink.received
    }
    deliveries = [made.db.view(spool.deliveries, number)[0] for number in numbers]
    assert came == {older.id, *(each.id for each in deliveries)}
    assert len(sink.received) == 31
    assert {(each.state, each.attempts) for each in deliveries} == {(DeliveryState.DELIVERED, 1)}
    assert {each.due for each in deliveries} == {NOW}, "settled, not waiting for the end of a lease"


async def test_new_mail_does_not_overtake_what_waits_for_the_same_destination(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=2)
    older = [made.put() for _ in range(40)]
    async with delivering(made):
        await until(lambda: len(sink.received) >= 4)
        fresh = await made.db.write(put, *made.letter())
        await until(lambda: not made.db.view(spool.census))
    places = [
        token.delivery_of(made.office.keys.token, each.sender.partition("@")[0]) for each in sink.received
    ]
    number = made.db.view(spool.deliveries, fresh)[0].id
    assert sorted(filter(None, places)) == sorted([*(each.id for each in older), number])
    assert places.index(number) >= 36
