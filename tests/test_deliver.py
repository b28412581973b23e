"""The delivering loop against real far ends: a spool in a database, a zone, sinks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.flows import deliver
from sortingoffice.mail import arc, dkim, mime, token
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.mail.asking import run as ask
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.message import Message
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import events, spool
from sortingoffice.store.database import Database
from tests import spooled
from tests.delivering import at_sink, delivering, ended
from tests.servers import DROP, Sink
from tests.spooled import INWARD, NOW, OUTWARD, Spooled
from tests.waiting import until


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """Everything that leaves goes to the sink, by its exchange."""
    return at_sink(sqlite_db, sink, zone, tmp_path)


# ---- what leaves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite_db", "postgresql_db"])
async def test_mail_is_delivered_and_its_octets_forgotten(
    kind: str, request: pytest.FixtureRequest, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(request.getfixturevalue(kind), sink, zone, tmp_path)
    delivery = made.put()
    async with delivering(made):
        await until(ended(made, delivery))
    now = made.now(delivery)
    assert (now.state, now.reason, now.attempts, now.lease_node) == (
        DeliveryState.DELIVERED,
        "delivered",
        1,
        "",
    )
    assert now.last_reply == "250 2.0.0 taken"
    (attempt,) = made.db.view(spool.attempts, delivery.id)
    assert attempt.host == f"mx.home.example [127.0.0.1]:{sink.port}"
    assert made.message(delivery).raw == b""
    assert sink.received[0].recipients == ("anna@home.example",)


async def test_the_return_path_leads_back_to_the_delivery(made: Spooled, sink: Sink) -> None:
    delivery, null = made.put(), made.put(return_domain="")
    async with delivering(made):
        await until(ended(made, delivery, null))
    senders = sorted(message.sender for message in sink.received)
    assert senders[0] == ""
    local, _, domain = senders[1].partition("@")
    assert domain == "sort.example"
    assert token.delivery_of(made.office.keys.token, local) == delivery.id


async def test_inward_mail_says_where_it_came_from_and_what_was_proved(made: Spooled, sink: Sink) -> None:
    delivery = made.put()
    async with delivering(made):
        await until(ended(made, delivery))
    message = Message.parse(sink.received[0].octets)
    assert message.value(
        "Authentication-Results"
    ) == b"mx.sort.example; spf=pass smtp.mailfrom=shop.example" or (
        b"spf=pass" in (message.value("Authentication-Results") or b"")
    )
    received = (message.value("Received") or b"").decode()
    assert received.startswith("from mail.shop.example ([192.0.2.1])")
    assert token.loop_mark(made.office.keys.token, made.relationship.id) in received
    assert sink.received[0].octets.endswith(INWARD)


async def test_outward_mail_says_nothing_of_where_the_person_sits(made: Spooled, sink: Sink) -> None:
    delivery = made.put(Direction.OUTWARD)
    async with delivering(made):
        await until(ended(made, delivery))
    message = Message.parse(sink.received[0].octets)
    received = [field.unfolded.decode() for field in message.all("Received")]
    assert len(received) == 1
    assert received[0].startswith("by mx.sort.example")
    assert received[0].endswith("+0000")
    assert " for " not in received[0]
    assert "from" not in received[0]
    assert message.first("Authentication-Results") is None
    assert sink.received[0].octets.endswith(OUTWARD)


def published(made: Spooled) -> Callable[[Question], Answer]:
    """DNS with the keys of the office."""
    public = {
        f"{key.selector}._domainkey.sort.example": key.record.encode()
        for key in made.office.keys.signing["sort.example"]
    }

    def answer(question: Question) -> Answer:
        found = public.get(question.name)
        return Answer(Outcome.FOUND, (found,)) if found else Answer(Outcome.NO_NAME)

    return answer


async def test_both_signatures_verify_where_they_arrive(made: Spooled, sink: Sink) -> None:
    deliveries = made.put(Direction.OUTWARD), made.put()
    async with delivering(made):
        await until(ended(made, *deliveries))
    for message in sink.received:
        results = ask(dkim.verify(message.octets, datetime.now(UTC)), published(made))
        assert [(each.result, each.domain) for each in results] == [(Result.PASS, "sort.example")] * 2


async def test_inward_mail_is_sealed_and_outward_mail_is_not(made: Spooled, sink: Sink) -> None:
    deliveries = made.put(Direction.OUTWARD), made.put()
    async with delivering(made):
        await until(ended(made, *deliveries))
    for message in sink.received:
        found = ask(arc.validate(message.octets), published(made))
        inward = message.recipients == ("anna@home.example",)
        assert (found.result, found.instances) == ((Result.PASS, 1) if inward else (Result.NONE, 0))


async def test_each_attempt_sends_the_same_octets(made: Spooled, sink: Sink) -> None:
    sink.answers["."] = [DROP]
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        made.clock.pass_(seconds=73)
        wake.set()
        await until(ended(made, delivery))
    first, second = sink.received
    assert first.octets == second.octets


async def test_a_next_hop_without_8bitmime_gets_seven_bits_that_verify(made: Spooled, sink: Sink) -> None:
    sink.extensions = ("PIPELINING",)
    raw = OUTWARD.replace(b"\r\n\r\nWhere is it?", "\r\n\r\nWo ist sie? Grüße".encode())
    delivery = made.put(Direction.OUTWARD, raw=raw)
    async with delivering(made):
        await until(ended(made, delivery))
    octets = sink.received[0].octets
    assert octets.isascii()
    results = ask(dkim.verify(octets, datetime.now(UTC)), published(made))
    assert [each.result for each in results] == [Result.PASS] * 2
    assert mime.parse(Message.parse(octets)).octets() == "Wo ist sie? Grüße\r\n".encode()


# ---- retries and ends ------------------------------------------------------------------------------


async def test_what_is_greylisted_is_tried_again_when_due(made: Spooled, sink: Sink) -> None:
    sink.answers["RCPT"] = ["451 4.7.1 greylisted"]
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        waiting = made.now(delivery)
        assert waiting.state is DeliveryState.QUEUED
        assert NOW + timedelta(seconds=48) <= waiting.due <= NOW + timedelta(seconds=72)
        assert waiting.last_reply == "451 4.7.1 greylisted"
        made.clock.pass_(seconds=73)
        wake.set()
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.DELIVERED
    assert made.now(delivery).attempts == 2


async def test_a_refusal_ends_one_delivery_and_no_other(made: Spooled, sink: Sink) -> None:
    sink.answers["RCPT bob@home.example"] = "550 5.1.1 no bob"
    refused, taken = made.put(recipient="bob@home.example"), made.put()
    async with delivering(made):
        await until(ended(made, refused, taken))
    assert made.now(refused).state is DeliveryState.RETURNED
    assert made.now(taken).state is DeliveryState.DELIVERED


async def test_a_reply_lost_after_the_dot_is_tried_again_and_named(made: Spooled, sink: Sink) -> None:
    sink.answers["."] = [DROP]
    delivery = made.put()
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        assert made.now(delivery).reason == "reply lost"
        made.clock.pass_(seconds=73)
        wake.set()
        await until(ended(made, delivery))
    assert len(sink.received) == 2  # the second copy that RFC 5321 prefers to none


async def test_five_days_end_it(made: Spooled, sink: Sink) -> None:
    sink.answers["MAIL rp"] = "451 no"
    sink.answers["RCPT"] = "451 4.2.0 later"
    delivery = made.put(expires=NOW + timedelta(seconds=30))
    async with delivering(made) as wake:
        await until(lambda: made.now(delivery).attempts == 1 and not made.now(delivery).lease_node)
        assert made.now(delivery).due == NOW + timedelta(seconds=30)
        made.clock.pass_(seconds=30)
        wake.set()
        await until(ended(made, delivery))
    assert (made.now(delivery).state, made.now(delivery).reason) == (DeliveryState.RETURNED, "expired")


@pytest.mark.parametrize(
    ("domain", "record", "state", "reply"),
    [
        ("null.example", "0 .", DeliveryState.RETURNED, "556 5.1.10"),
        ("gone.example", None, DeliveryState.RETURNED, "550 5.1.2"),
        ("broken.example", "SERVFAIL", DeliveryState.QUEUED, "451 4.4.3"),
        ("loop.example", "1 mx.sort.example", DeliveryState.RETURNED, "550 5.4.6"),
    ],
    ids=["null MX", "no domain", "DNS is down", "ourselves"],
)
async def test_no_route_is_an_attempt_like_any_other(
    made: Spooled, zone: ZoneServer, domain: str, record: str | None, state: DeliveryState, reply: str
) -> None:
    zone.set("mx.sort.example", "A", "127.0.0.1")
    if record is not None:
        zone.set(domain, "MX", record)
    delivery = made.put(recipient=f"x@{domain}")
    async with delivering(made):
        await until(lambda: made.now(delivery).attempts == 1)
    assert made.now(delivery).state is state
    assert made.now(delivery).last_reply.startswith(reply)


async def test_our_own_domain_is_delivered_to_ourselves(made: Spooled, zone: ZoneServer, sink: Sink) -> None:
    zone.set("sort.example", "MX", "10 mx.sort.example")
    zone.set("mx.sort.example", "A", "127.0.0.1")
    delivery = made.put(Direction.OUTWARD, recipient="other.alias1@sort.example")
    async with delivering(made):
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.DELIVERED


async def test_the_smarthost_gets_everything(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    sink.users["office"] = "secret"
    password = tmp_path / "password"
    password.write_text("secret\n")
    made = spooled.make(
        sqlite_db,
        tmp_path,
        delivery={
            "smarthost": f"127.0.0.1:{sink.port}",
            "smarthost_username": "office",
            "smarthost_password_file": str(password),
        },
    )
    deliveries = [made.put(recipient=f"x@d{n}.example") for n in range(5)]
    async with delivering(made):
        await until(ended(made, *deliveries))
    assert {message.username for message in sink.received} == {"office"}


async def test_a_large_message_is_loaded_when_it_leaves(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_POLL", 60.0)  # the note is seen without it
    raw = OUTWARD + b"x" * 76 * 15_000 + b"\r\n"
    sent, refused = (
        made.put(Direction.OUTWARD, raw=raw),
        made.put(Direction.OUTWARD, raw=raw, recipient="b@shop.example"),
    )
    sink.answers["RCPT b@shop.example"] = "550 5.1.1 nobody"
    async with delivering(made):
        await until(ended(made, sent, refused))
        await until(lambda: len(sink.received) == 2)
    mail, note = sorted(sink.received, key=lambda each: each.sender, reverse=True)
    assert mail.octets.endswith(raw)
    assert raw in note.octets  # the person's own mail, whole


async def test_mail_for_a_mailbox_that_is_not_there_waits(made: Spooled) -> None:
    delivery = made.put(recipient="", destination="")
    async with delivering(made):
        await until(lambda: made.now(delivery).attempts == 1)
    assert made.now(delivery).state is DeliveryState.QUEUED
    assert made.now(delivery).last_reply.startswith("451 4.2.1")


async def test_an_end_is_an_event_with_its_rule(made: Spooled, sink: Sink) -> None:
    sink.answers["RCPT"] = "550 5.1.1 <anna@home.example> unknown"
    delivery = made.put()
    async with delivering(made):
        await until(ended(made, delivery))
    (event,) = made.db.view(events.of_message, made.message(delivery).token)
    assert (event.what, event.rule, event.detail) == ("returned", "refused, proved_sender", "550 5.1.1")
