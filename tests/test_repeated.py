"""The same message again: one copy of it is enough, unless nothing became of the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.core import naming
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import DeliveryState, Direction, Envelope, Peer
from sortingoffice.flows import history, receive, settle
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail.address import parse
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.store import events, relationships, spool
from sortingoffice.store.database import Database
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.desk import Desk
from tests.spooled import ALIAS, VENDOR, Spooled

RAW = (
    f"From: Lamp Shop <{VENDOR}>\r\nTo: {ALIAS}\r\nSubject: your lamp\r\n"
    "Date: Mon, 2 Mar 2026 09:00:00 +0000\r\nMessage-ID: <m1@shop.example>\r\n\r\nIt is on its way.\r\n"
).encode()


@pytest.fixture
def made(sqlite_db: Database, tmp_path: Path) -> Spooled:
    return spooled.make(sqlite_db, tmp_path)


def came(made: Spooled, name: str, *to: str, raw: bytes = RAW) -> str:
    """By which rule it was judged."""
    author, recipients = parse(VENDOR), tuple(map(parse, to or (ALIAS,)))
    assert author is not None
    arrival = Arrival(
        Peer("192.0.2.1"),
        Envelope(author, tuple(each for each in recipients if each is not None)),
        Message.parse(raw),
        len(raw),
        receive.proved(author),
        name,
        made.clock.now,
    )
    return made.db.call(receive.accept, made.office, arrival).rule


def refused(made: Spooled) -> None:
    """The mailbox takes none of what waits for it."""
    for claimed in made.db.view(spool.queue, state=DeliveryState.QUEUED):
        whole = made.db.view(spool.by_id, claimed.message.id)
        assert whole is not None
        tried = Tried(Reply(552, "5.2.2", "full"))
        made.db.call(settle.settle, made.office, Claimed(whole, claimed.delivery), tried, made.clock.now)


def test_what_came_to_nothing_is_taken_when_the_vendor_sends_it_again(made: Spooled) -> None:
    came(made, "first")
    assert came(made, "second") == "repeated_message"
    refused(made)
    assert came(made, "third") != "repeated_message"
    (waiting,) = made.db.view(spool.queue, address=spooled.MAILBOX)
    assert waiting.message.token == "third"
    assert came(made, "fourth") == "repeated_message"


@pytest.mark.parametrize(
    ("field", "other"),
    [
        (b"Subject: your lamp", b"Subject: DISK FAILURE on nas1"),
        (f"To: {ALIAS}".encode(), f"To: {ALIAS}, root@shop.example".encode()),
        (b"From: Lamp Shop", b"From: Second Lamp"),
        (b"Content-Type: text/plain", b"Content-Type: text/html"),
        (b"Subject: your lamp", b"Subject: your lamp\r\nSubject: DISK FAILURE"),
    ],
)
def test_a_device_that_gives_all_its_mails_one_id_has_none_of_them_swallowed(
    made: Spooled, field: bytes, other: bytes
) -> None:
    one = RAW.replace(b"Date: Mon, 2 Mar 2026 09:00:00 +0000", b"Content-Type: text/plain")
    assert came(made, "first", raw=one) != "repeated_message"
    assert came(made, "second", raw=one.replace(field, other)) != "repeated_message"
    assert came(made, "third", raw=one) == "repeated_message"
    assert len(made.queued(Direction.INWARD)) == 2


def test_a_retry_that_is_folded_and_traced_in_another_way_is_the_same_message(made: Spooled) -> None:
    assert came(made, "first") != "repeated_message"
    again = RAW.replace(b"Subject: your lamp", b"Subject: \tyour\r\n lamp")
    traced = b"Received: from a.example by b.example; Mon, 2 Mar 2026 09:05:00 +0000\r\n" + again
    assert came(made, "second", raw=traced) == "repeated_message"


def test_one_relationship_in_several_spellings_gets_one_copy(made: Spooled) -> None:
    rotated = "new.address1234@sort.example"
    known = made.db.view(relationships.aliases, made.relationship.id)[0]
    again = replace(known, id=0, address=rotated, canonical=naming.canonical(rotated))
    made.db.call(relationships.add_alias, again)
    came(made, "first", ALIAS, ALIAS.upper(), rotated)
    assert len(made.queued(Direction.INWARD)) == 1


def test_trace_says_why_the_persons_mail_was_not_sent_twice(desk: Desk) -> None:
    again = b"Message-ID: <once@home.example>\r\nContent-Type: text/plain\r\n\r\nWhere is my lamp?\r\n"
    rules = [desk.post(again).rule for _ in range(2)]
    assert rules == ["sent_as_alias", "repeated_message"]
    assert desk.states() == ["queued"]
    (first,) = [
        each.message for each in desk.db.view(spool.queue) if each.message.direction is Direction.OUTWARD
    ]
    (second,) = {each.message for each in desk.db.view(events.every)} - {first.token, ""}
    (told,) = desk.db.view(history.trace, None, second)
    assert [(each["what"], each["detail"]) for each in told["events"]] == [
        ("repeated", f"it first came as {first.token}")
    ]
    (told,) = desk.db.view(history.trace, None, first.token)
    assert told["events"][-1]["detail"] == f"sent again, as {second}"
