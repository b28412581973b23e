"""What a vendor is told of a mail of its own that did not arrive: nothing that it did not know before."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from email.utils import format_datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sortingoffice.core import naming
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import (
    Alias,
    AliasState,
    Delivery,
    Direction,
    Domain,
    Envelope,
    Peer,
    Relationship,
    SpooledMessage,
)
from sortingoffice.flows import receive, settle
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail import token
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Result, SpfResult
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.store import domains, relationships, spool
from sortingoffice.store.database import Database
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.spooled import ALIAS, INWARD, MAILBOX, VENDOR, Spooled
from tests.test_returned import GONE, attempt, comes_back, happened
from tests.unit.test_dsn import POSTFIX

NEW = "solar.badger1111@sort.example"
OTHER = "amber.falcon2222@sort.example"
SPAMMER = "spam@leak.example"
TAKEN = Reply(250, "2.0.0", "taken")
BOUNCE = POSTFIX.replace("support@shop.example", MAILBOX)
ID = "<same@shop.example>"


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path)


@pytest.fixture
def one(sqlite_db: Database, tmp_path: Path) -> Spooled:
    """On SQLite alone."""
    return spooled.make(sqlite_db, tmp_path)


def letter(to: str, *, sender: str = VENDOR, message_id: str = f"Message-ID: {ID}\r\n") -> bytes:
    named = f"From: Lamp Shop <{sender}>\r\nTo: {to}\r\nSubject: Your lamp\r\n"
    return f"{named}Date: Mon, 2 Mar 2026 09:00:00 +0000\r\n{message_id}\r\nIt is on its way.\r\n".encode()


def rotated(made: Spooled, new: str = NEW) -> None:
    """As `rotate` leaves it."""
    made.db.call(_rotate, made.relationship, new)


def _rotate(tx: sa.Connection, of: Relationship, new: str) -> None:
    for each in relationships.aliases(tx, of.id):
        relationships.set_alias(tx, replace(each, state=AliasState.ROTATED))
    relationships.add_alias(tx, _alias(of, new))


def _alias(of: Relationship, address: str) -> Alias:
    return Alias(0, of.id, address, naming.canonical(address), AliasState.LIVE, of.created)


def another(made: Spooled) -> Relationship:
    """A second relationship of the same account."""
    of = made.db.call(relationships.add, replace(made.relationship, id=0, slug="other", name="Other"))
    made.db.call(relationships.add_alias, _alias(of, OTHER))
    return of


def accepted(made: Spooled, raw: bytes, *recipients: str, sender: str = SPAMMER) -> Delivery:
    """The last delivery of mail that came, from a sender whom SPF proved."""
    made.count += 1
    author = parse(sender)
    auth = replace(receive.proved(author), spf=SpfResult(Result.PASS, "leak.example"))
    envelope = Envelope(author, tuple(filter(None, map(parse, recipients))))
    assert len(envelope.recipients) == len(recipients)
    arrival = Arrival(
        Peer("192.0.2.1"), envelope, Message.parse(raw), len(raw), auth, f"came{made.count}", made.clock.now
    )
    assert made.db.call(receive.accept, made.office, arrival).reply.accepted
    waiting = made.db.view(spool.queue)
    return next(each.delivery for each in waiting if each.message.direction is Direction.INWARD)


def settled(made: Spooled, delivery: Delivery, reply: Reply) -> None:
    now = made.now(delivery)
    claimed = Claimed(made.message(now), now)
    made.db.call(settle.settle, made.office, claimed, Tried(reply, "mx [192.0.2.1]:25"), made.clock.now)


def report(made: Spooled) -> SpooledMessage:
    """The only DSN there is."""
    (found,) = made.queued(Direction.RETURN)
    return found


# ---- by which address ------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [ALIAS, "undisclosed-recipients:;"], ids=["named", "blind copy"])
@pytest.mark.parametrize("later", [False, True], ids=["refused", "came back"])
def test_after_a_rotation_who_wrote_to_the_old_alias_is_never_told_the_new_one(
    made: Spooled, to: str, later: bool
) -> None:
    rotated(made)
    delivery = accepted(made, letter(to, sender=SPAMMER), ALIAS)
    settled(made, delivery, TAKEN if later else GONE)
    if later:
        assert made.message(delivery).raw == b""
        assert comes_back(made, delivery, BOUNCE)
    told = report(made).raw
    assert f"Final-Recipient: rfc822; {ALIAS}\r\n".encode() in told
    assert NEW.encode() not in told


def test_of_two_aliases_the_one_that_was_written_to_is_told_whatever_the_header_names(made: Spooled) -> None:
    rotated(made)
    settled(made, accepted(made, letter(ALIAS), NEW), GONE)
    assert f"Final-Recipient: rfc822; {NEW}\r\n".encode() in report(made).raw
    assert ALIAS.encode() not in report(made).raw


def test_a_sender_is_told_of_the_alias_in_its_own_spelling(made: Spooled) -> None:
    clerks = "LunarOtter-4821@sort.example"
    delivery = accepted(made, letter(clerks), clerks)
    settled(made, delivery, TAKEN)
    assert comes_back(made, delivery, BOUNCE)
    assert f"Final-Recipient: rfc822; {clerks}\r\n".encode() in report(made).raw
    assert ALIAS.encode() not in report(made).raw


def test_who_answered_a_return_path_is_told_of_that_and_of_no_alias(made: Spooled) -> None:
    sent = made.put(Direction.OUTWARD)
    attempt(made, sent, TAKEN)
    rotated(made)
    path = f"{token.return_path(made.office.keys.token, sent.id)}@sort.example"
    delivery = accepted(made, letter(path, sender=VENDOR), path, sender=VENDOR)
    assert delivery.accepted_for == path
    settled(made, delivery, GONE)
    assert f"Final-Recipient: rfc822; {path}\r\n".encode() in report(made).raw
    assert NEW.encode() not in report(made).raw


def test_the_domain_of_a_newer_alias_is_not_told_either(made: Spooled) -> None:
    made.db.call(domains.add, Domain(0, "second.example", made.clock.now))
    rotated(made, "solar.badger1111@second.example")
    settled(made, accepted(made, letter("list@shop.example"), ALIAS), GONE)
    assert b"Reporting-MTA: dns; sort.example" in report(made).raw
    assert b"<postmaster@sort.example>" in report(made).raw
    assert b"second.example" not in report(made).raw


def test_nor_is_the_domain_of_an_older_one(made: Spooled) -> None:
    made.db.call(domains.add, Domain(0, "second.example", made.clock.now))
    new = "solar.badger1111@second.example"
    rotated(made, new)
    settled(made, accepted(made, letter(new), new), GONE)
    assert b"<postmaster@second.example>" in report(made).raw
    assert b"sort.example" not in report(made).raw


# ---- accepted by an older version, which did not keep the address ----------------------------------------


def test_what_an_older_version_accepted_is_told_of_by_the_only_alias_there_was(made: Spooled) -> None:
    delivery = made.put()
    assert made.now(delivery).accepted_for == ""
    attempt(made, delivery, TAKEN)
    assert comes_back(made, delivery, BOUNCE)
    assert f"Final-Recipient: rfc822; {ALIAS}\r\n".encode() in report(made).raw


def test_of_several_aliases_by_the_one_that_the_message_is_to(made: Spooled) -> None:
    rotated(made)
    spelled = INWARD.replace(b"To: lunar.otter4821@", b"To: Lunarotter4821@")
    attempt(made, made.put(raw=spelled), GONE)
    assert f"Final-Recipient: rfc822; {ALIAS}\r\n".encode() in report(made).raw
    assert NEW.encode() not in report(made).raw


@pytest.mark.parametrize("later", [False, True], ids=["refused", "came back"])
def test_and_where_that_is_not_known_the_vendor_is_not_told(made: Spooled, later: bool) -> None:
    rotated(made)
    raw = INWARD if later else INWARD.replace(b"To: lunar.otter4821@sort.example", b"To: list@leak.example")
    delivery = made.put(raw=raw)
    attempt(made, delivery, TAKEN if later else GONE)
    assert not later or comes_back(made, delivery, BOUNCE)
    assert made.queued(Direction.RETURN) == []
    ended = "bounced" if later else "refused"
    assert happened(made, delivery) == [
        ("not told", "alias_unknown"),
        ("returned", f"{ended}, proved_sender"),
    ]


def test_an_alias_inside_a_longer_address_is_not_the_one_written_to(made: Spooled) -> None:
    rotated(made)
    attempt(made, made.put(raw=INWARD.replace(b"lunar.otter", b"xlunar.otter")), GONE)
    assert made.queued(Direction.RETURN) == []


# ---- by which id -------------------------------------------------------------------------------------


def both(made: Spooled, message_id: str) -> list[bytes]:
    """The DSNs for one mail to two relationships of one account, without what is of each alone."""
    for alias in (ALIAS, OTHER):
        settled(made, accepted(made, letter(alias, message_id=message_id), alias), GONE)
    told = []
    for each, alias in zip(made.queued(Direction.RETURN)[::-1], (ALIAS, OTHER), strict=True):
        assert f"Final-Recipient: rfc822; {alias}\r\n".encode() in each.raw
        told.append(each.raw.replace(each.token.encode(), b"token").replace(alias.encode(), b"alias"))
    return told


def test_one_mail_to_two_aliases_does_not_show_that_they_are_of_one_account(made: Spooled) -> None:
    another(made)
    first, second = both(made, f"Message-ID: {ID}\r\n")
    assert ID.encode() in first
    assert first == second


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["Message-ID", "Message-Id", "message-id"]),
    before=st.sampled_from([" ", "", "   ", "\r\n ", "\t", " (c) "]),
    local=st.text("abc!$'*+-/=?^_{|}~.@\x00ü", min_size=1, max_size=950),
    after=st.sampled_from(["", " ", " (added by mx)", " <two@shop.example>", "\r\n "]),
    times=st.sampled_from([1, 2]),
)
def test_in_whatever_way_the_mail_writes_its_id(
    one: Spooled, name: str, before: str, local: str, after: str, times: int
) -> None:
    def fresh(tx: sa.Connection) -> None:
        tx.exec_driver_sql("UPDATE delivery SET state = 'dropped'")
        tx.exec_driver_sql("DELETE FROM reference")

    one.db.call(fresh)
    if len(one.db.view(relationships.every, one.account.id)) == 1:
        another(one)
    one.clock.pass_(hours=7)  # else it is the same mail once more
    first, second = both(one, f"{name}:{before}<{local}@shop.example>{after}\r\n" * times)
    assert first == second
    assert max(map(len, first.split(b"\r\n"))) <= 998
    assert b"\x00" not in first


@pytest.mark.parametrize("local", ["a" * 950, "a\x00b", "ü"], ids=["long", "a zero", "no ASCII"])
def test_an_id_that_fits_on_no_line_of_ours_is_left_out(one: Spooled, local: str) -> None:
    settled(one, accepted(one, letter(ALIAS, message_id=f"Message-ID:\r\n <{local}@x>\r\n"), ALIAS), GONE)
    assert report(one).raw.count(b"\r\nMessage-ID:") == 1  # the report's own
    assert b"Subject: Your lamp" in report(one).raw
    assert report(one).raw.isascii()


def test_an_id_of_ours_whose_partner_is_forgotten_is_left_out(made: Spooled) -> None:
    ours = INWARD.replace(b"<1@shop.example>", b"<came1.7@SORT.example>")
    attempt(made, made.put(raw=ours), GONE)
    assert b"came1.7" not in report(made).raw
    assert b"Subject: Your lamp" in report(made).raw


def test_the_id_of_a_neighbour_in_the_same_office_is_its_own(made: Spooled) -> None:
    theirs = "<0f3a@sort.example>"
    settled(made, accepted(made, letter(ALIAS, message_id=f"Message-ID: {theirs}\r\n"), ALIAS), GONE)
    assert theirs.encode() in report(made).raw


def test_nothing_that_was_put_into_the_mailboxs_copy_goes_back(made: Spooled) -> None:
    named = b"Cc: Bob <bob@shop.example>\r\nReply-To: desk@shop.example\r\nReferences: <9@shop.example>\r\n"
    raw = letter(ALIAS).replace(b"Subject:", named + b"Subject:")
    delivery = accepted(made, raw, ALIAS)
    kept = made.message(delivery).raw
    settled(made, delivery, GONE)
    told = report(made).raw
    for line in Message.parse(kept).fields:
        assert line.raw in raw or line.raw not in told, line.raw
    assert b"Cc:" not in told
    assert MAILBOX.encode() not in told


def test_mail_to_postmaster_is_told_of_as_it_was_written(made: Spooled) -> None:
    at = "Postmaster@mx.sort.example"
    settled(made, accepted(made, letter(at), at), GONE)
    told = report(made).raw
    assert f"Final-Recipient: rfc822; {at}\r\n".encode() in told
    assert b"<postmaster@sort.example>" in told  # whose keys sign it


# ---- mail that was taken, and came back ------------------------------------------------------------------


def came_back(made: Spooled, raw: bytes) -> bytes:
    """The DSN for mail whose octets were erased when the mailbox took it."""
    made.clock.pass_(minutes=1)
    delivery = accepted(made, raw, ALIAS)
    arrived = made.clock.now
    settled(made, delivery, TAKEN)
    assert made.message(delivery).raw == b""
    made.clock.pass_(hours=30)
    assert comes_back(made, delivery, BOUNCE)
    told = report(made).raw
    assert f"\r\nArrival-Date: {format_datetime(arrived)}\r\n\r\nFinal-Recipient:".encode() in told
    return told


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("Your lamp", "Your lamp"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
        ("lamp " * 300, ("lamp " * 300)[:200].strip()),
    ],
    ids=["plain", "encoded", "a line that would open another", "long"],
)
def test_of_mail_that_came_back_the_vendor_is_told_subject_and_arrival(
    made: Spooled, subject: str, told: str
) -> None:
    raw = came_back(made, letter(ALIAS).replace(b"Your lamp", subject.encode()))
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    *_, original = parsed.iter_parts()
    known = email.message_from_string(original.get_content(), policy=email.policy.default)
    assert known.items() == [("Subject", told)]
    assert raw.isascii()


def test_nor_does_a_subject_that_holds_an_address_come_back_later(made: Spooled) -> None:
    raw = came_back(made, letter(ALIAS).replace(b"Your lamp", b"For =?utf-8?q?x=40y=2Eexample?="))
    assert b"Final-Recipient" in raw
    assert raw.count(b"\r\nSubject:") == 1, "the report's own"


def test_of_mail_without_a_subject_its_arrival_alone(made: Spooled) -> None:
    raw = came_back(made, letter(ALIAS).replace(b"Subject: Your lamp\r\n", b""))
    assert raw.count(b"\r\nSubject:") == 1


def test_what_is_refused_at_once_is_told_with_its_arrival_too(made: Spooled) -> None:
    settled(made, accepted(made, letter(ALIAS), ALIAS), GONE)
    assert f"\r\nArrival-Date: {format_datetime(made.clock.now)}\r\n".encode() in report(made).raw


# ---- what nobody waits for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: multipart/report; report-type=delivery-status; boundary=B",
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=B",
        "Content-Type: multipart/report; report-type=feedback-report; boundary=B",
        "Content-Type: Multipart/Report; boundary=B",
        "X-Autoreply: yes",
        "X-Autorespond: away",
        "Auto-Submitted: auto-replied",
        "Precedence: bulk",
        "List-Id: <news.shop.example>",
    ],
)
def test_no_dsn_for_a_report_or_an_answer_of_a_machine_that_has_a_sender(made: Spooled, fields: str) -> None:
    raw = letter(ALIAS).replace(b"Subject:", f"{fields}\r\nSubject:".encode())
    delivery = accepted(made, raw, ALIAS)
    settled(made, delivery, GONE)
    assert made.queued(Direction.RETURN) == []
    assert happened(made, delivery)[-1] == ("returned", "refused, bulk_mail")
