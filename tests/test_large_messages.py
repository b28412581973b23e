"""What is worked out from a large message holds nobody up, and is stored only for facts that still are so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import decide
from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.model import Direction, Envelope, Peer, RelationshipState
from sortingoffice.flows import receive
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.computed import LARGE, Computed, Elsewhere
from sortingoffice.mail.address import parse
from sortingoffice.mail.message import Message
from sortingoffice.store import contacts, relationships
from sortingoffice.store.database import Database
from tests import spooled
from tests.spooled import ALIAS, VENDOR, Spooled


class Forgetful(Computed):
    """As if a fact were another one each time."""

    def _found(self, fn: Callable[..., Any], facts: tuple[Any, ...]) -> None:
        return None


INVITATION = b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n"
ORGANIZER = b"ORGANIZER:mailto:boss@shop.example\r\n"


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path)


def arrival(made: Spooled, body: bytes, number: int = 1, sender: str = VENDOR, to: str = ALIAS) -> Arrival:
    """A proved vendor's message; `body` begins with fields of its own."""
    head = f"From: Lamp Shop <{sender}>\r\nTo: {to}\r\nSubject: s\r\nMessage-ID: <m{number}@shop.example>\r\n"
    raw = head.encode() + body
    author, recipient = parse(sender), parse(to)
    assert author is not None
    assert recipient is not None
    return Arrival(
        Peer("192.0.2.1"),
        Envelope(author, (recipient,)),
        Message.parse(raw),
        len(raw),
        receive.proved(author),
        f"arrival{number}",
        made.clock.now,
        computed=Computed(size=len(raw)),
    )


def accept(made: Spooled, came: Arrival, between: Callable[[], None] = lambda: None) -> tuple[Decision, int]:
    """What `receive.accepted` does, with a hand in each gap between two runs; how many gaps there were."""
    gaps = 0
    while True:
        try:
            return made.db.call(receive.accept, made.office, came), gaps
        except Elsewhere as wanted:
            wanted.work()
            gaps += 1
            between()


def large(octets: bytes = ORGANIZER) -> bytes:
    return INVITATION + octets * (2 * LARGE // len(octets))


# ---- nobody waits ----------------------------------------------------------------------------------------


async def test_small_messages_are_accepted_while_a_hostile_one_is_worked_out(made: Spooled) -> None:
    hostile = arrival(made, INVITATION + ORGANIZER * 30_000)
    order: list[str] = []

    async def note(came: Arrival, name: str) -> None:
        decision = await receive.accepted(made.office, came)
        assert decision.verdict is Verdict.ACCEPT
        order.append(name)

    slow = asyncio.create_task(note(hostile, "hostile"))
    await asyncio.sleep(0)
    for number in range(5):
        await note(arrival(made, b"\r\nhello\r\n", 10 + number), f"small {number}")
    await slow
    assert order == [*(f"small {number}" for number in range(5)), "hostile"]


async def test_the_loop_turns_while_a_hostile_message_is_worked_out(made: Spooled) -> None:
    hostile = asyncio.create_task(
        receive.accepted(made.office, arrival(made, INVITATION + ORGANIZER * 30_000))
    )
    turns = 0
    while not hostile.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert (await hostile).verdict is Verdict.ACCEPT
    assert turns > 20


def test_a_large_message_is_changed_as_a_small_one_is(made: Spooled) -> None:
    accept(made, arrival(made, INVITATION + ORGANIZER, 1))
    _, gaps = accept(made, arrival(made, large(), 2))
    big, small = made.queued(Direction.INWARD)
    contact = made.db.view(contacts.by_address, made.relationship.id, "boss@shop.example")
    assert contact is not None
    assert gaps > 0
    assert b"boss@shop.example" not in big.raw
    assert contact.reverse_alias.encode() in big.raw
    assert small.raw.partition(b"\r\n\r\n")[0].replace(b"m1@", b"m2@") == big.raw.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "body", [b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"a:\r\n" * 200_000]
)
def test_a_part_that_is_all_header_is_not_read_to_its_end(made: Spooled, body: bytes) -> None:
    begun = time.process_time()
    decision, _ = accept(made, arrival(made, body))
    assert decision.verdict is Verdict.ACCEPT
    assert time.process_time() - begun < 2


