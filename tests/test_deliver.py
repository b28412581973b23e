"""The delivering loop against real far ends: a spool in a database, a zone, sinks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.flows import deliver, returned, signing
from sortingoffice.mail import arc, dkim, mime, token
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.mail.asking import run as ask
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.message import Message
from sortingoffice.net.relay import Relay, Timeouts
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import clock, events, spool
from sortingoffice.store.database import Database
from tests import spooled
from tests.servers import DROP, HANG, Late, Sink
from tests.spooled import INWARD, NOW, OUTWARD, Spooled
from tests.waiting import until

Sinks = Callable[..., Sink]
QUICK = Timeouts(dial=5, greeting=5, command=5, data=5, block=5, final=5)


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """Everything that leaves goes to the sink, by its exchange."""
    return at_sink(sqlite_db, sink, zone, tmp_path)


def at_sink(db: Database, sink: Sink, zone: ZoneServer, folder: Path, **how: object) -> Spooled:
    for domain in ("home.example", "shop.example", "other.example"):
        zone.set(domain, "MX", f"10 mx.{domain}")
        zone.set(f"mx.{domain}", "A", "127.0.0.1")
    settings = {"port": sink.port, **how}
    return spooled.make(db, folder, delivery=settings, nameserver=zone.endpoint)


@asynccontextmanager
async def delivering(
    made: Spooled, *, node: str = "here", drain: float = 3.0
) -> AsyncIterator[asyncio.Event]:
    """The loop runs; gives its wake-up."""
    stop, wake = asyncio.Event(), asyncio.Event()
    relay = Relay("mx.sort.example", timeouts=QUICK)
    running = asyncio.create_task(deliver.run(made.office, node, stop, wake, relay=relay, drain=drain))
    try:
        yield wake
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


def ended(made: Spooled, *deliveries: Delivery) -> Callable[[], bool]:
    return lambda: all(made.now(each).state.final for each in deliveries)


def tried(made: Spooled, deliveries: list[Delivery]) -> int:
    """How many attempts have come to an end."""
    return sum(made.now(each).attempts for each in deliveries)


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


# ---- many at once ----------------------------------------------------------------------------------


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


async def test_a_destination_that_hangs_delays_nobody_else(
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
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
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
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
    assert made.db.call(spool.claim, made.clock.now, "there", 1)
    put_off = made.put(due=made.clock.now + timedelta(hours=1))
    made.clock.now = NOW
    rightly = made.put(due=NOW + timedelta(hours=1))
    assert [made.db.call(clock.went_back, NOW) for _ in range(2)] == [2, 0]
    assert made.now(leased).due == made.now(leased).lease_until == NOW + timedelta(seconds=30)
    made.db.call(spool.give_back, "there")
    async with delivering(made):
        await until(ended(made, put_off))
    assert made.now(rightly).due == NOW + timedelta(hours=1)


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


async def test_a_loop_that_is_cancelled_leaves_nothing_running(made: Spooled, sink: Sink) -> None:
    sink.answers["MAIL"] = HANG
    made.put()
    before = asyncio.all_tasks()
    running = asyncio.create_task(deliver.run(made.office, "here", asyncio.Event()))
    await until(lambda: any("MAIL" in line for line in sink.commands))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
    await until(lambda: sink.open_sessions == 0)


async def test_the_lease_is_renewed_while_an_attempt_lives(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_HEARTBEAT", 0.1)
    sink.answers["."] = Late(0.8, "250 2.0.0 slow")
    delivery = made.put()
    async with delivering(made):
        await until(lambda: made.now(delivery).lease_node == "here")
        first = made.now(delivery).lease_until
        made.clock.pass_(seconds=25)
        await until(lambda: made.now(delivery).lease_until != first)
        made.clock.pass_(seconds=25)  # without the heartbeat it would have run out
        assert made.db.call(spool.claim, made.clock.now, "there", 10) == ()
        await until(ended(made, delivery))
    assert len(sink.received) == 1


async def test_an_attempt_whose_delivery_is_dropped_is_stopped(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_HEARTBEAT", 0.1)
    sink.answers["RCPT"] = Late(2, "250 2.1.5 ok")
    delivery = made.put()
    async with delivering(made):
        await until(lambda: sink.open_sessions == 1)
        made.db.call(spool.drop, delivery.id, "revoked", NOW)
        await until(lambda: sink.open_sessions == 0)
    assert sink.received == []
    assert made.now(delivery).state is DeliveryState.DROPPED


async def test_stopping_finishes_what_is_in_flight_and_gives_the_rest_back(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    sink.answers["."] = Late(0.3, "250 2.0.0 taken")
    first, second = made.put(), made.put()
    async with delivering(made):
        await until(lambda: "here" in (made.now(first).lease_node, made.now(second).lease_node))
    states = sorted([made.now(first).state, made.now(second).state])
    assert states == [DeliveryState.DELIVERED, DeliveryState.QUEUED]
    assert {made.now(first).lease_node, made.now(second).lease_node} == {""}


async def test_what_hangs_when_we_stop_is_given_back(made: Spooled, sink: Sink) -> None:
    sink.answers["MAIL"] = HANG
    delivery = made.put()
    async with delivering(made, drain=0.2):
        await until(lambda: any("EHLO" in line for line in sink.commands))
    assert (made.now(delivery).state, made.now(delivery).lease_node) == (DeliveryState.QUEUED, "")


async def test_what_was_sent_when_we_stop_is_named_as_unknown(made: Spooled, sink: Sink) -> None:
    sink.answers["."] = HANG
    delivery = made.put()
    async with delivering(made, drain=0.2):
        await until(lambda: len(sink.received) == 1)
    now = made.now(delivery)
    assert (now.state, now.reason, now.attempts, now.lease_node) == (
        DeliveryState.QUEUED,
        "reply lost",
        1,
        "",
    )
    assert "we had to stop after the message was sent" in made.db.view(spool.attempts, delivery.id)[0].reply


async def test_a_starting_node_takes_back_its_own_leases(made: Spooled) -> None:
    delivery = made.put()
    made.db.call(spool.claim, NOW, "here", 10)  # and then the process died
    async with delivering(made):
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.DELIVERED


async def test_mail_that_another_process_queued_is_seen_within_a_second_or_so(made: Spooled) -> None:
    async with delivering(made):
        await asyncio.sleep(0.1)
        delivery = made.put()
        await until(ended(made, delivery))


async def test_a_bug_of_ours_keeps_the_mail(made: Spooled, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(signing, "outgoing", broken)
    delivery = made.put()
    async with delivering(made):
        await until(lambda: made.now(delivery).attempts == 1)
    assert made.now(delivery).state is DeliveryState.QUEUED
    assert made.now(delivery).last_reply == "451 4.3.0 internal error of the office"


async def test_an_outcome_is_kept_even_where_telling_of_it_fails(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(returned, "failed", broken)
    sink.answers["RCPT"] = "550 5.1.1 no"
    delivery = made.put()
    async with delivering(made):
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.RETURNED


async def test_an_end_is_an_event_with_its_rule(made: Spooled, sink: Sink) -> None:
    sink.answers["RCPT"] = "550 5.1.1 <anna@home.example> unknown"
    delivery = made.put()
    async with delivering(made):
        await until(ended(made, delivery))
    (event,) = made.db.view(events.of_message, made.message(delivery).token)
    assert (event.what, event.rule, event.detail) == ("returned", "refused, proved_sender", "550 5.1.1")
