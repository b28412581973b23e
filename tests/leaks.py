"""The leak battery's material: places of a message × disguises of an address × encodings.

Each place is a function that builds a whole message around a planted text; each disguise writes an
address so that a reader (a person, or a program with a decoder) still gets it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import quopri
import struct
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

MAILBOX = "anna@home.example"
SECOND = "a.private@gmail.com"
REVERSE = "orders.lampshop.5v8k2m9q@sort.example"

Disguise = Callable[[str], str]


def _split(address: str, by: str) -> str:
    return by.join(address)


def _spoken(address: str, at: str, dot: str) -> str:
    return address.replace(".", dot).replace("@", at)


def _uu(address: str) -> str:
    return f"begin 644 note\n{binascii.b2a_uu(address.encode()).decode()}`\nend\n"


# Those that leave characters which any charset and any place can carry.
DISGUISES: dict[str, Disguise] = {
    "as it is": lambda a: a,
    "upper case": str.upper,
    "title case": str.title,
    "in brackets": lambda a: f"<{a}>",
    "mailto": lambda a: f"mailto:{a}",
    "blanks around the at": lambda a: a.replace("@", " @ "),
    "blanks around the dots": lambda a: a.replace(".", " . "),
    "spaced out": lambda a: _split(a, " "),
    "dashed out": lambda a: _split(a, "-"),
    "backwards": lambda a: a[::-1],
    "plus tag": lambda a: a.replace("@", "+shop@"),
    "in words": lambda a: _spoken(a, " at ", " dot "),
    "in bracketed words": lambda a: _spoken(a, " [at] ", " [dot] "),
    "in round words": lambda a: _spoken(a, "(at)", "(dot)"),
    "in German words": lambda a: _spoken(a, " (ät) ", " (Punkt) "),
    "percent at": lambda a: a.replace("@", "%40"),
    "percent all": lambda a: "".join(f"%{ord(c):02x}" for c in a),
    "percent twice": lambda a: quote(quote(a, safe=""), safe=""),
    "quoted-printable": lambda a: "".join(f"={ord(c):02X}" for c in a),
    "decimal references": lambda a: "".join(f"&#{ord(c)};" for c in a),
    "hexadecimal references": lambda a: "".join(f"&#x{ord(c):x};" for c in a),
    "padded references": lambda a: "".join(f"&#000{ord(c)};" for c in a),
    "named references": lambda a: a.replace("@", "&commat;").replace(".", "&period;"),
    "references twice": lambda a: a.replace("@", "&amp;#64;"),
    "JSON escapes": lambda a: "".join(f"\\u{ord(c):04x}" for c in a),
    "C escapes": lambda a: "".join(f"\\x{ord(c):02x}" for c in a),
    "octal escapes": lambda a: "".join(f"\\{ord(c):03o}" for c in a),
    "CSS escapes": lambda a: "".join(f"\\{ord(c):06x}" for c in a),
    "base64": lambda a: base64.b64encode(a.encode()).decode(),
    "base64 in a sentence": lambda a: base64.b64encode(f"this is {a}, really".encode()).decode(),
    "base64 without padding": lambda a: base64.b64encode(f"{a} x".encode()).decode().rstrip("="),
    "base64 for URLs": lambda a: (
        "https://x.example/u/" + base64.urlsafe_b64encode(f"?>{a}?>".encode()).decode()
    ),
    "base64 twice": lambda a: base64.b64encode(base64.b64encode(a.encode())).decode(),
    "data URI": lambda a: "data:text/plain;base64," + base64.b64encode(a.encode()).decode(),
    "hexadecimal": lambda a: a.encode().hex(),
    "UTF-7": lambda a: "+" + base64.b64encode(a.encode("utf-16-be")).decode().rstrip("=") + "-",
    "UTF-7 at": lambda a: a.replace("@", "+AEA-"),
    "encoded word": lambda a: "=?utf-8?b?" + base64.b64encode(a.encode()).decode() + "?=",
    "encoded word q": lambda a: "=?utf-8?q?" + a.replace("@", "=40") + "?=",
    "encoded words in pieces": lambda a: " ".join(f"=?utf-8?q?{piece}?=" for piece in (a[:2], a[2:])),
    "in a URL": lambda a: f"https://x.example/?a=1&email={quote(a)}&b=2",
    "in JSON": lambda a: '{"email":"' + a + '"}',
    "after an escaped line break": lambda a: f"hello\\n{a}",
    "as a sentence ends": lambda a: f"({a}.)",
    "in asterisks": lambda a: f"*{a}*",
    "in underscores": lambda a: f"_{a}_",
}
# Those that need Unicode.
UNICODE: dict[str, Disguise] = {
    "zero width": lambda a: _split(a, "\u200b"),
    "zero width joiner": lambda a: a.replace("@", "\u200d@\u2060"),
    "soft hyphens": lambda a: _split(a, "\u00ad"),
    "no-break blanks": lambda a: a.replace("@", "\u00a0@\u00a0"),
    "byte order marks": lambda a: a.replace("n", "n\ufeff"),
    "full width": lambda a: "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in a),
    "full-width at": lambda a: a.replace("@", "\uff20"),
    "small at": lambda a: a.replace("@", "\ufe6b"),
    "Cyrillic": lambda a: a.replace("a", "\u0430").replace("e", "\u0435").replace("o", "\u043e"),
    "Greek": lambda a: a.replace("a", "\u03b1").replace("o", "\u03bf"),
    "mathematical": lambda a: "".join(chr(0x1D41A + ord(c) - 97) if c.islower() else c for c in a),
    "circled": lambda a: "".join(chr(0x24D0 + ord(c) - 97) if c.islower() else c for c in a),
    "accents": lambda a: a.replace("n", "n\u0303").replace("o", "o\u0301"),
    "ideographic dots": lambda a: a.replace(".", "\u3002"),
    "right to left": lambda a: f"\u202e{a[::-1]}\u202c",
    "after Chinese": lambda a: f"\u8bf7\u53d1\u5230{a}\u8c22\u8c22",
}
# Those that only a reader of HTML undoes.
MARKUP: dict[str, Disguise] = {
    "split by tags": lambda a: a.replace("@", "<b>@</b>").replace("me", "m<i>e</i>"),
    "split by comments": lambda a: a.replace("@", "<!-- x > y -->@<!---->"),
    "split by wbr": lambda a: _split(a, "<wbr>"),
    "split by attributes": lambda a: a.replace("@", '<span title="a > b">@</span>'),
    "split by blocks": lambda a: a.replace("@", "</div><div>@"),
    "references and tags": lambda a: a.replace("@", "<b>&#64;</b>").replace(".", "<i>&#x2e;</i>"),
    "hidden": lambda a: f'<span style="display:none">{a}</span>',
    "after a cell": lambda a: f"<td>Email</td><td>{a.replace('@', '<b>@</b>')}</td>",
}


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
    "uuencoded": lambda a: alone(part("text/plain", _uu(a).replace("\n", "\r\n").encode(), "8bit")),
    "a uuencoded part": lambda a: alone(
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
        + _uu(a).replace("\n", "\r\n").encode()
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
