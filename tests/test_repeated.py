"""The same message again: one copy of it is enough, unless nothing became of the first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sortingoffice.cli.stage import ORDERS
from sortingoffice.cli.stage import VENDOR as SHOP
from sortingoffice.core import naming
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import Contact, DeliveryState, Direction, Envelope, Peer, Strangers
from sortingoffice.flows import held, history, receive, settle
from sortingoffice.flows import relationships as relationships_flow
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication, DkimResult, DmarcResult, Result
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.store import contacts, events, relationships, spool
from sortingoffice.store.database import Database
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.desk import MAILBOX, Desk, octets
from tests.office import Office, written
from tests.spooled import ALIAS, VENDOR, Spooled
from tests.test_office_outward import submission

RAW = (
    f"From: Lamp Shop <{VENDOR}>\r\nTo: {ALIAS}\r\nSubject: your lamp\r\n"
    "Date: Mon, 2 Mar 2026 09:00:00 +0000\r\nMessage-ID: <m1@shop.example>\r\n\r\nIt is on its way.\r\n"
).encode()


@pytest.fixture
def made(sqlite_db: Database, tmp_path: Path) -> Spooled:
    return spooled.make(sqlite_db, tmp_path)


def came(made: Spooled, name: str, *to: str, raw: bytes = RAW, auth: Authentication | None = None) -> str:
    """By which rule it was judged.

    auth  None: the vendor signed it
    """
    author, recipients = parse(VENDOR), tuple(map(parse, to or (ALIAS,)))
    assert author is not None
    arrival = Arrival(
        Peer("192.0.2.1"),
        Envelope(author, tuple(each for each in recipients if each is not None)),
        Message.parse(raw),
        len(raw),
        receive.proved(author) if auth is None else auth,
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


# ---- what doesn't prove as much, or would be answered elsewhere, is another message ------------------

ELSEWHERE = (
    "Reply-To: evil@thief.example",
    "Cc: evil@thief.example",
    "Sender: evil@thief.example",
    "In-Reply-To: <m0@shop.example>",
    "Content-Transfer-Encoding: quoted-printable",
)
NOTHING = Authentication(from_domain="shop.example")
QUARANTINE = replace(NOTHING, dmarc=DmarcResult(Result.FAIL, policy="quarantine"))
BY_SPF = replace(NOTHING, dmarc=DmarcResult(Result.PASS, aligned_spf=True))
MAILER = replace(NOTHING, dkim=(DkimResult(Result.PASS, "mailer.example"),))


def dropped(made: Spooled) -> None:
    """The person wants none of what is held."""
    for each in made.db.view(spool.queue, state=DeliveryState.HELD):
        made.db.call(held.drop, made.office, made.account, each.delivery.id, actor="test")


@pytest.mark.parametrize("line", ELSEWHERE)
def test_a_copy_with_a_field_more_that_leads_an_answer_elsewhere_is_another_message(
    made: Spooled, line: str
) -> None:
    assert came(made, "forged", raw=f"{line}\r\n".encode() + RAW) != "repeated_message"
    assert came(made, "genuine") != "repeated_message"
    assert came(made, "again") == "repeated_message"


@pytest.mark.parametrize("then", ["waits", "dropped"])
@pytest.mark.parametrize(
    ("forged", "first", "proved"),
    [
        (QUARANTINE, "dmarc_quarantine", BY_SPF),
        (QUARANTINE, "dmarc_quarantine", None),
        (NOTHING, "stranger_flagged", None),
        (MAILER, "stranger_flagged", None),
        (BY_SPF, "welcome", None),
    ],
    ids=["held", "held before a signed one", "flagged", "signed by another", "by SPF before a signed one"],
)
def test_a_copy_that_proves_less_swallows_none_that_proves_more(
    made: Spooled, forged: Authentication, first: str, proved: Authentication | None, then: str
) -> None:
    assert came(made, "forged", auth=forged) == first
    if then == "dropped":
        dropped(made)
    assert came(made, "again", auth=forged) == "repeated_message"
    assert came(made, "genuine", auth=proved) == "welcome"
    assert came(made, "retry", auth=proved) == "repeated_message"
    assert "genuine" in [each.token for each in made.queued(Direction.INWARD)]


def test_what_is_let_in_meanwhile_is_not_swallowed_by_a_copy_that_was_kept_out(made: Spooled) -> None:
    made.db.call(relationships.update, replace(made.relationship, strangers=Strangers.HOLD))
    assert came(made, "first", auth=MAILER) == "stranger_held"
    dropped(made)
    assert came(made, "second", auth=MAILER) == "repeated_message"
    flow = partial(relationships_flow.judge, allow=True, actor="test")
    made.db.call(flow, made.office, made.account, "lamp-shop", "mailer.example")
    assert came(made, "third", auth=MAILER) == "welcome"


# ---- the person's own: to each contact once ----------------------------------------------------------

OWN = """\
From: Anna <anna@home.example>
To: {clerk}, {bob}
Subject: my lamps
Date: Sun, 1 Mar 2026 11:59:00 +0000
Message-ID: <own@home.example>
Content-Type: text/plain

