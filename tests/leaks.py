"""The leak battery's places: each builds a whole message around a planted text, in each encoding.

`tests.disguises` has the ways in which an address is planted.
"""

from __future__ import annotations

import base64
import gzip
import io
import quopri
import struct
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

from tests.disguises import uuencoded

MAILBOX = "anna@home.example"
SECOND = "a.private@gmail.com"
REVERSE = "orders.lampshop.5v8k2m9q@sort.example"

# ---- places: each gives a message's octets ---------------------------------------------------------

ENCODINGS = (
    ("utf-8", "8bit"),
    ("iso-8859-1", "quoted-printable"),
    ("utf-16", "base64"),
    ("utf-7", "8bit"),
    ("iso-2022-jp", "8bit"),
)
HEAD = f"From: Anna <{MAILBOX}>\r\nTo: <{REVERSE}>\r\n"
HEAD += "Date: Sun, 22 Nov 2026 15:00:00 +0100\r\nMIME-Version: 1.0\r\n"


def _coded(octets: bytes, transfer: str) -> bytes:
    if transfer == "base64":
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if transfer == "quoted-printable":
        return quopri.encodestring(octets).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return octets


def part(content_type: str, content: bytes, transfer: str, more: str = "") -> bytes:
    head = f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {transfer}\r\n{more}\r\n"
    return head.encode() + _coded(content, transfer)


def text_part(subtype: str, text: str, charset: str, transfer: str, more: str = "") -> bytes:
    content = text.replace("\n", "\r\n").encode(charset, "xmlcharrefreplace")
    return part(f"text/{subtype}; charset={charset}", content, transfer, more)


def alone(entity: bytes) -> bytes:
    return HEAD.encode() + b"Subject: hello\r\n" + entity


def mixed(*entities: bytes, kind: str = "mixed", preamble: str = "", epilogue: str = "") -> bytes:
    body = b"".join(b"--=_b\r\n" + entity + b"\r\n" for entity in entities)
    return (
        HEAD.encode()
        + f'Subject: hello\r\nContent-Type: multipart/{kind}; boundary="=_b"\r\n\r\n'.encode()
        + (preamble.encode() + b"\r\n" if preamble else b"")
        + body
        + b"--=_b--\r\n"
        + epilogue.encode()
    )


HELLO = text_part("plain", "Hello.\n", "utf-8", "8bit")

Place = Callable[[str, str, str], bytes]


def attached(content_type: str, octets: bytes, transfer: str = "base64", name: str = "a.bin") -> bytes:
    return mixed(
        HELLO, part(content_type, octets, transfer, f'Content-Disposition: attachment; filename="{name}"\r\n')
    )


def in_html(template: str) -> Place:
    return lambda text, charset, transfer: alone(
        text_part("html", template.replace("{}", text), charset, transfer)
    )


def in_text(template: str) -> Place:
    return lambda text, charset, transfer: alone(
        text_part("plain", template.replace("{}", text), charset, transfer)
    )


