"""What next hops took is known to who comes after a killed process, and so goes out once."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import Delivery, DeliveryState
from sortingoffice.flows import deliver
from sortingoffice.flows.attempt import Attempts
from sortingoffice.mail.reply import Reply
from sortingoffice.net.sink import Received
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Database
from sortingoffice.store.taken import Brought, Taken
from tests import spooled
from tests.servers import Sink
from tests.spooled import NOW, Spooled

BROUGHT = Brought(
    "token1",
    7,
    Tried(Reply(250, "2.0.0", "taken"), "mx.home.example [192.0.2.1]:25", "", milliseconds=9),
    NOW,
)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    found = os.open(tmp_path / "here-0", os.O_RDWR | os.O_CREAT)
    yield found
    os.close(found)


def test_what_was_noted_and_not_forgotten_is_left_to_the_next(file: int) -> None:
    taken = Taken(file)
    first, second = taken.note(BROUGHT), taken.note(replace(BROUGHT, delivery=8))
    assert first is not None
    taken.forget(first)
    assert Taken(file).left() == {second: replace(BROUGHT, delivery=8)}


def test_a_place_is_used_again_and_what_was_left_is_not_written_over(file: int) -> None:
    assert Taken(file).note(BROUGHT) is not None
    taken = Taken(file)
    left = taken.left()
    places = [taken.note(replace(BROUGHT, delivery=number)) for number in range(600)]
    assert None in places  # it is full, and that is all
    assert not left.keys() & set(places)
    for place in places[:10]:
        assert place is not None
        taken.forget(place)
    assert taken.note(BROUGHT) is not None
    assert BROUGHT in Taken(file).left().values()


def test_a_line_that_is_cut_or_changed_is_not_there(file: int) -> None:
    place = Taken(file).note(BROUGHT)
    assert place is not None
    os.pwrite(file, b"x", place * 1024 + 20)
    assert Taken(file).left() == {}


def test_a_file_that_cannot_be_written_costs_the_note_only(tmp_path: Path) -> None:
    (tmp_path / "here-0").touch()
    file = os.open(tmp_path / "here-0", os.O_RDONLY)
    try:
        taken = Taken(file)
        assert taken.note(BROUGHT) is None
        taken.forget(0)
        assert taken.left() == {}
    finally:
        os.close(file)


def test_a_long_word_of_the_peers_is_cut(file: int) -> None:
    taken = Taken(file)
    taken.note(replace(BROUGHT, tried=replace(BROUGHT.tried, reply=Reply(250, "2.0.0", "word " * 100))))
    [found] = taken.left().values()
    assert found.tried.reply.text == ("word " * 100)[:300]


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    zone.set("home.example", "MX", "10 mx.home.example")
    zone.set("mx.home.example", "A", "127.0.0.1")
    return spooled.make(sqlite_db, tmp_path, delivery={"port": sink.port}, nameserver=zone.endpoint)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  a file or the database is what changes
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _delivering(made: Spooled, file: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    ways = Attempts(made.office)
    running = asyncio.create_task(deliver.run(lambda: ways, "here", stop, taken=Taken(file)))
    try:
        yield
    finally:
        stop.set()
        await running


async def _until_delivered(made: Spooled, delivery: Delivery, file: int) -> None:
    async with _delivering(made, file):
        await _until(lambda: made.now(delivery).state is DeliveryState.DELIVERED)


def _killed_with_a_note(made: Spooled, file: int, token: str) -> Delivery:
    """What a process leaves that dies between the next hop's answer and its commit."""
    delivery = made.put()
    made.db.call(leases.claim, NOW, "here", 10)
    Taken(file).note(replace(BROUGHT, token=token, delivery=delivery.id))
    return delivery


async def test_what_a_killed_process_had_brought_does_not_go_out_again(
    made: Spooled, sink: Sink, file: int
) -> None:
    delivery = _killed_with_a_note(made, file, "token1")
    await _until_delivered(made, delivery, file)
    assert sink.received == []
    [attempt] = made.db.view(spool.attempts, delivery.id)
    assert (attempt.reply, attempt.host, attempt.at) == ("250 2.0.0 taken", BROUGHT.tried.host, NOW)
    assert Taken(file).left() == {}


async def test_a_note_of_another_database_is_not_believed(made: Spooled, sink: Sink, file: int) -> None:
    delivery = _killed_with_a_note(made, file, "another")
    await _until_delivered(made, delivery, file)
    assert len(sink.received) == 1
    assert Taken(file).left() == {}


async def test_a_note_stands_from_the_answer_to_the_commit(made: Spooled, sink: Sink, file: int) -> None:
    assert made.db.path is not None
    other = sqlite3.connect(made.db.path, isolation_level=None, check_same_thread=False, timeout=30)

    def lock(_: Received) -> None:
        other.execute("BEGIN IMMEDIATE")

    sink.on_message = lock
    delivery = made.put()
    async with _delivering(made, file):
        await _until(lambda: bool(Taken(file).left()))
        [brought] = Taken(file).left().values()
        other.execute("ROLLBACK")
        await _until(lambda: Taken(file).left() == {})
    assert (brought.delivery, brought.tried.reply.code) == (delivery.id, 250)
    assert made.now(delivery).state is DeliveryState.DELIVERED
    assert len(sink.received) == 1
    other.close()
