"""Delivery status notifications: ours by the book, theirs however they come."""

from __future__ import annotations

import email
import email.policy
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import arf, dsn
from sortingoffice.mail.address import Address
from sortingoffice.mail.dsn import Action, Failure, Report
from sortingoffice.mail.message import Message, field
from sortingoffice.mail.reply import heard

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALIAS = Address("lunar.otter4821", "sort.example")


def built(recipient: Address = ALIAS, *fields: bytes) -> bytes:
    chosen = tuple(Message.parse(b"".join(fields)).fields)
    failure = Failure(recipient, "5.0.0", ("It could not be delivered.", ""), chosen)
    author = Address("postmaster", "sort.example")
    return dsn.build(failure, to=Address("support", "shop.example"), author=author, token="tok1", now=NOW)


def read(raw: str | bytes, *, null_sender: bool = True) -> Report | None:
    octets = raw if isinstance(raw, bytes) else raw.replace("\n", "\r\n").encode()
    return dsn.read(Message.parse(octets), null_sender=null_sender)


# ---- ours ----------------------------------------------------------------------------------------


def test_ours_is_a_report_that_any_reader_understands() -> None:
    raw = built(ALIAS, b"Message-ID: <1@shop.example>\r\n", b"Subject: Your lamp\r\n")
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert parsed["Auto-Submitted"] == "auto-replied"
    text, status, original = parsed.iter_parts()
    assert "could not be delivered" in text.get_content()
    assert status.get_content_type() == "message/delivery-status"
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Your lamp" in original.get_content()
    groups: Any = status.get_payload()
    about_all, about_one = groups
    assert about_all["Reporting-MTA"] == "dns; sort.example"
    assert about_one["Final-Recipient"] == "rfc822; lunar.otter4821@sort.example"
    assert (about_one["Action"], about_one["Status"]) == ("failed", "5.0.0")
    assert raw.count(b"\n") == raw.count(b"\r\n")


def test_what_we_send_we_can_read() -> None:
    assert read(built()) == Report(Action.FAILED, "5.0.0", "", "lunar.otter4821@sort.example")


def test_an_internationalised_recipient_is_reported_by_rfc_6533() -> None:
    raw = built(Address("otter-ä", "sort.example"), "Subject: Grüße\r\n".encode())
    assert b"message/global-delivery-status" in raw
    assert "Final-Recipient: utf-8; otter-ä@sort.example".encode() in raw
    assert b"message/global-headers" in raw
    assert read(raw) == Report(Action.FAILED, "5.0.0", "", "otter-ä@sort.example")


# ---- theirs --------------------------------------------------------------------------------------

POSTFIX = """From: MAILER-DAEMON@mail.shop.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="B"

--B
Content-Description: Notification

I'm sorry.

--B
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.shop.example
Arrival-Date: Sun,  1 Mar 2026 12:00:00 +0000

Final-Recipient: rfc822; support@shop.example
Original-Recipient: rfc822;support@shop.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; inner.shop.example
Diagnostic-Code: smtp; 550 5.1.1 <support@shop.example>: Recipient address
    rejected: User unknown

--B
Content-Type: message/rfc822

Subject: My lamp

x
--B--
"""


def test_a_report_by_the_book() -> None:
    assert read(POSTFIX) == Report(
        Action.FAILED,
        "5.1.1",
        "550 5.1.1 <support@shop.example>: Recipient address rejected: User unknown",
        "support@shop.example",
    )


@pytest.mark.parametrize(
    ("group", "action"),
    [
        ("Action: delayed\nStatus: 4.4.1", Action.DELAYED),
        ("Action: delivered\nStatus: 2.0.0", Action.DELIVERED),
        ("Action: relayed\nStatus: 2.0.0", Action.RELAYED),
        ("Action: Failed (temporarily?)\nStatus: 5.0.0 (permanent)", Action.FAILED),
        ("Final-Recipient: rfc822; x@y\nStatus: 5.1.1", Action.FAILED),
        ("Action: delivered\nStatus: 2.0.0\n\nAction: failed\nStatus: 5.2.2", Action.FAILED),
    ],
    ids=["delayed", "delivered", "relayed", "comments", "no action", "the worst of two"],
)
def test_the_action_is_read(group: str, action: Action) -> None:
    raw = POSTFIX.replace(
        POSTFIX[POSTFIX.index("Final-Rec") : POSTFIX.index("--B\nContent-Type: message/rfc822")],
        f"{group}\n\n",
    )
    found = read(raw)
    assert found is not None
    assert found.action is action


def test_a_delay_is_no_end() -> None:
    assert not Report(Action.DELAYED, "4.4.1").final
    assert Report(Action.FAILED, "").final