TEXT_PLACES: dict[str, Place] = {
    "prose": in_text("Hello,\n\nplease write to {} instead.\n\nAnna\n"),
    "the very start": in_text("{}"),
    "a quote": in_text("Yes.\n\nOn 1 Nov 2026, at 10:00, Lamp Shop wrote:\n> you are {} with us\n> Shop\n"),
    "an attribution line": in_text("Yes.\n\nOn 1 Nov 2026, at 10:00, {} wrote:\n> Hello\n"),
    "a signature": in_text("Yes.\n\n-- \nAnna\n{}\n"),
    "a forwarded header": in_text(
        "See below.\n\n-----Original Message-----\nFrom: Lamp Shop\nSent: Monday\n"
        "To: {}\nSubject: Lamp\n\nHello\n"
    ),
    "a text attachment": lambda text, charset, transfer: mixed(
        HELLO,
        text_part(
            "plain",
            f"notes\n{text}\n",
            charset,
            transfer,
            "Content-Disposition: attachment; filename=n.txt\r\n",
        ),
    ),
    "a CSV attachment": lambda text, charset, transfer: mixed(
        HELLO, text_part("csv", f"a;b\n1;{text}\n", charset, transfer)
    ),
    "an alternative's text": lambda text, charset, transfer: mixed(
        text_part("plain", f"Hello {text}\n", charset, transfer),
        text_part("html", "<p>Hello</p>", "utf-8", "8bit"),
        kind="alternative",
    ),
    "an attached message": lambda text, charset, transfer: mixed(
        HELLO,
        b"Content-Type: message/rfc822\r\n\r\nFrom: x@y.example\r\nSubject: s\r\n"
        + text_part("plain", f"Hello {text}\n", charset, transfer),
    ),
    "a message in a message in a message": lambda text, charset, transfer: mixed(
        HELLO,
        b"Content-Type: message/rfc822\r\n\r\nSubject: 1\r\n"
        b"Content-Type: message/rfc822\r\n\r\nSubject: 2\r\n"
        b"Content-Type: message/rfc822\r\n\r\nSubject: 3\r\n"
        + text_part("plain", f"Hello {text}\n", charset, transfer),
    ),
    "what is signed": lambda text, charset, transfer: mixed(
        text_part("plain", f"> Hello {text}\n", charset, transfer),
        part("application/pgp-signature", b"x", "8bit"),
        kind="signed",
    ),
    "a calendar's description": lambda text, charset, transfer: mixed(
        HELLO,
        text_part(
            "calendar", f"BEGIN:VCALENDAR\nDESCRIPTION:write {text}\nEND:VCALENDAR\n", charset, transfer
        ),
    ),
    "a calendar's attendee": lambda text, charset, transfer: mixed(
        HELLO,
        text_part("calendar", f"BEGIN:VCALENDAR\nATTENDEE;CN=x:{text}\nEND:VCALENDAR\n", charset, transfer),
    ),
    "a vCard's address": lambda text, charset, transfer: mixed(
        HELLO, text_part("vcard", f"BEGIN:VCARD\nVERSION:3.0\nEMAIL:{text}\nEND:VCARD\n", charset, transfer)
    ),
    "a vCard's note": lambda text, charset, transfer: mixed(
        HELLO, text_part("vcard", f"BEGIN:VCARD\nVERSION:3.0\nNOTE:{text}\nEND:VCARD\n", charset, transfer)
    ),
    "a report's text": lambda text, charset, transfer: mixed(
        text_part("plain", f"About {text}\n", charset, transfer),
        part("message/disposition-notification", b"Disposition: manual-action; displayed\r\n", "7bit"),
        kind="report",
    ),
}
HTML_PLACES: dict[str, Place] = {
    "HTML prose": in_html("<html><body><p>Hello, write to {} please</p></body></html>"),
    "HTML cells": in_html("<table><tr><td>Mail</td><td>{}</td><td>x</td></tr></table>"),
    "an HTML quote": in_html("<p>Yes</p><blockquote type=cite><p>you are {} with us</p></blockquote>"),
    "a Gmail quote": in_html(
        '<p>Yes</p><div class="gmail_quote"><div class="gmail_attr">On 1 Nov, {} wrote:<br></div>'
        "<blockquote>x</blockquote></div>"
    ),
    "an HTML signature": in_html('<p>Yes</p><div class="gmail_signature">{}</div>'),
    "an HTML attachment": lambda text, charset, transfer: mixed(
        HELLO,
        text_part(
            "html",
            f"<p>{text}</p>",
            charset,
            transfer,
            "Content-Disposition: attachment; filename=n.html\r\n",
        ),
    ),
}
# Places where markup can't be split: the text is an attribute's value, a comment, a style.
INSIDE_MARKUP: dict[str, Place] = {
    "a link": in_html('<p>Yes <a href="mailto:{}">x</a></p>'),
    "a title": in_html("<p>Yes <img src=x alt='{}'></p>"),
    "a data attribute": in_html('<div data-mail="{}">x</div>'),
    "an HTML comment": in_html("<p>Yes</p><!-- {} --><p>x</p>"),
    "a style sheet": in_html('<style>p::after {{content: "{}"}}</style><p>x</p>'),
    "a script": in_html('<script>var m = "{}";</script><p>x</p>'),
    "a title element": in_html("<title>{}</title><p>x</p>"),
    "a conditional comment": in_html("<!--[if mso]><p>{}</p><![endif]--><p>x</p>"),
}