# ---- facts that change meanwhile -------------------------------------------------------------------------


def test_a_revoke_between_working_out_and_storing_refuses(made: Spooled) -> None:
    def revoke() -> None:
        current = made.db.view(relationships.by_id, made.relationship.id)
        assert current is not None
        made.db.call(relationships.update, replace(current, state=RelationshipState.REVOKED))

    decision, gaps = accept(made, arrival(made, large()), revoke)
    assert gaps > 0
    assert decision.reply == decide.NO_SUCH
    assert made.queued(Direction.INWARD) == []


def test_a_pause_between_working_out_and_storing_holds(made: Spooled) -> None:
    def pause() -> None:
        current = made.db.view(relationships.by_id, made.relationship.id)
        assert current is not None
        made.db.call(relationships.update, replace(current, state=RelationshipState.MUTED))

    decision, _ = accept(made, arrival(made, large()), pause)
    assert decision.verdict is Verdict.HOLD


def test_a_contact_that_another_message_made_meanwhile_is_the_one_that_stands_in_it(made: Spooled) -> None:
    def other() -> None:
        accept(made, arrival(made, INVITATION + ORGANIZER, 2))

    accept(made, arrival(made, large(), 1), other)
    contact = made.db.view(contacts.by_address, made.relationship.id, "boss@shop.example")
    assert contact is not None
    first, second = made.queued(Direction.INWARD)
    assert contact.reverse_alias.encode() in first.raw
    assert contact.reverse_alias.encode() in second.raw


def test_the_same_large_message_twice_at_once_is_stored_once(made: Spooled) -> None:
    def again() -> None:
        accept(made, arrival(made, large(), 1))

    decision, _ = accept(made, arrival(made, large(), 1), again)
    assert decision.verdict is Verdict.ACCEPT
    assert len(made.queued(Direction.INWARD)) == 1


async def test_facts_that_never_stay_are_answered_for_now_only(made: Spooled) -> None:
    came = replace(arrival(made, large()), computed=Forgetful(size=2 * LARGE))
    decision = await receive.accepted(made.office, came)
    assert (decision.verdict, decision.reply.code) == (Verdict.DEFER, 451)
    assert made.queued(Direction.INWARD) == []


@pytest.mark.parametrize("body", [b"\r\nhello\r\n", large()], ids=["small", "large"])
async def test_first_messages_at_once_bind_once_and_make_one_contact(made: Spooled, body: bytes) -> None:
    came = [arrival(made, body, number, "new@shop.example") for number in range(8)]
    decisions = await asyncio.gather(*(receive.accepted(made.office, each) for each in came))
    assert {each.verdict for each in decisions} == {Verdict.ACCEPT}
    known = made.db.view(contacts.every, made.relationship.id)
    assert [each.address for each in known].count("new@shop.example") == 1
    assert [each.identity for each in made.db.view(relationships.bindings, made.relationship.id)] == [
        "shop.example"
    ]
    current = made.db.view(relationships.by_id, made.relationship.id)
    assert current is not None
    assert current.received == made.relationship.received + 8
    assert len(made.queued(Direction.INWARD)) == 8


# ---- a header that never ends ----------------------------------------------------------------------------

_LINES = st.lists(
    st.sampled_from(
        [b"A: b\r\n", b" folded\r\n", b"no field\r\n", b"\r\n", b"x" * 30 + b"\r\n", b"From: a@b.example\n"]
    )
)


@given(_LINES, st.integers(8, 60))
def test_a_message_is_split_as_ever_or_has_too_much_header(lines: list[bytes], most: int) -> None:
    raw = b"".join(lines)
    found, whole = receive.split(raw, most), Message.parse(raw)
    if sum(len(field.raw) for field in found.fields) <= most:
        assert found == whole
    else:
        assert sum(len(field.raw) for field in whole.fields) > most or b"\n" not in whole.body[:most]
