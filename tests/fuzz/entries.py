"""The parsers by name, with octets that each reads well and what its grammar is made of."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dns.message

from sortingoffice.core import evidence, report
from sortingoffice.mail import arc, dkim, token
from tests.fuzz import counter, dialogue, parsers, requests
from tests.fuzz.parsers import KEY, NOW, RECORD
from tests.fuzz.seeds import ABUSE, CARD, FLOWED, INVITATION, MULTI, PAGE, PLAIN, REPORT


@dataclass(frozen=True, slots=True)
class Entry:
    """One parser.

    seeds  octets that it reads well
    words  what its grammar is made of
    clock  of the time that a call takes, in seconds
    open   what must be there before a call
    close  what is to be done after the last one
    """

    call: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    clock: Callable[[], float] = time.thread_time
    open: Callable[[], None] = lambda: None
    close: Callable[[], None] = lambda: None


_LEAK = json.dumps(
    {
        "format": report.FORMAT,
        "issued": evidence.issuing("a@sort.example", "mx.sort.example", NOW),
        "evidence": [
            {
                "file": "messages/1.eml",
                "previous": "",
                "hash": "",
                "entry": {
                    "message": "t",
                    "at": NOW.isoformat(),
                    "size": len(PLAIN),
                    "sha256": hashlib.sha256(PLAIN).hexdigest(),
                    "authentication_results": "mx.sort.example; dkim=pass header.d=x",
                    "dns_records": [
                        {"for": "dkim", "name": "s._domainkey.x", "type": "TXT", "octets": "AA=="}
                    ],
                },
            }
        ],
    }
).encode()
_A_MESSAGE = (PLAIN, MULTI, REPORT)
_SIGNED = b"".join(each.raw for each in dkim.sign(PLAIN, KEY, NOW)) + PLAIN
_SEALED = b"".join(each.raw for each in arc.seal(PLAIN, KEY, "mx.x.example; arc=none", NOW)) + PLAIN
_DNS: tuple[Any, ...] = tuple(
    dns.message.from_text(
        f"id 1\nopcode QUERY\nrcode NOERROR\nflags QR RD RA\n;QUESTION\nx.example. IN {kind}\n"
        f";ANSWER\nx.example. 300 IN {kind} {value}\n"
    ).to_wire()
    for kind, value in (
        ("TXT", '"v=spf1 " "-all"'),
        ("MX", "10 mx.x.example."),
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("TLSA", "3 1 1 " + "ab" * 32),
    )
)
_HEADER_WORDS = (
    b"From: ",
    b"To: ",
    b"\r\n\r\n",
    b"DKIM-Signature: ",
    b"Content-Type: ",
    b"multipart/mixed; boundary=",
)


def _door(*seeds: bytes) -> Entry:
    """The HTTP door: its database is asked in threads."""
    return Entry(counter.spoken, seeds, requests.WORDS, time.process_time, counter.opened, counter.closed)


_TAGS = (b"v=1;", b" d=", b" s=", b" h=", b" b=", b" bh=", b" x=1;", b" l=0;", b" c=simple/simple;")

ENTRIES: dict[str, Entry] = {
    "path": Entry(
        parsers.a_path,
        (
            b"<a.b+c@x.example> SIZE=10 BODY=8BITMIME",
            b'<"a b\\"c"@[192.0.2.1]> SMTPUTF8',
            b"<@a,@b:c@d.example>",
            "<jö@müller.example>".encode(),
            b"<>",
            b"<x@[IPv6:2001:db8::1]>",
        ),
        (b"<", b">", b"@", b'"', b"SIZE=", b"[IPv6:"),
    ),
    "local": Entry(
        parsers.a_local_part, (token.return_path(b"k" * 32, 7).encode(), b"lunar.otter4821", b"yes.abc")
    ),
    "command": Entry(
        dialogue.spoken,
        (
            b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n",
            b"HELO c\r\nNOOP\r\nRSET\r\nVRFY x\r\nEXPN x\r\nHELP\r\nSTARTTLS\r\nAUTH PLAIN AA==\r\n",
            b"EHLO c\r\nXCLIENT ADDR=192.0.2.1 HELO=far.example\r\nEHLO d\r\n",
        ),
        (b"MAIL FROM:<", b"RCPT TO:<", b"DATA\r\n", b"\r\n.\r\n", b"BDAT ", b"AUTH LOGIN\r\n"),
    ),
    "data": Entry(
        parsers.the_content,
        (PLAIN + b".\r\n", b"..a\r\n.\r\nMAIL", b"a\n.\r\n.\r\n"),
        (b"\r\n.", b"\n.\n", b"\r.\r"),
    ),
    "message": Entry(parsers.a_message, (*_A_MESSAGE, _SIGNED), _HEADER_WORDS),
    "field": Entry(
        parsers.a_field,
        (
            b' "Doe, J." <a@x.example>, (c (d)) b@y.example; group: c@z.example, <@r:d@w>;\r\n',
            b" =?utf-8?q?a=20b?= =?iso-8859-1?b?6Q==?= <x@y.example>\r\n",
            b" attachment; filename*0*=utf-8''a%20; filename*1=\"b\"; size=3\r\n",
            b" <a@b> <c@d>\r\n\t<e@f>\r\n",
            b" Sun, 1 Mar 2026 12:00:00 +0100 (CET)\r\n",
        ),
        (b"=?utf-8?q?", b"?=", b"*0*=", b"utf-8''", b"group:", b"<", b">", b"("),
    ),
    "mime": Entry(
        parsers.mime_parts,
        (MULTI, REPORT, PLAIN, FLOWED),
        (b"--b1\r\n", b"--b2--", b"boundary=", b" \n", *_HEADER_WORDS),
    ),
    "html": Entry(
        parsers.markup,
        (PAGE,),
        (b"<", b"</", b"<!--", b"-->", b"<![CDATA[", b"&#", b"style=", b"<p>", b"<a "),
    ),
    "text": Entry(
        parsers.text,
        (b"#card shipping\r\n> a\r\nOn Monday X wrote:\r\n> b\r\n", PLAIN, b"{{shipping.street}}"),
    ),
    "encoding": Entry(
        parsers.an_encoding,
        (b"utf-8\ncaf=C3=A9 =\r\nx", b'iso-2022-jp\n\x1b$B$"\x1b(B', b"base64\nSGVsbG8=", b"utf-7\n+AGE-"),
        (b"=C3", b"=\r\n", b"begin 644 a\n", b"\x1b$B"),
    ),
    "guard": Entry(
        parsers.a_guarded_message,
        (MULTI, REPORT, PLAIN.replace(b"hello", b"anna@home.example")),
        _HEADER_WORDS,
    ),
    "remote": Entry(
        parsers.remote_pictures,
        (b"Content-Type: text/html\r\n\r\n" + PAGE,),
        (b"<img src=", b"url(", b"@import "),
    ),
    "dkim": Entry(
        parsers.signatures, (_SIGNED, _SIGNED.replace(b"relaxed", b"simple")), (*_TAGS, *_HEADER_WORDS)
    ),
    "tags": Entry(
        parsers.a_tag_list,
        (RECORD, b"v=1; a=rsa-sha256; d=x; h=from : to; b=AA==; x=1", b"v=DKIM1; p="),
        _TAGS,
    ),
    "spf": Entry(
        parsers.an_spf_policy,
        (
            b"v=spf1 a mx/24 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:y.x exists:%{ir}.z.example ?all",
            b"v=spf1 redirect=%{d2}.x.example exp=why.%{d}",
        ),
        (b"include:", b"%{i}", b"%{l1r-}", b" ptr", b" a:", b"redirect=", b"//64"),
    ),
    "dmarc": Entry(
        parsers.a_dmarc_policy,
        (
            b"v=DMARC1; p=reject; sp=none; adkim=s; aspf=r; pct=50; rua=mailto:a@x",
            b"v=DMARC1; psd=y; np=reject",
        ),
        (b"p=", b"pct=", b"v=DMARC1;"),
    ),
    "arc": Entry(
        parsers.a_chain, (_SEALED,), (b"ARC-Seal: ", b"ARC-Message-Signature: i=1;", b" cv=pass;", *_TAGS)
    ),
    "results": Entry(
        parsers.results,
        (
            b' mx.sort.example 1; dkim=pass (a\\)b) header.d="x" reason="y"; none\r\n',
            b" (c) MX.sort.example; spf=fail\r\n",
        ),
        (b"(", b")", b";", b'"', b"mx.sort.example"),
    ),
    "dsn": Entry(
        parsers.a_report,
        (REPORT, ABUSE),
        (b"Status: 5.", b"Action: ", b"Final-Recipient: rfc822;", *_HEADER_WORDS),
    ),
    "vcard": Entry(
        parsers.a_card,
        (CARD,),
        (b"BEGIN:VCARD\r\n", b"END:VCARD\r\n", b";TYPE=", b"ENCODING=QUOTED-PRINTABLE:", b"\\n"),
    ),
    "calendar": Entry(
        parsers.an_invitation, (INVITATION,), (b"ORGANIZER", b"ATTENDEE;", b"mailto:", b"\r\n ")
    ),
    "mta-sts": Entry(
        parsers.a_transport_policy,
        (
            b"version: STSv1\r\nmode: enforce\r\nmx: *.x.example\r\nmax_age: 86400\r\n",
            b"v=STSv1; id=20260301;",
        ),
        (b"mx: ", b"max_age: ", b"id="),
    ),
    "dns": Entry(parsers.a_dns_answer, _DNS, (b"\xc0\x0c", b"\0\x10\0\1", b"\x3f")),
    "proxy": Entry(
        parsers.a_proxy_header,
        (
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 25\r\n",
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 0, 25]),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2f" + b"\x20\1" * 16 + b"\0\x19\0\x19\3\0\4\1\2\3\4",
        ),
        (b"PROXY ", b"TCP6 ", b"\r\n\r\n\0\r\nQUIT\n"),
    ),
    "xclient": Entry(
        parsers.an_xclient,
        (
            b"ADDR=192.0.2.9 HELO=far.example LOGIN=anna PROTO=ESMTP",
            b"ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE]",
        ),
        (b"ADDR=", b"HELO=", b"+0D+0A", b"[TEMPUNAVAIL]", b"PORT="),
    ),
    "import": Entry(
        parsers.an_import,
        (
            b"alias,note,enabled\r\na@x.example,Shop,true\r\n",
            b'[{"full_address": "a@b.example", "description": "x", "generated_for": "y", "enabled": true}]',
            b'{"data": [{"email": "a@b.example", "description": null, "active": false}]}',
        ),
        (b'"', b"[[", b"{", b"null", b"alias,", b"\xef\xbb\xbf"),
    ),
    "leak report": Entry(
        parsers.a_leak_report,
        (_LEAK, b"{}", b"[]"),
        (b'"hash":', b"null", b"[", b'"messages"'),
    ),
    "pages": _door(*requests.PAGES),
    "office api": _door(*requests.OFFICE),
    "addy api": _door(*requests.ADDY),
    "simplelogin api": _door(*requests.SIMPLELOGIN),
}
