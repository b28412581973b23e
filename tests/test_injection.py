"""Values that a person or a peer sets, with line breaks, escapes and disguises in them: each is refused with
a sentence or kept as it is, and none ends a field, a line of the log or a terminal's state."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

import pytest

from sortingoffice.cli.main import main
from sortingoffice.core import inward, naming, outward
from sortingoffice.core.model import Peer
from sortingoffice.core.turned import Correspondent
from sortingoffice.edge.peer import helo
from sortingoffice.mail import headers, trace
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication, DkimResult, Result, SpfResult
from sortingoffice.mail.message import Message
from tests.person import Person

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAYLOADS = {
    "a field": "x\r\nBcc: evil@b.example",
    "a bare line": "x\nBcc: evil@b.example",
    "a body": "x\r\n\r\n<b>hello</b>",
    "NUL": "x\0y",
    "an escape": "\x1b[2J\x1b]0;owned\x07red",
    "C1": "x\x9b2Jy\x85z",
    "right to left": "\u202egpj.exe",
    "line separators": "x\u2028y\u2029z",
    "an encoded word": "=?utf-8?q?x=0D=0ABcc:_evil@b.example?=",
    "a surrogate": "x\udcffy",
    "a formula": '=HYPERLINK("http://b.example")',
    "a quote": 'x" <evil@b.example>, "y',
    "markup": "[red]x[/red]<script>alert(1)</script>",
}
TYPED = ("a field", "an escape", "C1", "right to left", "line separators", "a surrogate")
# Each value that a person sets at the command line; {} is it.
VALUES = {
    "name": ("new", "{}"),
    "site": ("new", "Shop", "--site", "{}"),
    "label": ("new", "Shop", "--label", "{}"),
    "local": ("new", "Shop", "--local", "{}"),
    "note": ("new", "Shop", "--note", "{}"),
    "new name": ("set", "first", "--name", "{}"),
    "display name": ("set", "first", "--display-name", "{}"),
    "later note": ("set", "first", "--note", "{}"),
    "contact": ("contact", "first", "{}"),
    "bound": ("allow", "first", "{}"),
    "refused": ("refuse", "first", "{}"),
    "card": ("card", "set", "{}.street=Road 1"),
    "field": ("card", "set", "shipping.{}=x"),
    "value": ("card", "set", "shipping.street={}"),
    "view": ("card", "view", "{}=shipping.street"),
    "purpose": ("grant", "first", "shipping", "--purpose", "{}"),
    "mailbox": ("admin", "mailbox", "add", "{}"),
    "domain": ("admin", "domain", "add", "{}"),
    "password": ("admin", "password", "new", "--label", "{}"),
    "token": ("admin", "token", "new", "--label", "{}"),
}
SHOWN = (("list",), ("show", "first"), ("log",), ("card", "list"), ("admin", "password", "list"))
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def test_whatever_a_person_sets_ends_no_line_and_no_terminal(
    person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["--config", str(person.config), *words])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    assert said("new", "First")[0] == 0
    assert said("card", "set", "shipping.street=Road 1")[0] == 0
    tried = 0
    for (what, words), how in product(VALUES.items(), TYPED):
        payload = PAYLOADS[how]
        status, out, err = said(*(word.replace("{}", payload) for word in words))
        assert status in (0, 1), (what, how, err)
        assert "Traceback" not in err, (what, how)
        assert not _CONTROL.search(out + err), (what, how, out, err)
        tried += 1
    assert tried == len(VALUES) * len(TYPED)
    for words in SHOWN:
        status, out, err = said(*words)
        assert status == 0, err
        assert not _CONTROL.search(out + err), words
        json.loads(said(*words, "--json")[1])


# ---- what peers write ------------------------------------------------------------------------------------

ALIAS, REVERSE, CLERK = (
    parse(each) for each in ("lunar.otter4821@sort.example", "o.shop.abc@sort.example", "orders@shop.example")
)
FIELDS = (
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "Mail-Followup-To",
    "List-Post",
    "List-Unsubscribe",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Authentication-Results",
    "Content-Type",
)


def forms(payload: str) -> Iterator[bytes]:
    """A payload as a field can hold it: on one line, as encoded words, quoted, as a comment."""
    octets = payload.encode("utf-8", "surrogateescape")
    plain = re.sub(rb"[\r\n]", b" ", octets)
    encoded = base64.b64encode(octets)
    q = "".join(f"={each:02X}" for each in octets).encode()
    folded = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n ")
    for form in (plain, b"=?utf-8?b?" + encoded + b"?=", b"=?utf-8?q?" + q + b"?=", folded):
        yield form + b" <orders@shop.example>"
        yield b'"' + form + b'" <orders@shop.example>'
        yield b"orders@shop.example (" + form + b")"
        yield form


def names(raw: bytes) -> list[bytes]:
    return [each.name.lower() for each in Message.parse(raw).fields]


@pytest.mark.parametrize("field", FIELDS)
def test_whatever_a_vendor_writes_makes_no_field_inward(field: str) -> None:
    assert ALIAS is not None
    assert REVERSE is not None
    for payload in PAYLOADS.values():
        for form in forms(payload):
            head = b"From: a@shop.example\r\n" if field != "From" else b""
            raw = head + field.encode() + b": " + form + b"\r\nTo: lunar.otter4821@sort.example\r\n\r\nhi\r\n"
            message = Message.parse(raw)
            people = inward.people(message, frozenset())
            facts = inward.InwardFacts(
                reverse={each.address.normal: REVERSE for each in people},
                own=frozenset(),
                inside={},
                alias=ALIAS,
                mailbox=parse("anna@home.example"),
            )
            made = bytes(inward.rewrite(message, facts))
            assert b"bcc" not in names(made), (field, form)
            assert set(names(made)) <= {*names(raw), b"x-omitted-recipients"}, (field, form)
            assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n"), (field, form)
            assert made.partition(b"\r\n\r\n")[2] == b"hi\r\n"


@pytest.mark.parametrize("how", PAYLOADS)
def test_a_contacts_name_makes_no_field_outward(how: str) -> None:
    assert ALIAS is not None
    assert REVERSE is not None
    assert CLERK is not None
    for form in forms(PAYLOADS[how]):
        name = next(iter(headers.addresses(form)), None)
        display = PAYLOADS[how] if name is None else name.display
        facts = outward.OutwardFacts(
            alias=ALIAS,
            display_name=display,
            contacts={
                naming.canonical(REVERSE.normal): Correspondent(
                    CLERK, display, inward.written_as(display, CLERK)
                )
            },
            mailboxes=frozenset({"anna@home.example"}),
            message_id="<1@sort.example>",
            references={},
            now=NOW,
        )
        raw = f"From: anna@home.example\r\nTo: {REVERSE}\r\nSubject: ".encode() + form.replace(b"\r\n ", b" ")
        made = bytes(outward.rewrite(Message.parse(raw + b"\r\n\r\nhi\r\n"), facts))
        assert b"bcc" not in names(made), form
        assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n"), form
        assert made.partition(b"\r\n\r\n")[2].endswith(b"hi\r\n")


@pytest.mark.parametrize("how", PAYLOADS)
def test_what_a_peer_calls_itself_makes_no_field(how: str) -> None:
    """HELO, names in DNS, keys and policies stand in our Received and Authentication-Results."""
    payload = PAYLOADS[how]
    octets = payload.encode("utf-8", "surrogateescape")
    called = helo(octets)
    assert called is None or called.isprintable()
    for peer in (Peer("192.0.2.1", helo=payload), Peer("192.0.2.1", helo="x", tls=payload)):
        field = trace.received(
            "mx.sort.example",
            "token",
            NOW,
            origin=trace.origin(peer),
        )
        assert names(field.raw) == [b"received"]
        assert field.raw.isascii()
    auth = Authentication(
        spf=SpfResult(Result.FAIL, domain=payload, sender=payload, reason=payload, explanation=payload),
        dkim=(DkimResult(Result.FAIL, domain=payload, selector=payload, algorithm=payload, reason=payload),),
        from_domain=payload,
        ip=payload,
    )
    text = auth.text("mx.sort.example")
    assert text.isascii()
    assert text.isprintable()
    assert names(trace.recorded_results(text).raw) == [b"authentication-results"]