Where are they?
"""


def contact(desk: Desk, name: str) -> Contact:
    """One more of the shop's."""
    address, reverse = f"{name}@lamp-shop.example", f"{name}9876@sort.example"
    row = Contact(0, desk.shop.id, address, address, "", reverse, naming.canonical(reverse), desk.now[0])
    return desk.db.call(contacts.get_or_add, desk.shop.id, row)


def submitted(desk: Desk, name: str, *to: Contact) -> str:
    """By which rule the person's one mail was judged, sent to these of the two."""
    listed = {"clerk": desk.clerk.reverse_alias, "bob": contact(desk, "bob").reverse_alias}
    raw = octets(OWN.format(**listed))
    recipients = tuple(filter(None, (parse(each.reverse_alias) for each in to)))
    arrival = Arrival(
        Peer("192.0.2.1", account_id=desk.account.id),
        Envelope(parse(MAILBOX), recipients),
        Message.parse(raw),
        len(raw),
        Authentication(),
        name,
        desk.now[0],
    )
    return desk.db.call(receive.accept, desk.office, arrival).rule


def copies(desk: Desk) -> list[tuple[str, str]]:
    """What stands in the spool for the shop: token and recipient, oldest first."""
    found = desk.db.view(spool.queue, relationship_id=desk.shop.id)
    return [(each.message.token, each.delivery.recipient.partition("@")[0]) for each in reversed(found)]


def told(desk: Desk, token: str) -> list[tuple[str, str]]:
    """What `trace` says of a message."""
    (found,) = desk.db.view(history.trace, None, token)
    return [(each["what"], each["detail"]) for each in found["events"] if each["what"] == "repeated"]


def test_a_retry_to_a_recipient_more_sends_each_of_them_one_copy(either: Desk) -> None:
    bob = contact(either, "bob")
    assert submitted(either, "one", either.clerk) == "sent_as_alias"
    assert submitted(either, "two", either.clerk, bob) == "sent_as_alias"
    assert copies(either) == [("one", "clerk"), ("two", "bob")]
    assert submitted(either, "three", bob, either.clerk) == "repeated_message"
    assert len(copies(either)) == 2
    assert told(either, "two") == [
        ("repeated", "to clerk@lamp-shop.example: it first came as one"),
        ("repeated", "sent again, as three"),
    ]
    assert told(either, "one") == [("repeated", "sent again, as two"), ("repeated", "sent again, as three")]
    assert told(either, "three") == [
        ("repeated", "to bob@lamp-shop.example: it first came as two"),
        ("repeated", "to clerk@lamp-shop.example: it first came as one"),
    ]


