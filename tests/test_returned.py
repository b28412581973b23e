"""Who is told of a failure, and who is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.core import returned as words
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import (
    Delivery,
    DeliveryState,
    Direction,
    Envelope,
    MailboxState,
    Peer,
    SpooledMessage,
)
from sortingoffice.core.returned import Told
from sortingoffice.flows import returned, settle
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.store import accounts, events, leases, spool
from sortingoffice.store.database import Database
from tests import spooled
from tests.spooled import ALIAS, MAILBOX, NOW, OUTWARD, VENDOR, Spooled
from tests.unit.test_dsn import BARE, COMPLAINT, EXIM, POSTFIX, TICKET, VACATION

GONE = Reply(550, "5.1.1", f"<{MAILBOX}> no such user at home.example")
LATER = Reply(451, "4.7.1", f"<{MAILBOX}> greylisted by home.example")


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path)


@pytest.fixture
def two(sqlite_db: Database, tmp_path: Path) -> Spooled:
    """Anna has a second verified mailbox."""
    return spooled.make(sqlite_db, tmp_path, second_mailbox=True)


def attempt(made: Spooled, delivery: Delivery, reply: Reply) -> None:
    """An attempt that ended so, settled as the loop does."""
    claimed = next(
        each
        for each in made.db.call(leases.claim, made.clock.now, "n", 100)
        if each.delivery.id == delivery.id
    )
    tried = Tried(reply, "mx [192.0.2.1]:25")
    made.db.call(settle.settle, made.office, claimed, tried, made.clock.now)
    made.db.call(leases.give_back, "n")


def comes_back(made: Spooled, delivery: Delivery, text: str, sender: str | None = None) -> bool:
    raw = text.replace("\n", "\r\n").encode()
    envelope = Envelope(None if sender is None else parse(sender), ())
    arrival = Arrival(
        Peer("192.0.2.1"), envelope, Message.parse(raw), len(raw), Authentication(), "back1", made.clock.now
    )
    return made.db.call(returned.bounce, made.office, arrival, made.now(delivery))


def happened(made: Spooled, delivery: Delivery) -> list[tuple[str, str]]:
    token = made.message(delivery).token
    return [(event.what, event.rule) for event in made.db.view(events.of_message, token)]


# ---- outward ---------------------------------------------------------------------------------------


def test_the_person_gets_a_plain_note_with_the_remotes_words_and_their_own_mail(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    attempt(made, delivery, Reply(550, "5.2.2", "mailbox is full"))
    (note,) = made.queued(Direction.NOTICE)
    assert b"550 5.2.2 mailbox is full" in note.raw
    assert VENDOR.encode() in note.raw
    assert OUTWARD in note.raw
    assert note.sender == ""
    (told,) = made.db.view(spool.deliveries, note.id)
    assert (told.recipient, told.return_domain) == (MAILBOX, "")
    assert happened(made, delivery) == [("returned", "refused, outward_mail")]


def test_a_large_mail_goes_back_as_its_header(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD, raw=OUTWARD + b"x" * words.MOST_ATTACHED)
    attempt(made, delivery, Reply(552, "5.3.4", "too large"))
    (note,) = made.queued(Direction.NOTICE)
    assert b"Subject: My lamp" in note.raw
    assert len(note.raw) < 10_000


def test_a_delay_is_told_once_after_four_hours_and_for_outward_mail_only(made: Spooled) -> None:
    outward, inward = made.put(Direction.OUTWARD), made.put()
    for _ in range(3):
        attempt(made, outward, LATER)
        attempt(made, inward, LATER)
        made.clock.pass_(hours=3)
    (note,) = made.queued(Direction.NOTICE)
    assert "still waiting" in note.subject.lower()
    assert b"451 4.7.1" in note.raw
    assert made.now(outward).delay_told
    assert made.now(outward).state is DeliveryState.QUEUED


def test_the_time_in_which_mail_was_held_is_no_delay(made: Spooled) -> None:
    held = made.put(Direction.OUTWARD, state=DeliveryState.HELD)
    made.clock.pass_(days=2)
    assert made.db.call(spool.release, held.id, made.clock.now)
    attempt(made, held, LATER)
    assert made.queued(Direction.NOTICE) == []
    made.clock.pass_(hours=4)
    attempt(made, held, LATER)
    (note,) = made.queued(Direction.NOTICE)
    assert "still waiting" in note.subject.lower()


def test_the_end_of_the_days_is_said_as_such(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    made.clock.pass_(days=5)
    attempt(made, delivery, LATER)
    (note,) = made.queued(Direction.NOTICE)
    assert b"stopped trying" in note.raw


# ---- inward ----------------------------------------------------------------------------------------


def test_the_vendor_gets_a_dsn_that_says_nothing_about_the_mailbox(made: Spooled) -> None:
    delivery = made.put()
    attempt(made, delivery, GONE)
    (report,) = made.queued(Direction.RETURN)
    (to_vendor,) = made.db.view(spool.deliveries, report.id)
    assert (to_vendor.recipient, to_vendor.return_domain) == (VENDOR, "")
    assert ALIAS.encode() in report.raw
    assert b"<1@shop.example>" in report.raw  # by which they know their mail again
    for secret in (b"anna", b"home.example", b"no such user", b"5.1.1", b"5v8k2m9q", b"on its way"):
        assert secret not in report.raw.lower(), secret
    assert happened(made, delivery) == [("returned", "refused, proved_sender")]


def test_no_event_names_the_mailbox(made: Spooled) -> None:
    delivery = made.put()
    attempt(made, delivery, GONE)
    assert all(MAILBOX not in event.detail for event in made.db.view(events.every))


def test_full_and_unknown_look_alike_to_the_vendor(made: Spooled) -> None:
    one, other = made.put(), made.put()
    attempt(made, one, Reply(552, "5.2.2", "full"))
    attempt(made, other, GONE)
    reports = made.queued(Direction.RETURN)
    assert len(reports) == 2
    texts = {report.raw.replace(report.token.encode(), b"") for report in reports}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sender": ""}, "null_sender"),
        ({"bulk": True}, "bulk_mail"),
        ({"authenticated": False}, "unproved_sender"),
    ],
)
def test_nobody_is_told_where_it_would_be_backscatter(
    made: Spooled, changes: dict[str, object], rule: str
) -> None:
    delivery = made.put(Direction.INWARD, **changes)
    attempt(made, delivery, GONE)
    assert made.queued(Direction.RETURN) == []
    assert happened(made, delivery) == [("returned", f"refused, {rule}")]


@pytest.mark.parametrize("direction", [Direction.NOTICE, Direction.RETURN])
def test_a_return_of_a_return_is_never_made(made: Spooled, direction: Direction) -> None:
    delivery = made.put(direction, return_domain="", sender="")
    attempt(made, delivery, GONE)
    assert made.queued(Direction.RETURN) == made.queued(Direction.NOTICE) == []
    assert happened(made, delivery) == [("returned", "refused, own_mail")]


def test_the_rules_are_total(made: Spooled) -> None:
    message = made.message(made.put())
    for direction in Direction:
        for sender in ("", VENDOR):
            for bulk in (True, False):
                telling = words.whom(
                    replace(message, direction=direction, sender=sender, bulk=bulk, authenticated=not bulk)
                )
                assert (telling.whom is Told.VENDOR) == (
                    direction is Direction.INWARD and bool(sender) and not bulk
                )


def test_the_person_is_told_at_another_mailbox(two: Spooled) -> None:
    attempt(two, two.put(), GONE)
    (note,) = two.queued(Direction.NOTICE)
    (told,) = two.db.view(spool.deliveries, note.id)
    assert told.recipient == "anna@other.example"
    assert MAILBOX.encode() in note.raw
    assert b"no such user" in note.raw


def test_with_one_mailbox_only_nothing_is_sent_to_the_one_that_fails(made: Spooled) -> None:
    attempt(made, made.put(), GONE)
    assert made.queued(Direction.NOTICE) == []


def test_a_mailbox_that_keeps_failing_is_marked(made: Spooled) -> None:
    for _ in range(words.FAILURES - 1):
        attempt(made, made.put(), GONE)
    assert mailbox(made) is MailboxState.VERIFIED
    attempt(made, made.put(), GONE)
    assert mailbox(made) is MailboxState.FAILING
    assert "mailbox-failing" in [event.what for event in made.db.view(events.every)]


def test_one_that_takes_mail_in_between_is_not(made: Spooled) -> None:
    for reply in (GONE, GONE, Reply(250, "2.0.0", "taken"), GONE, GONE):
        attempt(made, made.put(), reply)
    assert mailbox(made) is MailboxState.VERIFIED


def test_refusals_of_the_message_do_not_mark_the_mailbox(made: Spooled) -> None:
    for status in ("5.7.1", "5.3.4", "5.6.0", "5.7.26"):
        attempt(made, made.put(), heard(550, f"{status} spam"))
    assert mailbox(made) is MailboxState.VERIFIED


def mailbox(made: Spooled) -> MailboxState:
    found = made.db.view(accounts.mailbox_by_id, made.mailbox.id)
    assert found is not None
    return found.state


# ---- what comes back ---------------------------------------------------------------------------------


def test_a_bounce_of_outward_mail_is_told_to_the_person(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    assert comes_back(made, delivery, POSTFIX)
    now = made.now(delivery)
    assert (now.state, now.reason) == (DeliveryState.RETURNED, "bounced")
    assert now.last_reply.startswith("550 5.1.1")
    (note,) = made.queued(Direction.NOTICE)
    assert b"User unknown" in note.raw
    assert b"came back" in note.raw
    assert happened(made, delivery) == [("returned", "bounced, outward_mail")]


def test_the_remotes_words_are_told_once_and_by_the_code_that_says_most(two: Spooled) -> None:
    for status, diagnostic, said in (
        ("5.1.1", "smtp; 550 5.1.1 nobody", "550 5.1.1 nobody"),
        ("5.0.0", "smtp; 550-5.7.1 looks like spam", "550 5.7.1 looks like spam"),
        ("5.2.2", "smtp; 552 it is full", "552 5.2.2 it is full"),
        ("5.4.1", "smtp; 550 5.1.10 unknown", "550 5.4.1 550 5.1.10 unknown"),
        ("4.4.7", "smtp; 451 wait", "451 4.4.7 wait"),
        (
            "5.1.1",
            "smtp; 550-5.1.1 not here. Try\n 550-5.1.1 another\n 550 5.1.1 one",
            "550 5.1.1 not here. Try another one",
        ),
        ("5.1.1", "x400; unable-to-transfer", "550 5.1.1 unable-to-transfer"),
    ):
        delivery = two.put(Direction.OUTWARD)
        attempt(two, delivery, Reply(250, "2.0.0", "taken"))
        report = POSTFIX.replace("Status: 5.1.1", f"Status: {status}")
        start, end = report.index("smtp; 550 5.1.1"), report.index("\n--B\nContent-Type: message/rfc822")
        assert comes_back(two, delivery, report[:start] + diagnostic + "\n" + report[end:])
        assert two.now(delivery).last_reply == said


def test_what_has_not_failed_is_not_written_down_with_a_code_of_a_failure(two: Spooled) -> None:
    delivery = two.put(Direction.OUTWARD)
    attempt(two, delivery, Reply(250, "2.0.0", "taken"))
    for action, status in (("relayed", "2.1.9"), ("delayed", "4.4.1")):
        assert comes_back(two, delivery, POSTFIX.replace("failed", action).replace("5.1.1", status))
    token = two.message(delivery).token
    details = [event.detail for event in two.db.view(events.of_message, token)]
    assert [detail[:9] for detail in details] == ["250 2.1.9", "450 4.4.1"]


def test_a_bounce_of_inward_mail_is_the_mailboxs_failure(made: Spooled) -> None:
    delivery = made.put()
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    assert comes_back(made, delivery, POSTFIX.replace("support@shop.example", MAILBOX))
    (report,) = made.queued(Direction.RETURN)
    assert ALIAS.encode() in report.raw
    assert b"home.example" not in report.raw
    assert b"User unknown" not in report.raw


def test_the_second_bounce_of_one_delivery_tells_nobody(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    assert comes_back(made, delivery, POSTFIX)
    assert comes_back(made, delivery, EXIM)
    assert len(made.queued(Direction.NOTICE)) == 1


def test_a_report_of_a_delay_or_success_is_only_written_down(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    assert comes_back(made, delivery, POSTFIX.replace("failed", "delayed").replace("Status: 5", "Status: 4"))
    assert comes_back(made, delivery, POSTFIX.replace("failed", "relayed"))
    assert made.now(delivery).state is DeliveryState.DELIVERED
    assert made.queued(Direction.NOTICE) == []
    assert [what for what, _ in happened(made, delivery)] == ["delayed", "relayed"]


@pytest.mark.parametrize("text", [TICKET, VACATION], ids=["ticket", "vacation"])
def test_what_is_no_bounce_goes_its_own_way(made: Spooled, text: str) -> None:
    delivery = made.put(Direction.OUTWARD)
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    assert not comes_back(made, delivery, text, VENDOR)
    assert not comes_back(made, delivery, text)


# As Exchange answers for who is away, and as a shop's machine does: with a null sender, too.
AWAY = """From: Anna <anna@home.example>
Subject: Automatic reply: {subject}
Auto-Submitted: auto-generated
X-Auto-Response-Suppress: All