def zipped(text: str, name: str = "word/document.xml") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>" * 20)
        archive.writestr(name, text.encode())
    return target.getvalue()


def _png(text: str) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    note = b"Author\0\0" + zlib.compress(text.encode())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"zTXt", note) + chunk(b"IEND", b"")


def _jpeg(text: str) -> bytes:
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\x01\0\x3b\x01\x02\0" + text.encode() + b"\0"
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + b"\xff\xd9"


def _pdf(text: str) -> bytes:
    stream = zlib.compress(f"BT ({text[:4]}) Tj ET BT [({text[:3]}) -20 ({text[3:]})] TJ ET".encode())
    return b"%PDF-1.4\n1 0 obj<</Length 1/Filter/FlateDecode>>stream\n" + stream + b"\nendstream\n%%EOF"


def _octal(text: str) -> str:
    return "".join(f"\\{octet:03o}" for octet in text.encode())


BINARY_PLACES: dict[str, Callable[[str], bytes]] = {
    "a zip": lambda a: attached("application/zip", zipped(f"<note>{a}</note>", "n.xml")),
    "a zip's file name": lambda a: attached("application/zip", zipped("x", f"{a}.txt")),
    "a docx": lambda a: attached("application/octet-stream", zipped(f"<w:t>{a[:3]}</w:t><w:t>{a[3:]}</w:t>")),
    "an odt in a zip": lambda a: attached("application/zip", _nested_zip(a)),
    "gzip": lambda a: attached("application/gzip", gzip.compress(f"hello {a}".encode() * 3)),
    "a PDF stream": lambda a: attached("application/pdf", _pdf(a)),
    "a PDF string": lambda a: attached("application/pdf", f"%PDF-1.4\n/Author ({a}) %%EOF".encode()),
    "a PDF octal string": lambda a: attached(
        "application/pdf", f"%PDF-1.4\n/Author ({_octal(a)}) %%EOF".encode()
    ),
    "a PDF hexadecimal string": lambda a: attached(
        "application/pdf", f"%PDF-1.4\n/Author <{a.encode().hex()}>".encode()
    ),
    "a PDF UTF-16 string": lambda a: attached(
        "application/pdf", b"%PDF-1.4\xff\xfe" + a.encode("utf-16-be") + b"\xff"
    ),
    "EXIF": lambda a: attached("image/jpeg", _jpeg(a), name="a.jpg"),
    "a PNG's text": lambda a: attached("image/png", _png(a), name="a.png"),
    "UTF-16 in binary": lambda a: attached(
        "application/msword", b"\xd0\xcf\x11\xe0" + a.encode("utf-16-le") + b"\xff\xfe"
    ),
    "winmail.dat": lambda a: attached(
        "application/ms-tnef", b"\x78\x9f\x3e\x22\x01\0" + a.encode() + b"\0", name="winmail.dat"
    ),
    "RTF": lambda a: attached("application/rtf", ("{\\rtf1 " + a.replace("@", "\\'40") + "}").encode()),
    "RTF with words between": lambda a: attached(
        "application/rtf", ("{\\rtf1 " + a.replace("@", "{\\b @}") + "}").encode()
    ),
    "a DER certificate": lambda a: attached(
        "application/pkcs7-signature", b"\x30\x82\x16" + bytes((len(a),)) + a.encode() + b"\x30"
    ),
    "a DER length that is a letter": lambda a: attached(
        "application/pkcs7-signature", b"\x30\x82\x16A" + a.encode() + b"\xff\x00"
    ),
    "a PGP key": lambda a: attached(
        "application/pgp-keys",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\n"
        + base64.encodebytes(b"\x99\x01\xa2\x04" + bytes(40) + f"Anna <{a}>".encode() + bytes(60))
        + b"=abcd\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n",
        "8bit",
    ),
    "an attached mail as octets": lambda a: attached(
        "application/octet-stream",
        b"From: x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(f"<p>dear {a}</p>".encode()),
        name="mail.eml",
    ),
    "a message in base64": lambda a: attached(
        "message/rfc822", f"Subject: x\r\nTo: {a}\r\n\r\nhello\r\n".encode()
    ),
    "JSON": lambda a: attached("application/json", ('{"m":"' + a.replace("@", "\\u0040") + '"}').encode()),
    "XML": lambda a: attached(
        "application/xml", f"<?xml version='1.0'?><m>{a.replace('@', '&#64;')}</m>".encode()
    ),
    "SVG": lambda a: attached(
        "image/svg+xml", f"<svg><text>{a[:5]}</text><text>{a[5:]}</text></svg>".encode()
    ),
    "text without a charset we know": lambda a: alone(
        part("text/plain; charset=x-unknown", f"hi {a}".encode(), "8bit")
    ),
    "escapes of ISO-2022 in a charset we don't know": lambda a: alone(
        part("text/plain; charset=x-unknown", f"hi {a[:2]}\x1b(B{a[2:]}".encode(), "8bit")
    ),
    "an unknown encoding": lambda a: alone(part("text/plain", f"hi {a}".encode(), "x-strange")),
    "plain text that claims base64": lambda a: alone(
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + a.encode() + b"\r\n"
    ),
    "plain text that claims UTF-16": lambda a: alone(
        part("text/plain; charset=utf-16", f"hi {a}!".encode(), "8bit")
    ),
    "uuencoded": lambda a: alone(part("text/plain", uuencoded(a).replace("\n", "\r\n").encode(), "8bit")),
    "a uuencoded part": lambda a: alone(
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
        + uuencoded(a).replace("\n", "\r\n").encode()
    ),
    "the preamble": lambda a: mixed(HELLO, preamble=f"hello {a}"),
    "the epilogue": lambda a: mixed(HELLO, epilogue=f"hello {a}\r\n"),
    "a boundary": lambda a: (
        HEAD + f'Content-Type: multipart/mixed; boundary="{a}"\r\n\r\n--{a}\r\n\r\nhello\r\n--{a}--\r\n'
    ).encode(),
    "a multipart without parts": lambda a: (
        HEAD + f"Content-Type: multipart/mixed\r\n\r\nhello {a}\r\n"
    ).encode(),
    "the Subject": lambda a: (HEAD + f"Subject: from {a}\r\n\r\nhello\r\n").encode(),
    "a folded Subject": lambda a: (HEAD + f"Subject: from {a[:8]}\r\n {a[8:]}\r\n\r\nhello\r\n").encode(),
    "an encoded Subject": lambda a: (
        HEAD + f"Subject: =?utf-8?b?{base64.b64encode(a.encode()).decode()}?=\r\n\r\nhello\r\n"
    ).encode(),
    "a Subject in two words": lambda a: (
        HEAD + f"Subject: =?utf-8?q?{a[:8]}?=\r\n =?utf-8?q?{a[8:].replace('@', '=40')}?=\r\n\r\nhello\r\n"
    ).encode(),
    "an ISO-2022-JP Subject": lambda a: (
        HEAD
        + "Subject: =?iso-2022-jp?b?"
        + base64.b64encode(f"日本 {a}".encode("iso-2022-jp")).decode()
        + "?=\r\n\r\nx\r\n"
    ).encode(),
    "a file name": lambda a: attached("text/plain", b"x", name=f"{a}.txt"),
    "a file name in percent": lambda a: mixed(
        HELLO,
        part(
            "text/plain",
            b"x",
            "8bit",
            f"Content-Disposition: attachment; filename*=utf-8''{quote(a, safe='')}\r\n",
        ),
    ),
    "a file name in pieces": lambda a: mixed(
        HELLO,
        part(
            "text/plain",
            b"x",
            "8bit",
            f'Content-Disposition: attachment;\r\n filename*1="{a[7:]}";\r\n'
            f" filename*0*=utf-8''{a[:7].replace('@', '%40')}\r\n",
        ),
    ),
    "a file name in words": lambda a: mixed(
        HELLO,
        part('text/plain; name="=?utf-8?b?' + base64.b64encode(a.encode()).decode() + '?="', b"x", "8bit"),
    ),
    "a Content-ID": lambda a: mixed(HELLO, part("image/gif", b"x", "8bit", f"Content-ID: <part1.{a}>\r\n")),
    "a Content-Description": lambda a: mixed(
        HELLO, part("image/gif", b"x", "8bit", f"Content-Description: of {a}\r\n")
    ),
    "a Content-Location": lambda a: mixed(
        HELLO, part("image/gif", b"x", "8bit", f"Content-Location: mailto:{a}\r\n")
    ),
    "a field of a part": lambda a: mixed(HELLO, part("image/gif", b"x", "8bit", f"X-Sender: {a}\r\n")),
    "a comment in a field": lambda a: alone(f"Content-Type: text/plain (by {a})\r\n\r\nhello\r\n".encode()),
    "an attached header": lambda a: mixed(
        HELLO,
        b"Content-Type: message/rfc822\r\n\r\n"
        + f"To: Anna <{a}>\r\nDelivered-To: {a}\r\nSubject: x\r\n\r\nx\r\n".encode(),
    ),
    "an attached subject": lambda a: mixed(
        HELLO,
        f"Content-Type: message/rfc822\r\n\r\nFrom: x@y.example\r\nSubject: for {a}\r\n\r\nx\r\n".encode(),
    ),
    "a header part": lambda a: mixed(
        HELLO, part("text/rfc822-headers", f"To: {a}\r\nSubject: x\r\n".encode(), "8bit")
    ),
    "a DSN": lambda a: mixed(
        HELLO,
        part(
            "message/delivery-status",
            f"Reporting-MTA: dns; x.example\r\n\r\nFinal-Recipient: rfc822;{a}\r\nAction: failed\r\n"
            f"Diagnostic-Code: smtp; 550 <{a}>\r\n".encode(),
            "8bit",
        ),
        kind="report",
    ),
    "a read receipt": lambda a: mixed(
        HELLO,
        part(
            "message/disposition-notification",
            f"Reporting-UA: x; y\r\nFinal-Recipient: rfc822;{a}\r\n".encode()
            + b"Disposition: automatic-action; displayed\r\n",
            "8bit",
        ),
        kind="report",
    ),
    "a folded attendee": lambda a: mixed(
        HELLO,
        part(
            "text/calendar",
            f"BEGIN:VCALENDAR\r\nATTENDEE;CN=x:mailto:{a[:6]}\r\n {a[6:]}\r\nEND:VCALENDAR\r\n".encode(),
            "8bit",
        ),
    ),
    "a vCard 2.1": lambda a: mixed(
        HELLO,
        part(
            "text/x-vcard",
            b"BEGIN:VCARD\r\nVERSION:2.1\r\nEMAIL;ENCODING=QUOTED-PRINTABLE:"
            + f"{a.replace('@', '=40')}\r\nEND:VCARD\r\n".encode(),
            "8bit",
        ),
    ),
    "soft breaks": lambda a: alone(
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhi "
        + "=\r\n".join(a).encode()
        + b"\r\n"
    ),
    "format=flowed": lambda a: alone(
        part("text/plain; format=flowed; delsp=yes", f"hi {a[:9]} \r\n{a[9:]}\r\n".encode(), "8bit")
    ),
    "a wrapped line": lambda a: alone(part("text/plain", f"hi {a[:9]}\r\n{a[9:]}\r\n".encode(), "8bit")),
    "a wrapped quote": lambda a: alone(
        part("text/plain", f"yes\r\n\r\n> hi {a[:9]}\r\n> {a[9:]}\r\n".encode(), "8bit")
    ),
}


def _nested_zip(address: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("inner.odt", zipped(f"<text:p>{address}</text:p>", "content.xml"))
    return target.getvalue()


# The places of these that the gate itself turns round; in all others it must tell.
TURNED = frozenset(
    {
        "the Subject",
        "a folded Subject",
        "an encoded Subject",
        "a Subject in two words",
        "an ISO-2022-JP Subject",
        "a file name",
        "a file name in percent",
        "a file name in pieces",
        "a file name in words",
        "a Content-ID",
        "a Content-Description",
        "a Content-Location",
        "a field of a part",
        "a comment in a field",
        "an attached header",
        "an attached subject",
        "a header part",
        "a DSN",
        "a read receipt",
        "a folded attendee",
        "a wrapped quote",
    }
)
