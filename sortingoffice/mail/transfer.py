"""Content-Transfer-Encodings: body octets to content and back.

Decoding is tolerant as mail clients are, and linear.  Encoding anew keeps every line that did
not change as it stood (quoted-printable: with its own soft breaks), so that an edit touches its line.

Sources: RFC 2045 §6.7 (quoted-printable), §6.8 (base64), §2.7–2.9 (7bit, 8bit, binary).
"""

from __future__ import annotations

import binascii
import re

IDENTITY = frozenset({"", "7bit", "8bit", "binary"})
_UU = frozenset({"x-uuencode", "x-uue", "uuencode", "uue"})
_LINE = 76  # RFC 2045 §6.7 (5)
MAX_LINE = 998  # RFC 5322 §2.1.1
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_PADDING = re.compile(rb"=+")
_PADDED_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
_BARE_CR = re.compile(rb"=(?=\r(?!\n))")
_SOFT_BREAK = re.compile(rb"=[ \t]*\r?\n\Z")
_QP_UNSAFE = re.compile(rb"[^\x20-\x3c\x3e-\x7e\t]")


def decode(octets: bytes, encoding: str) -> bytes:
    """The content; what an encoding can't explain is passed over, an unknown encoding means none."""
    if encoding == "base64":
        return _from_base64(octets)
    if encoding == "quoted-printable":
        return _from_quoted_printable(octets)
    if encoding in _UU:
        return _from_uu(octets)
    return octets


def encode(content: bytes, encoding: str, like: bytes) -> tuple[bytes, str]:
    """The body octets for changed content, and the encoding they are in.

    like  the body octets before the change
    The encoding stays where it can carry the content; else it becomes quoted-printable, or base64
    where little of it is text.
    """
    if encoding == "base64":
        return to_base64(content, like), encoding
    if encoding in IDENTITY and _fits(content, encoding, like):
        return content, encoding
    if encoding == "quoted-printable":
        return _to_quoted_printable(content, like), encoding
    if len(content.translate(None, _TEXT)) * 2 > len(content):  # hardly readable either way
        return to_base64(content), "base64"
    return _to_quoted_printable(content, b""), "quoted-printable"


def _fits(content: bytes, encoding: str, like: bytes) -> bool:
    if encoding in ("", "7bit") and not content.isascii() and like.isascii():
        return False
    return _longest_line(content) <= max(MAX_LINE, _longest_line(like))


def _longest_line(octets: bytes) -> int:
    return max(len(line.rstrip(b"\r")) for line in octets.split(b"\n"))


def _from_base64(octets: bytes) -> bytes:
    """Padding may stand in the middle: some clients join encoded pieces, and some readers go on there."""
    content = bytearray()
    for piece in _PADDING.split(octets.translate(None, _NOT_BASE64)):
        if len(piece) % 4 == 1:
            piece = piece[:-1]
        content += binascii.a2b_base64(piece + b"=" * (-len(piece) % 4))
    return bytes(content)


def to_base64(content: bytes, like: bytes = b"") -> bytes:
    """Base64 in lines as long as those before, with their line ends."""
    first, newline, _ = like.partition(b"\n")
    width = len(first.strip()) if newline else _LINE
    width = width // 4 * 4 if 4 <= width <= MAX_LINE else _LINE
    end = b"\n" if newline and not first.endswith(b"\r") else b"\r\n"
    encoded = binascii.b2a_base64(content, newline=False)
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    if like and not like.endswith(b"\n"):
        return end.join(lines)
    return b"".join(line + end for line in lines)


def _from_quoted_printable(octets: bytes) -> bytes:
    octets = _PADDED_BREAK.sub(b"=", octets)
    # binascii would swallow all up to the next line feed.
    octets = _BARE_CR.sub(b"=3D", octets)
    return binascii.a2b_qp(octets)


def _to_quoted_printable(content: bytes, like: bytes) -> bytes:
    known = _encoded_lines(like)
    return b"".join(known.get(line) or _encoded_line(line) for line in _lines(content))


def _lines(octets: bytes) -> list[bytes]:
    """Lines with their line feeds; only a line feed ends one."""
    lines = [line + b"\n" for line in octets.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _encoded_lines(octets: bytes) -> dict[bytes, bytes]:
    """Each decoded line of a quoted-printable body → its octets, soft breaks included."""
    found: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    for line in _lines(octets):
        pieces.append(line)
        if _SOFT_BREAK.search(line) is None:
            raw = b"".join(pieces)
            found[_from_quoted_printable(raw)] = raw
            pieces = []
    if pieces:
        raw = b"".join(pieces)
        found[_from_quoted_printable(raw)] = raw
    return found


def _encoded_line(line: bytes) -> bytes:
    text = line.rstrip(b"\r\n") if line.endswith(b"\n") else line
    end = line[len(text) :]
    if end not in (b"", b"\n", b"\r\n"):
        text, end = line[:-1].removesuffix(b"\r"), b"\r\n" if line.endswith(b"\r\n") else b"\n"
    if b"\r" not in text and not text.startswith(b"From "):
        return binascii.b2a_qp(text + b"\r\n")[:-2] + end
    encoded = _QP_UNSAFE.sub(lambda match: b"=%02X" % match[0][0], text)
    if encoded[-1:] in (b" ", b"\t"):  # RFC 2045 §6.7 (3)
        encoded = encoded[:-1] + b"=%02X" % encoded[-1]
    if encoded.startswith(b"From "):  # mbox stores would write ">From "
        encoded = b"=46" + encoded[1:]
    pieces: list[bytes] = []
    at = 0
    while len(encoded) - at > _LINE:
        cut = at + _LINE - 1
        for back in (1, 2):
            if encoded[cut - back] == 0x3D:
                cut -= back
                break
        pieces.append(encoded[at:cut] + b"=\r\n")
        at = cut
    pieces.append(encoded[at:])
    return b"".join(pieces) + end


def _from_uu(octets: bytes) -> bytes:
    content = bytearray()
    for line in octets.splitlines():
        if line[:6] == b"begin " or line in (b"end", b"`", b""):
            continue
        try:
            content += binascii.a2b_uu(line)
        except binascii.Error:
            continue
    return bytes(content)
