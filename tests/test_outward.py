"""What leaves: the allow-list, addresses turned round, and nothing else changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import guard, naming, outward
from sortingoffice.core.outward import OutwardFacts
from sortingoffice.core.turned import Correspondent
from sortingoffice.mail import headers, mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Message

MAILBOX = "anna@home.example"
REVERSE = "orders.lampshop.5v8k2m9q@sort.example"
CONTACT = "orders@lampshop.example"
ALIAS = "lunar.otter4821@sort.example"
FACTS = OutwardFacts(
    alias=Address("lunar.otter4821", "sort.example"),
    display_name="",
    contacts={
        naming.canonical(REVERSE): Correspondent(
            Address("orders", "lampshop.example"), "Lamp Shop", "Lamp Shop - orders at lampshop.example"
        ),
        naming.canonical("jim.lampshop.aaaa2222@sort.example"): Correspondent(
            Address("Jim", "lampshop.example"), "", "Jim at lampshop.example"
        ),
    },
    mailboxes=frozenset({MAILBOX, "a.private@gmail.example"}),
    message_id="<new.1@sort.example>",
    references={
        "<in-1@home.example>": "<out-1@sort.example>",
        "<v1@lampshop.example>": "<v1@lampshop.example>",
    },
    now=datetime(2026, 11, 22, 14, 0, tzinfo=UTC),
)

HEADER = f"""\
Received: from [10.0.0.7] (p5b.dip.example [192.0.2.7]) by mail.home.example; Sun, 22 Nov 2026 15:00:00 +0100
X-Originating-IP: [192.0.2.7]
DKIM-Signature: v=1; d=home.example; s=s; b=abc
User-Agent: Mozilla Thunderbird
X-Mailer: secret
Organization: Home
Autocrypt: addr={MAILBOX}
Thread-Index: AdXX
Sender: Anna Private <{MAILBOX}>
Reply-To: {MAILBOX}
Bcc: {MAILBOX}
From: Anna Private <{MAILBOX}>
To: "Lamp Shop - orders at lampshop.example" <{REVERSE.upper()}>,
 {MAILBOX}
Cc: "My landlord" <jim.lampshop.aaaa-2222@sort.example>, Me <{ALIAS}>
Subject: Re: =?utf-8?q?Your_l=C3=A4mp?=
Date: Sun, 22 Nov 2026 15:00:00 +0100 (CET)
Message-ID: <abc@home.example>
In-Reply-To: <v1@lampshop.example>
References: <in-1@home.example> <other@home.example>
 <v1@lampshop.example>
Importance: High
Auto-Submitted: auto-replied; owner-email="{MAILBOX}"
MIME-Version: 1.0 (Mac OS X Mail 16.0)
"""


def message(header: str, body: str | bytes) -> Message:
    octets = body if isinstance(body, bytes) else body.encode("utf-8")
    return Message.parse(header.encode("utf-8").replace(b"\n", b"\r\n") + octets.replace(b"\n", b"\r\n"))


def sent(header: str, body: str | bytes) -> str:
    return bytes(outward.rewrite(message(header, body), FACTS)).decode("utf-8").replace("\r\n", "\n")


def body_of(header: str, body: str) -> str:
    return sent(header, body).partition("\n\n")[2]


def test_only_the_allowed_fields_leave_each_in_our_form() -> None:
    text = sent(HEADER, "Content-Type: text/plain\nContent-Language: de\n\nhello\n")
    assert text == (
        "From: lunar.otter4821@sort.example\n"
        "To: Lamp Shop <orders@lampshop.example>\n"
        "Cc: Jim@lampshop.example\n"
        "Subject: Re: =?utf-8?q?Your_l=C3=A4mp?=\n"
        "Date: Sun, 22 Nov 2026 14:00:00 +0000\n"
        "Message-ID: <new.1@sort.example>\n"
        "In-Reply-To: <v1@lampshop.example>\n"
        "References: <out-1@sort.example>\n <v1@lampshop.example>\n"
        "Importance: High\n"
        "Auto-Submitted: auto-replied\n"
        "MIME-Version: 1.0\n"
        "Content-Type: text/plain\n"
        "Content-Language: de\n"
        "\n"
        "hello\n"
    )


@pytest.mark.parametrize(
    "date", ["", "Date: yesterday\n", "Date: Sun, 99 Nov 2026 15:00:00 +0100\n", f"Date: {'9' * 999}\n"]
)
def test_a_date_that_cannot_be_read_is_now(date: str) -> None:
    assert "Date: Sun, 22 Nov 2026 14:00:00 +0000\n" in sent(f"From: a@b.example\n{date}", "\nx\n")


@pytest.mark.parametrize(
    "sign",
    ["Precedence: auto_reply", "Precedence: bulk", "X-Autoreply: yes", "X-Autorespond: away"],
)
def test_an_answering_machine_that_marks_itself_in_the_old_way_is_still_known_as_one(sign: str) -> None:
    """Its own sign stays here: without any, a ticket system would answer it, and so on."""
    text = sent(f"From: {MAILBOX}\nTo: {REVERSE}\n{sign}\nSubject: away\n", "\nx\n")
    assert "\nAuto-Submitted: auto-replied\n" in text
    assert sign.partition(":")[0] not in text
    assert "Auto-Submitted" not in sent(f"From: {MAILBOX}\nTo: {REVERSE}\nSubject: here\n", "\nx\n")


def test_a_mail_to_nobody_visible_says_so() -> None:
    assert "To: undisclosed-recipients:;\n" in sent(f"From: {MAILBOX}\nTo: {MAILBOX}\n", "\nx\n")


def test_strangers_are_named_and_never_written() -> None:
    given_message = message(
        f"From: {MAILBOX}\nTo: {REVERSE}, friend@other.example\nBcc: x@y.example\n", "\nx\n"
    )
    assert [str(each.address) for each in outward.strangers(given_message, FACTS)] == [
        "friend@other.example",
        "x@y.example",
    ]
    assert "friend" not in sent(f"From: {MAILBOX}\nTo: {REVERSE}, friend@other.example\n", "\nx\n")


QUOTED = f"""\
Yes please.