def test_a_retry_to_fewer_recipients_sends_nothing(either: Desk) -> None:
    bob = contact(either, "bob")
    assert submitted(either, "one", either.clerk, bob) == "sent_as_alias"
    assert submitted(either, "two", bob) == "repeated_message"
    assert copies(either) == [("one", "clerk"), ("one", "bob")]
    assert told(either, "two") == [("repeated", "it first came as one")]


def test_what_came_to_nothing_for_one_recipient_goes_to_that_one_again(either: Desk) -> None:
    bob = contact(either, "bob")
    assert submitted(either, "one", either.clerk, bob) == "sent_as_alias"
    (failed,) = [
        each.delivery
        for each in either.db.view(spool.queue, relationship_id=either.shop.id)
        if each.delivery.contact_id == bob.id
    ]
    now, state = either.now[0], DeliveryState.RETURNED
    either.db.call(spool.settle, failed, None, state, "refused", now, "550 no", now)
    assert submitted(either, "two", either.clerk, bob) == "sent_as_alias"
    assert copies(either) == [("one", "clerk"), ("two", "bob")]


# ---- over the wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("became", ["delivered", "held", "dropped"])
def test_a_forged_copy_sent_first_makes_no_genuine_mail_vanish(office: Office, became: str) -> None:
    policy = "none" if became == "delivered" else "quarantine"
    office.stage.zone.set(f"_dmarc.{SHOP}", "TXT", f"v=DMARC1; p={policy}")
    shop, subject = office.fresh("--site", SHOP), f"forged first, {became}"
    raw = written(f"From: {ORDERS}", f"To: {shop.alias}", f"Message-ID: <{became}@{SHOP}>", subject=subject)
    with office.stage.client("thief.example") as client:
        client.sendmail(ORDERS, [shop.alias], raw)
    waiting = [row for row in office.stage.json("held", "list") if row["relationship"] == shop.slug]
    assert [row["reason"] for row in waiting] == (["dmarc_quarantine"] if became != "delivered" else [])
    if became == "dropped":
        office.stage.command("held", "drop", str(waiting[0]["id"]))
    for _ in range(2):
        office.from_vendor(shop.alias, raw)
    copies = office.arrived(office.stage.home, subject, 2 if became == "delivered" else 1)
    assert b"dkim=pass" in copies[-1].octets
    log = office.stage.command("log", shop.slug)
    assert log.count("welcome") == 1
    assert log.count("repeated_message") == 2, "of the second genuine one, told of both"


def test_a_copy_with_a_field_more_makes_no_other_mail_vanish_that_proves_as_little(office: Office) -> None:
    shop = office.fresh()
    for number, line in enumerate(ELSEWHERE):
        subject = f"a field more, {number}"
        given = ("From: a@soft.example", f"To: {shop.alias}", f"Message-ID: <more{number}@soft.example>")
        raw = written(*given, subject=subject)
        for each in (f"{line}\r\n".encode() + raw, raw):
            with office.stage.client() as client:
                client.sendmail("a@soft.example", [shop.alias], each)
        assert len(office.arrived(office.stage.home, subject, 2)) == 2


def test_a_program_that_tries_again_with_a_recipient_more_sends_one_copy_each(office: Office) -> None:
    stage, shop = office.stage, office.fresh("--site", SHOP)
    to = [shop.contact(ORDERS), shop.contact(f"help@{SHOP}")]
    password = stage.command("admin", "password", "new", "--label", "retry")
    given = (f"From: {MAILBOX}", f"To: {', '.join(to)}", "Message-ID: <retry@home.example>")
    raw = written(*given, subject="a recipient more")
    for recipients in (to[:1], to, to):
        with submission(stage, password) as client:
            client.sendmail(MAILBOX, recipients, raw)
    office.arrived(stage.vendor, "a recipient more", 2)
    with submission(stage, password) as client:
        client.sendmail(MAILBOX, to[:1], raw.replace(b"a recipient more", b"the end"))
    office.vendor("the end")
    copies = office.arrived(stage.vendor, "a recipient more", 2)
    assert sorted(each.recipients for each in copies) == [(f"help@{SHOP}",), (ORDERS,)]
