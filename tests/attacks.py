"""The leak battery's second half: what a hostile reader came up with after the gate was finished.

Like `tests.leaks`: each disguise writes an address so that a reader still gets it, each place is a message.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

from tests.leaks import HEAD, HELLO, alone, attached, mixed, part, text_part, zipped

Disguise = Callable[[str], str]


def _halves(address: str) -> tuple[str, str]:
    local, _, domain = address.partition("@")
    return local, domain


def _said(address: str, at: str, dot: str) -> str:
    return address.replace(".", dot).replace("@", at)


def _codes(address: str, how: str, by: str) -> str:
    return by.join(format(ord(c), how) for c in address)


def _style(address: str) -> str:
    return "".join(f"\\{ord(c):x} " for c in address)


def _mapped(address: str, first: int) -> str:
    return "".join(chr(first + ord(c) - 97) if c.islower() else c for c in address)


def _braille(address: str) -> str:
    dots = dict(zip("abcdefghijklmnopqrstuvwxyz", "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵", strict=True))
    return "".join(dots.get(c, c) for c in address)


def _hexdump(address: str) -> str:
    octets = f"the address is {address}.".encode()
    return "\n".join(f"{at:08x}: {octets[at : at + 16].hex(' ', 2)}  " for at in range(0, len(octets), 16))


def _base32(address: str) -> str:
    return base64.b32encode(f"user {address} ok".encode()).decode()


DISGUISES: dict[str, Disguise] = {
    "braces": lambda a: _said(a, "{at}", "{dot}"),
    "angle words": lambda a: _said(a, " <at> ", " <dot> "),
    "dashed words": lambda a: _said(a, "-at-", "-dot-"),
    "underscored words": lambda a: _said(a, "_at_", "_dot_"),
    "slashed words": lambda a: _said(a, "/at/", "/dot/"),
    "quoted words": lambda a: _said(a, " 'at' ", ' "dot" '),
    "starred words": lambda a: _said(a, " *at* ", " *dot* "),
    "only the at in words": lambda a: a.replace("@", " at "),
    "only the at in round words": lambda a: a.replace("@", " (at) "),
    "only the dot in words": lambda a: a.replace(".", " dot "),
    "capital words": lambda a: _said(a, " AT ", " DOT "),
    "capitals without blanks": lambda a: _said(a, "AT", "DOT"),
    "French words": lambda a: _said(a, " arobase ", " point "),
    "Spanish words": lambda a: _said(a, " arroba ", " punto "),
    "Italian words": lambda a: _said(a, " chiocciola ", " punto "),
    "Russian words": lambda a: _said(a, " собака ", " точка "),
    "Polish words": lambda a: _said(a, " małpa ", " kropka "),
    "Turkish words": lambda a: _said(a, " et ", " nokta "),
    "a round a": lambda a: a.replace("@", "(a)"),
    "a squared a": lambda a: a.replace("@", " [a] "),
    "bracketed at": lambda a: a.replace("@", "[@]").replace(".", "[.]"),
    "a circled a": lambda a: a.replace("@", "ⓐ"),
    "two lines": lambda a: a.replace("@", "@\n"),
    "two quoted lines": lambda a: a.replace("@", "@\n> "),
    "after a word and a tag": lambda a: f"Email:<b>{a}</b>",
    "references without semicolons": lambda a: "".join(f"&#{ord(c)}" for c in a),
    "at without a semicolon": lambda a: a.replace("@", "&#64"),
    "references thrice": lambda a: a.replace("@", "&amp;amp;#64;"),
    "references four times": lambda a: a.replace("@", "&amp;amp;amp;commat;"),
    "quoted-printable twice": lambda a: a.replace("@", "=3D40"),
    "percent thrice": lambda a: quote(quote(quote(a, safe=""), safe=""), safe=""),
    "percent Unicode": lambda a: "".join(f"%u{ord(c):04x}" for c in a),
    "JavaScript pieces": lambda a: a.replace("@", "' + '@' + '"),
    "JavaScript pieces without blanks": lambda a: '"' + '"+"'.join(a) + '"',
    "PHP pieces": lambda a: a.replace("@", '"."@"."'),
    "character codes": lambda a: f"String.fromCharCode({_codes(a, 'd', ',')})",
    "character codes with blanks": lambda a: _codes(a, "d", " "),
    "hexadecimal codes": lambda a: ", ".join(f"0x{ord(c):02x}" for c in a),
    "binary codes": lambda a: _codes(a, "08b", " "),
    "octal codes": lambda a: _codes(a, "03o", " "),
    "plus for blank": lambda a: a.replace("@", "+@+"),
    "form-encoded": lambda a: a.replace("@", "+%40+"),
    "plus between": lambda a: "+".join(a),
    "VERP": lambda a: f"bounces+{a.replace('@', '=')}@lists.vendor.example",
    "SRS": lambda a: "SRS0=abcd=XY={1}={0}@forwarder.vendor.example".format(*_halves(a)),
    "percent hack": lambda a: f"{a.replace('@', '%')}@relay.vendor.example",
    "bang path": lambda a: "relay!{1}!{0}".format(*_halves(a)),
    "as a host": lambda a: a.replace("@", "."),
    "as a path": lambda a: f"https://x.example/u/{a.replace('@', '/')}/unsubscribe",
    "with an underscore": lambda a: a.replace("@", "_"),
    "a host of its own": lambda a: "shop@{}.{}".format(*_halves(a)),
    "comments": lambda a: a.replace("@", "(me)@(there)"),
    "quoted local part": lambda a: '"{}"@{}'.format(*_halves(a)),
    "escaped slashes": lambda a: json.dumps({"u": base64.b64encode(f"{a}???>>>".encode()).decode()}).replace(
        "/", "\\/"
    ),
    "base64 over an escaped line break": lambda a: "\\n".join(
        base64.b64encode(f"to {a}".encode()).decode()[at : at + 20] for at in range(0, 40, 20)
    ),
    "base32": _base32,
    "base32 in small letters": lambda a: _base32(a).lower().rstrip("="),
    "ascii85": lambda a: base64.a85encode(f"user {a}".encode(), adobe=True).decode(),
    "IMAP's UTF-7": lambda a: a.replace("@", "&AEA-"),
    "a hex dump": _hexdump,
    "yEnc": lambda a: (
        "\n=ybegin line=128 size=99 name=x\n"
        + "".join(chr((ord(c) + 42) % 256) for c in a)
        + "\n=yend size=99\n"
    ),
    "MD5": lambda a: f"https://www.gravatar.com/avatar/{hashlib.md5(a.encode()).hexdigest()}?s=40",
    "SHA-256": lambda a: f"id {hashlib.sha256(a.encode()).hexdigest()}",
    "tags in plain text": lambda a: a.replace("@", "<bold>@</bold>"),
    "a gzip in base64": lambda a: base64.b64encode(gzip.compress(f"hello {a}".encode())).decode(),
}
UNICODE: dict[str, Disguise] = {
    "tag characters": lambda a: "hello " + "".join(chr(0xE0000 + ord(c)) for c in a),
    "regional indicators": lambda a: _mapped(a, 0x1F1E6),
    "negative circled": lambda a: _mapped(a, 0x1F150),
    "negative squared": lambda a: _mapped(a, 0x1F170),
    "squared": lambda a: _mapped(a, 0x1F130),
    "script": lambda a: _mapped(a, 0x1D4EA),
    "Braille": _braille,
    "estimated sign": lambda a: a.replace("e", "\u212e"),
    "at with a variation selector": lambda a: a.replace("@", "@\ufe0f"),
    "fillers": lambda a: "\u3164".join(a),
    "Mongolian vowel separators": lambda a: "\u180e".join(a),
    "variation selectors": lambda a: "\U000e0100".join(a),
    "combining joiners": lambda a: "\u034f".join(a),
    "Khmer vowels": lambda a: "\u17b4".join(a),
    "musical": lambda a: "\U0001d173".join(a),
    "a modifier": lambda a: a.replace("n", "\u207f"),
    "subscripts": lambda a: a.replace("a", "\u2090").replace("e", "\u2091"),
    "dotless": lambda a: a.replace("i", "\u0131"),
    "Cherokee": lambda a: a.upper().replace("A", "\u13aa").replace("E", "\u13ac").replace("M", "\u13b7"),
    "Armenian": lambda a: a.replace("n", "\u0578").replace("o", "\u0585").replace("h", "\u0570"),
    "Lisu": lambda a: a.upper().replace("A", "\ua4ee").replace("E", "\ua4f0").replace("M", "\ua4df"),
}
# Between an address and what stands before it there is only markup.
MARKUP: dict[str, Disguise] = {
    "after a bold word": lambda a: f"<b>Email</b>{a.replace('@', '&#64;')}",
    "after a bold word, split": lambda a: f"<b>Email</b>{a.replace('@', '<i>&#64;</i>')}<b>thanks</b>",
    "a frame's document": lambda a: (
        f'<iframe srcdoc="&lt;b&gt;{a.replace("@", "&amp;commat;")}&lt;/b&gt;"></iframe>'
    ),
    "a link's text in pieces": lambda a: "".join(f"<span>{c}</span>" for c in a),
    "empty elements": lambda a: "<span></span>".join(a),
    "hidden letters between": lambda a: "".join(f'{c}<span style="display:none">z</span>' for c in a),
    "CDATA": lambda a: f"<svg><text><![CDATA[{a}]]></text></svg>",
    "a template": lambda a: f"<template>{a.replace('@', '<b>@</b>')}</template>",
    "an unclosed tag": lambda a: f'<p title="{a}',
    "an end tag's attribute": lambda a: f'<b>x</b title="{a}">',
    "a doctype": lambda a: f"<!DOCTYPE {a}>",
    "a processing instruction": lambda a: f"<?x {a}?>",
    "an attribute's name": lambda a: f"<p {a}>x</p>",
    "an attribute in base64": lambda a: f'<img src="//t.example/{base64.b64encode(a.encode()).decode()}">',
    "a style's escapes": lambda a: "<p style=\"font-family:'" + _style(a) + "'\">x</p>",
    "an image in a data URI": lambda a: (
        '<img src="data:image/svg+xml,' + quote(f"<svg><text>{a}</text></svg>") + '">'
    ),
}


# ---- whole messages ------------------------------------------------------------------------------


def _small_window(text: str) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, 10)
    return engine.compress(text.encode()) + engine.flush()


def _truncated(octets: bytes) -> bytes:
    return octets[: octets.index(b"PK\x01\x02")]


def _method(text: str, method: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("a.txt", f"hello {text} ".encode() * 3)
    return target.getvalue()


def _a85_pdf(text: str) -> bytes:
    stream = base64.a85encode(zlib.compress(f"BT ({text}) Tj ET".encode()))
    return (
        b"%PDF-1.4\n1 0 obj<</Filter[/ASCII85Decode/FlateDecode]>>stream\n" + stream + b"~>\nendstream\n%%EOF"
    )


def _hex_pdf(text: str) -> bytes:
    stream = zlib.compress(f"BT ({text}) Tj ET".encode()).hex().encode()
    return (
        b"%PDF-1.4\n1 0 obj<</Filter[/ASCIIHexDecode/FlateDecode]>>stream\n" + stream + b">\nendstream\n%%EOF"
    )


def _glyph_pdf(text: str, *, ranges: bool = False) -> bytes:
    """As browsers print: the letters are numbers, which a table explains."""
    letters = sorted(set(text))
    code = {letter: number for number, letter in enumerate(letters, 3)}
    pairs = "".join(f"<{code[c]:04x}> <{ord(c):04x}>\n" for c in letters)
    if ranges:
        pairs = "".join(f"<{code[c]:04x}> <{code[c]:04x}> <{ord(c):04x}>\n" for c in letters)
    kind = "range" if ranges else "char"
    table = f"{len(letters)} beginbf{kind}\n{pairs}endbf{kind}"
    first, second = ("".join(f"{code[c]:04x}" for c in piece) for piece in (text[:5], text[5:]))
    page = f"BT /F1 12 Tf [<{first}> -20 <{second}>] TJ ET"
    streams = b"".join(
        b"stream\n" + zlib.compress(each.encode()) + b"\nendstream\n" for each in (table, page)
    )
    return b"%PDF-1.7\n" + streams + b"%%EOF"


def _utf16_xml(text: str) -> bytes:
    return f"<?xml version='1.0'?><a><b>{text[:4]}</b><b>{text[4:]}</b></a>".encode("utf-16")


def _bom_svg(text: str) -> bytes:
    spans = "".join(f"<tspan>{c}</tspan>" for c in text)
    return b"\xef\xbb\xbf" + f"<svg><text>{spans}</text></svg>".encode()


def _lzfu_twice(text: str) -> bytes:
    def packed(content: bytes) -> bytes:
        pieces = b"".join(b"\0" + content[at : at + 8] for at in range(0, len(content), 8))
        return struct.pack("<II", len(pieces) + 12, len(content)) + b"LZFu" + bytes(4) + pieces

    return (
        b"\x78\x9f\x3e\x22"
        + packed(b"{\\rtf1 hello}")
        + bytes(8)
        + packed(f"{{\\rtf1 x\\'40{text}}}".encode())
    )


def _mbox(text: str) -> bytes:
    return (
        b"From x@y.example Mon Nov  2 10:00:00 2026\nContent-Transfer-Encoding: quoted-printable\n\n"
        + text.replace("@", "=40").replace("e", "=\ne").encode()
        + b"\n\nFrom x@y.example Mon Nov  2 10:00:00 2026\n\nbye\n"
    )


def _core(text: str) -> bytes:
    return zipped(
        f'<?xml version="1.0"?><cp:coreProperties><dc:creator>{text}</dc:creator></cp:coreProperties>',
        "docProps/core.xml",
    )


def _xmp_jpeg(text: str) -> bytes:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:li>" + text.encode() + b"</rdf:li></x:xmpmeta>"
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + b"\xff\xd9"


def _itxt_png(text: str) -> bytes:
    content = b"XML:com.adobe.xmp\0\1\0\0\0" + _small_window(f"<x:xmpmeta>{text}</x:xmpmeta>")
    chunk = struct.pack(">I", len(content)) + b"iTXt" + content + bytes(4)
    return b"\x89PNG\r\n\x1a\n" + chunk


def _ucs2_exif(text: str) -> bytes:
    return b"\xff\xd8\xff\xe1\x00\xffExif\0\0MM\0*" + text.encode("utf-16-be") + b"\0\0\xff\xd9"


def _vcf(text: str) -> str:
    return (
        "BEGIN:VCARD\nVERSION:2.1\nNOTE;ENCODING=QUOTED-PRINTABLE:"
        + "".join(f"={ord(c):02X}" for c in text)
        + "\nEND:VCARD\n"
    )


def _ics_attachment(text: str) -> str:
    octets = base64.b64encode(f"this is for {text} alone".encode()).decode()
    folded = "\n ".join(octets[at : at + 20] for at in range(0, len(octets), 20))
    return f"BEGIN:VCALENDAR\nATTACH;ENCODING=BASE64;VALUE=BINARY:{folded}\nEND:VCALENDAR\n"


_PGP = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA3jQ\r\nvTk0AAAA\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
_ENVELOPED = bytes.fromhex("308006092a864886f70d010703a0803080020100") + bytes(range(100, 160))
PLACES: dict[str, Callable[[str], bytes]] = {
    "a zip without its directory": lambda a: attached(
        "application/zip", _truncated(zipped(f"<n>{a}</n>", "n.xml"))
    ),
    "a zip with bzip2": lambda a: attached("application/zip", _method(a, zipfile.ZIP_BZIP2)),
    "a zip with LZMA": lambda a: attached("application/zip", _method(a, zipfile.ZIP_LZMA)),
    "a small window": lambda a: attached("application/octet-stream", b"\0\1\2" + _small_window(f"hi {a}")),
    "bzip2": lambda a: attached("application/x-bzip2", bz2.compress(f"hello {a}".encode() * 3)),
    "xz": lambda a: attached("application/x-xz", lzma.compress(f"hello {a}".encode() * 3)),
    "lzma": lambda a: attached(
        "application/x-lzma", lzma.compress(f"hello {a}".encode() * 3, format=lzma.FORMAT_ALONE)
    ),
    "a PDF in ASCII85": lambda a: attached("application/pdf", _a85_pdf(a)),
    "a PDF in hexadecimal": lambda a: attached("application/pdf", _hex_pdf(a)),
    "what a PDF shows by glyphs": lambda a: attached("application/pdf", _glyph_pdf(a)),
    "what a PDF shows by ranges of glyphs": lambda a: attached("application/pdf", _glyph_pdf(a, ranges=True)),
    "an XML in UTF-16": lambda a: attached("application/xml", _utf16_xml(a)),
    "an SVG with a mark": lambda a: attached("image/svg+xml", _bom_svg(a)),
    "the second RTF of a winmail.dat": lambda a: attached("application/ms-tnef", _lzfu_twice(a)),
    "an mbox": lambda a: attached("application/mbox", _mbox(a)),
    "a docx's author": lambda a: attached("application/octet-stream", _core(a)),
    "XMP in a JPEG": lambda a: attached("image/jpeg", _xmp_jpeg(a)),
    "XMP in a PNG": lambda a: attached("image/png", _itxt_png(a)),
    "EXIF in UTF-16": lambda a: attached("image/jpeg", _ucs2_exif(a)),
    "a vCard's quoted-printable": lambda a: mixed(HELLO, text_part("x-vcard", _vcf(a), "utf-8", "8bit")),
    "a calendar's attachment": lambda a: mixed(
        HELLO, text_part("calendar", _ics_attachment(a), "utf-8", "base64")
    ),
    "text/enriched": lambda a: mixed(
        HELLO, text_part("enriched", a.replace("@", "<bold>@</bold>"), "utf-8", "8bit")
    ),
    "text/xml": lambda a: mixed(
        HELLO, text_part("xml", f"<a><b>{a[:4]}</b><b>{a[4:]}</b></a>", "utf-8", "8bit")
    ),
    "EBCDIC": lambda a: alone(part("text/plain; charset=ibm037", f"hello {a}".encode("cp037"), "8bit")),
    "EBCDIC in HTML": lambda a: alone(
        part("text/html; charset=cp500", f"<p>{a}</p>".encode("cp500"), "base64")
    ),
    "a field's name": lambda a: mixed(part(f"text/plain\r\nContent-{a}: 1", b"hello", "8bit")),
    "a line that is no field": lambda a: mixed(part(f"text/plain\r\nby {a}", b"hello", "8bit")),
    "an encoded multipart": lambda a: alone(
        b'Content-Type: multipart/mixed; boundary="q"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + base64.encodebytes(f"--q\r\n\r\nhello {a}\r\n--q--\r\n".encode())
    ),
    "a 7z": lambda a: attached("application/x-7z-compressed", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(range(60))),
    "a RAR": lambda a: attached("application/vnd.rar", b"Rar!\x1a\x07\x01\0" + bytes(range(60))),
    "zstandard": lambda a: attached("application/zstd", b"\x28\xb5\x2f\xfd" + bytes(range(60))),
    "an encrypted zip": lambda a: attached("application/zip", _encrypted(zipped(a, "a.txt"))),
    "an encrypted PDF": lambda a: attached(
        "application/pdf", b"%PDF-1.6\ntrailer<</Root 1 0 R/Encrypt 5 0 R>>\n%%EOF"
    ),
    "an encrypted document": lambda a: attached(
        "application/octet-stream",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(80) + "EncryptedPackage".encode("utf-16-le"),
    ),
    "PGP, encrypted": lambda a: mixed(
        part("application/pgp-encrypted", b"Version: 1\r\n", "7bit"),
        part("application/octet-stream", _PGP, "7bit"),
        kind='encrypted"; protocol="application/pgp-encrypted',
    ),
    "PGP in the text": lambda a: alone(part("text/plain", b"Hello,\r\n\r\n" + _PGP, "7bit")),
    "S/MIME, encrypted": lambda a: alone(
        part("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", _ENVELOPED, "base64")
    ),
}
# Places where what is found is rewritten.
REWRITTEN: dict[str, Callable[[str], bytes]] = {
    "a comment in a field": lambda a: mixed(part(f"text/plain (by {a})", b"hello", "8bit")),
    "an external body": lambda a: mixed(
        HELLO,
        f'Content-Type: message/external-body; access-type=mail-server; server="{a}"\r\n\r\n'.encode()
        + b"Content-Type: text/plain\r\n\r\n",
    ),
    "a partial message": lambda a: alone(
        f'Content-Type: message/partial; id="{a}"; number=1; total=2\r\n\r\nSubject: x\r\n\r\nhi\r\n'.encode()
    ),
    "a file name in four pieces": lambda a: mixed(
        HELLO,
        part(
            "text/plain",
            b"x",
            "8bit",
            "Content-Disposition: attachment;"
            + ";".join(
                f"\r\n filename*{n}*={c}"
                for n, c in enumerate([f"utf-8''{quote(a[:3])}", *map(quote, (a[3:5], a[5:9], a[9:]))])
            )
            + "\r\n",
        ),
    ),
    "a language in an encoded word": lambda a: (
        HEAD + f"Subject: =?utf-8*en?q?{a.replace('@', '=40')}?=\r\n\r\nhello\r\n"
    ).encode(),
}


def _encrypted(archive: bytes) -> bytes:
    """With the flag set that says so, in both headers."""
    octets = bytearray(archive)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := octets.find(signature, start + 1)) >= 0:
            octets[start + at] |= 1
    return bytes(octets)