On Sun, Nov 22, 2026 at 9:12 AM Lamp Shop - orders at lampshop.example <
{REVERSE}> wrote:
> Dear Anna,
> we wrote to {MAILBOX}, please answer to <{REVERSE}>.
--\x20
Anna, {MAILBOX}
"""


def test_quoted_text_is_turned_round_in_place() -> None:
    text = body_of(f"From: {MAILBOX}\nTo: {REVERSE}\n", "\n" + QUOTED)
    assert text == QUOTED.replace("Lamp Shop - orders at lampshop.example", "Lamp Shop").replace(
        REVERSE, CONTACT
    ).replace(MAILBOX, ALIAS)


def test_the_mailbox_in_new_prose_is_left_for_the_guard() -> None:
    body = f"Write me at {MAILBOX}, not {REVERSE}.\n\n> {MAILBOX}\n"
    text = body_of(f"From: {MAILBOX}\nTo: {REVERSE}\n", "\n" + body)
    assert text == f"Write me at {MAILBOX}, not {CONTACT}.\n\n> {ALIAS}\n"


@pytest.mark.parametrize(
    "text",
    [
        "joanna@home.example",
        "anna@home.example.org",
        "x.anna@home.example",
        "anna+x@home.example",
        "anna@home.example-x.org",
        "orders.lampshop.5v8k2m9q@sort.example.org",
        "@home.example and anna @ home.example",
    ],
)
def test_longer_addresses_are_other_addresses(text: str) -> None:
    assert body_of(f"From: {MAILBOX}\nTo: {REVERSE}\n", f"\n> {text}\n") == f"> {text}\n"


def test_html_is_turned_in_attributes_and_quotes() -> None:
    body = (
        f'<p title="{MAILBOX}">See <a href="mailto:anna%40home.example?subject=a&amp;b">me</a></p>'
        f'<div class="gmail_quote"><div class="gmail_attr">On Nov 22, Lamp Shop - orders at lampshop.example '
        f'&lt;<a href="mailto:{REVERSE}">{REVERSE}</a>&gt; wrote:<br></div>'
        f"<blockquote>to an<b>na</b>@home&#46;example &amp; more</blockquote></div>"
    )
    text = body_of(f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: text/html; charset=utf-8\n", "\n" + body)
    assert text == (
        f'<p title="{ALIAS}">See <a href="mailto:lunar.otter4821%40sort.example?subject=a&amp;b">me</a></p>'
        f'<div class="gmail_quote"><div class="gmail_attr">On Nov 22, Lamp Shop '
        f'&lt;<a href="mailto:{CONTACT}">{CONTACT}</a>&gt; wrote:<br></div>'
        f"<blockquote>to {ALIAS}<b></b> &amp; more</blockquote></div>"
    )


PARTS = f"""\
From: {MAILBOX}
To: {REVERSE}
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable
X-Apple-Trace: secret

Gr=FC=DFe =
dich