QMAIL = """From: MAILER-DAEMON@mail.shop.example
Subject: failure notice

Hi. This is the qmail-send program at mail.shop.example.

<support@shop.example>:
Sorry, no mailbox here by that name. (#5.1.1)
"""
EXIM = """From: Mail Delivery System <Mailer-Daemon@mail.shop.example>
Auto-Submitted: auto-replied
Subject: Mail delivery failed: returning message to sender

  support@shop.example
    host mx.shop.example [192.0.2.1]
    SMTP error from remote mail server after RCPT TO:<support@shop.example>:
    550 5.7.1 rejected by policy
"""
EXCHANGE = """From: postmaster@shop.example
Subject: =?utf-8?q?Unzustellbar=3A_Meine_Lampe?=
Content-Type: text/html

<p>Der Server hat gemeldet: 550 5.4.1 Recipient address rejected</p>
"""
BARE = """From: MAILER-DAEMON
Subject: Returned mail

Sorry.
"""


@pytest.mark.parametrize(
    ("raw", "status"),
    [(QMAIL, "5.1.1"), (EXIM, "5.7.1"), (EXCHANGE, "5.4.1"), (BARE, "")],
    ids=["qmail", "exim", "exchange", "nothing said"],
)
def test_a_bounce_in_prose_is_a_bounce(raw: str, status: str) -> None:
    found = read(raw)
    assert found is not None
    assert (found.action, found.status) == (Action.FAILED, status)
    assert read(raw, null_sender=False) is None  # anybody may write such a text


# Prose as Exim, qmail, Sendmail and Exchange write it: an IP address before the words that count, a 4xx that
# was the end after days, and the person's own subject behind "Undeliverable:".
NUMBERED = EXIM.replace("[192.0.2.1]", "[10.4.2.3]")
TWO = EXIM.replace("[192.0.2.1]", "[2.16.10.5]")
VERSION = EXIM.replace("host mx", "Exim 4.94.2.1 at host mx")
EXPIRED = EXIM.replace("550 5.7.1 rejected by policy", "451 4.7.1 Greylisted: retry timeout exceeded")
TOO_LONG = QMAIL.replace(
    "Sorry, no mailbox here by that name. (#5.1.1)",
    "Remote host said: 421 4.3.2 Not now\nIt has been in the queue too long.",
)
LATE = BARE.replace("Returned mail", "Undeliverable: Delay of my order")
COLON = QMAIL.replace("Sorry, no mailbox here by that name. (#5.1.1)", "554: delivery error: no account here")


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (NUMBERED, "5.7.1", "550 5.7.1 rejected by policy"),
        (TWO, "5.7.1", "550 5.7.1 rejected by policy"),
        (VERSION, "5.7.1", "550 5.7.1 rejected by policy"),
        (EXPIRED, "4.7.1", "451 4.7.1 Greylisted: retry timeout exceeded"),
        (TOO_LONG, "4.3.2", "Remote host said: 421 4.3.2 Not now"),
        (LATE, "", "Sorry."),
        (COLON, "", "554: delivery error: no account here"),
    ],
    ids=["an address", "an address of 2", "a version", "given up", "too long", "a subject behind", "a colon"],
)
def test_prose_that_says_it_has_failed_is_an_end_whatever_numbers_it_has(
    raw: str, status: str, words: str
) -> None:
    found = read(raw)
    assert found is not None
    assert found.final
    assert (found.status, found.diagnostic) == (status, words)


def test_a_temporary_code_without_a_word_of_the_end_is_a_delay() -> None:
    for subject in ("Delivery Status Notification", "Delivery Status Notification (Delay)", "Your mail"):
        found = read(EXPIRED.replace("Mail delivery failed: returning message to sender", subject))
        assert found is not None
        assert found.action is Action.DELAYED, subject


def test_words_with_a_semicolon_stay_whole_where_no_type_stands_before_them() -> None:
    said = POSTFIX.replace("smtp; 550 5.1.1 <support@shop.example>", "550 5.1.1 no; see http")
    found = read(said)
    assert found is not None
    assert found.diagnostic.startswith("550 5.1.1 no; see http")


ARRIVED = """From: MAILER-DAEMON@mail.shop.example
Subject: Delivery Notification

{}
"""


@pytest.mark.parametrize(
    "text",
    [
        "Your message was delivered to support@shop.example. 250 2.0.0 ok",
        "support@shop.example: delivered to its mailbox (status: 2.1.5)",
        "support@shop.example\n  250 Message accepted for delivery",
        "inner.shop.example said: 250-stored as 4711",
        "It was taken with 252 OK",
    ],
    ids=["a reply", "a status", "a line of its own", "words of the host", "ok"],
)
def test_prose_that_says_it_was_taken_is_no_end(text: str) -> None:
    found = read(ARRIVED.format(text))
    assert found is not None
    assert found.action is Action.DELIVERED
    assert not found.final


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("250 2.1.5 taken\nthen: 550 5.1.1 no such user", "5.1.1"),
        ("250 2.1.0 sender ok, but then (#5.2.2)", "5.2.2"),
        ("Your message to 250 recipients was not accepted.", ""),
        ("2.0.0.1 did not answer, says Exim 2.4.92.1", ""),
    ],
    ids=["a refusal after it", "a status after it", "a number of people", "an address and a version"],
)
def test_prose_that_says_more_than_that_it_was_taken_is_an_end(text: str, status: str) -> None:
    found = read(ARRIVED.format(text))
    assert found is not None
    assert (found.final, found.status) == (True, status)