I am away until Monday.
"""


@pytest.mark.parametrize(
    "subject",
    [
        "Delivery status of your order",
        "Returned mail",
        "Re: Undeliverable parcel",
        "It could not be delivered",
    ],
)
@pytest.mark.parametrize("direction", [Direction.INWARD, Direction.OUTWARD])
def test_an_answering_machine_that_repeats_a_subject_is_no_bounce(
    two: Spooled, direction: Direction, subject: str
) -> None:
    delivery = two.put(direction, subject=subject)
    attempt(two, delivery, Reply(250, "2.0.0", "taken"))
    assert not comes_back(two, delivery, AWAY.format(subject=subject.removeprefix("Re: ")))
    assert two.now(delivery).state is DeliveryState.DELIVERED
    assert comes_back(two, delivery, BARE.replace("Returned mail", f"Undeliverable: {subject}"))
    assert two.now(delivery).reason == "bounced"


def test_a_complaint_is_an_event_and_nothing_more(made: Spooled) -> None:
    delivery = made.put()
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    assert comes_back(made, delivery, COMPLAINT, "feedback@home.example")
    assert happened(made, delivery) == [("complained", "feedback_abuse")]
    assert made.now(delivery).state is DeliveryState.DELIVERED
    assert made.queued(Direction.RETURN) == []


def test_two_offices_do_not_play_ball(made: Spooled) -> None:
    """The DSN that we send a vendor who is an office, too, comes to its return path and ends there."""
    theirs = made.put(Direction.OUTWARD)  # what the other office sent us, seen from there
    attempt(made, theirs, Reply(250, "2.0.0", "taken"))
    ours = made.put()
    attempt(made, ours, GONE)
    (report,) = made.queued(Direction.RETURN)
    assert comes_back(made, theirs, report.raw.decode().replace("\r\n", "\n"))
    assert len(made.queued(Direction.RETURN)) == 1  # no further one
    (note,) = made.queued(Direction.NOTICE)
    assert note.sender == ""


def test_a_remotes_words_cannot_break_the_note(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    evil = "5.1.1 no\r\nBcc: evil@x.example\r\n\r\n\x1b[2Jred\x00"
    attempt(made, delivery, heard(550, evil))
    (note,) = made.queued(Direction.NOTICE)
    assert Message.parse(note.raw).first("Bcc") is None
    assert b"\x1b" not in note.raw
    assert b"\x00" not in note.raw


def test_the_alias_that_the_vendor_wrote_to_is_the_one_it_is_told_of(made: Spooled) -> None:
    assert isinstance(made.message(made.put()), SpooledMessage)
    attempt(made, made.put(), GONE)
    (report,) = made.queued(Direction.RETURN)
    assert f"Final-Recipient: rfc822; {ALIAS}".encode() in report.raw
    assert made.clock.now == NOW