> {MAILBOX.replace("@", "=40")} war
--b
Content-Type: application/pdf; name=a.pdf
X-Attachment-Id: f_1
Content-Disposition: attachment; filename=a.pdf
Content-Transfer-Encoding: base64

JVBERi0xLjQK
--b
Content-Type: message/rfc822
Content-Disposition: attachment

Delivered-To: {MAILBOX}
Received: by home.example for <{MAILBOX}>
From: "Lamp Shop - orders at lampshop.example" <{REVERSE}>
To: Anna Private <{MAILBOX}>
Subject: Offer
X-Spam: no
Content-Type: text/plain

A lamp.
--b
Content-Type: text/calendar; method=REPLY; charset=utf-8

BEGIN:VCALENDAR
ORGANIZER:mailto:{REVERSE}
ATTENDEE;PARTSTAT=ACCEPTED:mailto:{MAILBOX}
DESCRIPTION:kept
END:VCALENDAR
--b
Content-Type: text/vcard; name=me.vcf

BEGIN:VCARD
VERSION:3.0
FN:Anna
EMAIL;TYPE=INTERNET:{MAILBOX}
END:VCARD
--b--
epilogue
"""


def test_parts_lose_traces_and_keep_their_octets() -> None:
    text = sent(PARTS, "")
    assert text.partition("preamble\n")[2] == (
        PARTS.partition("preamble\n")[2]
        .replace("X-Apple-Trace: secret\n", "")
        .replace("X-Attachment-Id: f_1\n", "")
        .replace(f"> {MAILBOX.replace('@', '=40')} war", f"> {ALIAS} war")
        .replace(f"Delivered-To: {MAILBOX}\nReceived: by home.example for <{MAILBOX}>\n", "")
        .replace(f'"Lamp Shop - orders at lampshop.example" <{REVERSE}>', f"Lamp Shop <{CONTACT}>")
        .replace(f"Anna Private <{MAILBOX}>", ALIAS)
        .replace("X-Spam: no\n", "")
        .replace(f"ORGANIZER:mailto:{REVERSE}", f"ORGANIZER:mailto:{CONTACT}")
        .replace(f"mailto:{MAILBOX}", f"mailto:{ALIAS}")
        .replace(f"INTERNET:{MAILBOX}", f"INTERNET:{ALIAS}")
    )


ANSWER = f"""\
--a
Content-Type: text/plain; charset=utf-8

Anna ({MAILBOX}) has accepted this invitation.
--a
Content-Type: text/html; charset=utf-8

<p>Anna ({MAILBOX}) has accepted this invitation.</p>
--a
Content-Type: text/calendar; method=REPLY; charset=utf-8

BEGIN:VCALENDAR
METHOD:REPLY
ORGANIZER;CN={REVERSE}:mailto:{REVERSE}
ATTENDEE;PARTSTAT=ACCEPTED;CN={MAILBOX}:mailto:{MAILBOX}
END:VCALENDAR
--a
Content-Type: application/ics; name=invite.ics
Content-Disposition: attachment; filename=invite.ics

BEGIN:VCALENDAR
METHOD:REPLY
ATTENDEE;PARTSTAT=ACCEPTED:mailto:{MAILBOX}
END:VCALENDAR
--a--
"""


def test_a_calendar_s_answer_is_turned_round_throughout() -> None:
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: multipart/mixed; boundary=a\n"
    before = message(header, "\n" + ANSWER)
    after, found = guard.guarded(outward.rewrite(before, FACTS), FACTS)
    assert not found
    unfolded = after.body.decode().replace("\r\n ", "").replace("\r\n", "\n")
    assert unfolded == ANSWER.replace(MAILBOX, ALIAS).replace(REVERSE, CONTACT)


RELATED = """\
--r
Content-Type: text/html

<p>See <img src="cid:part1.ABC@home.example"> <img src="cid:part2@elsewhere.example"></p>
--r
Content-Type: image/png
Content-ID: <part1.ABC@home.example>