def test_a_subject_that_says_it_has_failed_counts_for_more_than_what_was_taken_on_the_way() -> None:
    said = ARRIVED.replace("Delivery Notification", "Returned mail: see transcript for details")
    found = read(said.format("... while talking to mx.shop.example\n<<< 250 2.1.0 Sender ok\nIt hung up."))
    assert found is not None
    assert found.final


def test_a_warning_of_what_was_taken_on_the_way_is_a_delay() -> None:
    said = ARRIVED.replace("Delivery Notification", "Warning: still being retried")
    found = read(said.format("250 2.1.0 Sender ok"))
    assert found is not None
    assert found.action is Action.DELAYED


VACATION = """From: Support <support@shop.example>
Subject: Out of office: My lamp
Auto-Submitted: auto-replied
In-Reply-To: <2@sort.example>

I am away. Your mail was not undelivered.
"""
TICKET = """From: Support <support@shop.example>
Subject: [#4711] My lamp

Your request has been received.
"""
RECEIPT = """From: Support <support@shop.example>
Subject: Read: My lamp
Content-Type: multipart/report; report-type=disposition-notification; boundary=B

--B
Content-Type: message/disposition-notification

Disposition: manual-action/MDN-sent-manually; displayed
--B--
"""


SHIPPED = """From: Support <support@shop.example>
Subject: Delivery status of parcel 4711
Auto-Submitted: auto-generated

It is on its way.
"""


@pytest.mark.parametrize(
    "raw", [VACATION, TICKET, RECEIPT, SHIPPED], ids=["vacation", "ticket", "read receipt", "shipped"]
)
@pytest.mark.parametrize("null_sender", [True, False])
def test_what_is_no_bounce_is_left_to_others(raw: str, null_sender: bool) -> None:
    assert read(raw, null_sender=null_sender) is None


def test_a_warning_in_prose_is_no_end() -> None:
    found = read(BARE.replace("Returned mail", "Warning: could not send message for past 4 hours"))
    assert found is not None
    assert not found.final


def test_a_report_attached_to_an_ordinary_mail_is_no_bounce() -> None:
    attached = POSTFIX.replace("multipart/report; report-type=delivery-status;", "multipart/mixed;")
    attached = attached.replace("MAILER-DAEMON@mail.shop.example (Mail Delivery System)", "bob@shop.example")
    assert read(attached, null_sender=False) is None


@given(st.binary(max_size=400), st.booleans())
def test_reading_is_total(tail: bytes, null_sender: bool) -> None:
    for head in (b"", POSTFIX[: POSTFIX.index("Final-Rec")].replace("\n", "\r\n").encode(), QMAIL.encode()):
        message = Message.parse(head + tail)
        found = dsn.read(message, null_sender=null_sender)
        assert found is None or isinstance(found.action, Action)
        arf.read(message)


@pytest.mark.parametrize(
    "body",
    [
        b"Final-Recipient: x\r\n" * 100_000,
        b"a: " + b" " * 2_000_000,
        b"\r\n" * 1_000_000,
        b" 550-" * 400_000,
        b"(" * 2_000_000,
        b"5.1.1" * 400_000,
    ],
    ids=["fields", "blanks", "empty lines", "codes", "brackets", "statuses"],
)
def test_a_hostile_report_costs_little(body: bytes) -> None:
    head = POSTFIX[: POSTFIX.index("Reporting-MTA")].replace("\n", "\r\n").encode()
    prose = QMAIL[: QMAIL.index("Hi.")].replace("\n", "\r\n").encode()
    began = time.process_time()
    dsn.read(Message.parse(head + body), null_sender=True)
    dsn.read(Message.parse(prose + body), null_sender=True)
    assert time.process_time() - began < 2


# ---- complaints ------------------------------------------------------------------------------------

COMPLAINT = """From: <feedback@home.example>
Subject: FW: Your lamp
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="B"

--B
Content-Type: text/plain

This is an email abuse report.
--B
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
--B
Content-Type: message/rfc822

Subject: Your lamp

x
--B--
"""


def test_a_complaint_is_read() -> None:
    found = arf.read(Message.parse(COMPLAINT.replace("\n", "\r\n").encode()))
    assert found == arf.Complaint("abuse")
    assert arf.read(Message.parse(POSTFIX.replace("\n", "\r\n").encode())) is None


def test_a_field_of_a_report_cannot_break_out() -> None:
    assert field("Subject", "x").raw == b"Subject: x\r\n"
    raw = built(ALIAS, b"Subject: a\r\n b\r\n")
    assert b"Subject: a\r\n b\r\n" in raw


def test_digits_of_other_scripts_are_no_code() -> None:
    """A reply is ASCII wherever it goes on to."""
    other = POSTFIX.replace("Status: 5.1.1", "Status: 5.\u0661.1").replace("550 5.1.1", "55\u0660 5.\u0661.1")
    found = read(other)
    assert found is not None
    assert found.status == ""
    assert bytes(heard(550, "5.\u0661.1 no")) == b"550 5. .1 no\r\n"