x
--r--
"""


def test_a_content_id_of_the_mailbox_s_domain_gets_the_alias_s() -> None:
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: multipart/related; boundary=r\n"
    for host in ("home.example", "laptop.home.example"):
        written = RELATED.replace("ABC@home.example", f"ABC@{host}")
        assert body_of(header, "\n" + written) == RELATED.replace("ABC@home.example", "ABC@sort.example")


def test_a_content_id_of_the_message_itself_gets_the_alias_s_domain_too() -> None:
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: text/plain\nContent-ID: <ABC@mx.home.example>\n"
    assert "\nContent-ID: <ABC@sort.example>\n" in sent(header, "\nhi\n")


def test_an_attached_message_of_the_person_s_own_loses_its_id() -> None:
    attached = "From: x@y.example\nMessage-ID: <1@home.example>\nReferences: <1@home.example> <2@y.example>\n"
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: message/rfc822\n"
    assert body_of(header, f"\n{attached}\nhi\n") == ("From: x@y.example\nReferences:  <2@y.example>\n\nhi\n")


def test_what_is_signed_is_not_touched() -> None:
    part = f"Content-Type: text/plain\nX-Odd: 1\n\n> {MAILBOX}\n"
    signature = "Content-Type: application/pgp-signature\n\nx\n"
    body = f"--s\n{part}--s\n{signature}--s--\n"
    header = f'From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: multipart/signed; boundary="s"\n'
    assert body_of(header, "\n" + body) == body


@pytest.mark.parametrize("kind", ["plain", "html"])
def test_what_is_signed_within_the_text_is_not_touched(kind: str) -> None:
    end = "\n" if kind == "plain" else "<br>\n"
    text = ["Hash: SHA256", "", "Yes.", f"On Monday {REVERSE} wrote:", f"&gt; {MAILBOX}"]
    armor = ["-----BEGIN PGP SIGNATURE-----", "", "iQEz", "-----END PGP SIGNATURE-----", ""]
    signed = end.join(["-----BEGIN PGP SIGNED MESSAGE-----", *text, *armor])
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: text/{kind}\n"
    assert body_of(header, f"\n{signed}{REVERSE}\n") == f"{signed}orders@lampshop.example\n"


RECEIPT = f"""\
--r
Content-Type: text/plain

This is a receipt for the mail that you sent to {MAILBOX}.
--r
Content-Type: message/disposition-notification

Reporting-UA: home-pc; Thunderbird
Original-Recipient: rfc822;{MAILBOX}
Final-Recipient: rfc822;{MAILBOX}
Original-Message-ID: <in-1@home.example>
Disposition: manual-action/MDN-sent-manually; displayed

--r
Content-Type: text/rfc822-headers

Received: by x for <{MAILBOX}>
To: {MAILBOX}
Subject: Offer
--r--
"""


def test_a_read_receipt_names_the_alias_and_nothing_of_the_client() -> None:
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: multipart/report; boundary=r\n"
    assert body_of(header, "\n" + RECEIPT) == (
        RECEIPT.replace(f"to {MAILBOX}.", f"to {ALIAS}.")
        .replace(f"Reporting-UA: home-pc; Thunderbird\nOriginal-Recipient: rfc822;{MAILBOX}\n", "")
        .replace(f"rfc822;{MAILBOX}", f"rfc822; {ALIAS}")
        .replace("<in-1@home.example>", "<out-1@sort.example>")
        .replace(f"Received: by x for <{MAILBOX}>\n", "")
        .replace(f"To: {MAILBOX}", f"To: {ALIAS}")
    )


@given(st.binary(max_size=400))
def test_no_octets_make_the_rewriting_fail(raw: bytes) -> None:
    try:
        new = outward.rewrite(Message.parse(raw), FACTS)
    except mime.TooComplex:
        return
    assert [f.name for f in new.fields][:1] == [b"From"]


FIELDS = [each.raw.decode().replace("\r\n", "\n") for each in message(HEADER, "").fields]


@given(st.lists(st.sampled_from(FIELDS), max_size=25), st.sampled_from(["x", "> y", ""]))
def test_the_mailbox_never_occurs_where_the_allow_list_governs(fields: list[str], body: str) -> None:
    assert MAILBOX not in sent("".join(fields), "\n" + body)


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252"])
def test_a_subject_in_raw_octets_leaves_in_a_form_that_every_host_takes(charset: str) -> None:
    head = f"From: {MAILBOX}\nTo: {REVERSE}\nSubject: Grüße – an alle\n".replace("\n", "\r\n")
    new = outward.rewrite(Message.parse(head.encode(charset) + b"\r\nx\r\n"), FACTS)
    assert new.header.isascii()
    assert headers.decode(new.value("Subject") or b"") == "Grüße – an alle"


def test_a_subject_with_something_unseen_stays_as_it_is_for_the_guard_to_see() -> None:
    raw = f"From: {MAILBOX}\r\nTo: {REVERSE}\r\nSubject: Grüße a\u200bnna@home.example\r\n\r\nx\r\n".encode()
    assert "Subject: Grüße a\u200bnna@home.example\r\n".encode() in bytes(
        outward.rewrite(Message.parse(raw), FACTS)
    )
