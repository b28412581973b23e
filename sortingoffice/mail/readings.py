"""Every way in which octets can be read: encodings within encodings, archives, metadata.

A reader of mail undoes these layers without being asked, or with one click; so does the leak guard.
Nothing here decides anything.

Promise: of_octets and of_text never fail, and what they give stays within the budget; where the budget
ends before the octets do, `Budget.spent` says so.

Sources: RFC 2045 §6, RFC 2047, RFC 2152, RFC 3986 §2.1; WHATWG HTML §13.5; CSS Syntax 3 §4.3.7;
PDF 32000-1 §7.3.4; MS-OXRTFCP (compressed RTF); PKWARE APPNOTE 6.3; RFC 1950, RFC 1952.
"""

from __future__ import annotations

import binascii
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from sortingoffice.mail import charset, headers, html, transfer

MAX_LAYERS = 4
_MAX_ENTRIES = 500
_MAX_STREAMS = 500
_LONG_RUN = 1 << 17

_PERCENT_RUN = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_QP = re.compile(r"=(?:[0-9A-Fa-f]{2}|[ \t]*\r?\n)")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,32};?")
_ESCAPE = re.compile(r"\\u\{?([0-9A-Fa-f]{1,6})\}?|\\x([0-9A-Fa-f]{2})|\\'([0-9A-Fa-f]{2})|\\([0-3][0-7]{2})")
_OTHER_ESCAPE = re.compile(r"\\u(\d{2,5}) ?\??|\\([0-9A-Fa-f]{2,6})")
# UTF-16 of ASCII begins so in base64.
_UTF7 = re.compile(r"\+A[A-H][A-Za-z0-9+/]++-?")
_TAG = re.compile(r"<[^<>]*+>")
_RTF_WORD = re.compile(r"\\[a-zA-Z]{1,32}-?\d{0,10} ?|[{}]|\\\n|\r?\n")
_PDF_GAP = re.compile(r"\)\s*+-?[\d.]*+\s*+\(")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}+(?:[ \t]*\r?\n[ \t>]*[A-Za-z0-9+/_-]{4,}+)*+={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:,]?){8,}")
_WORD = r"=\?[^?\s]{1,60}\?[bBqQ]\?[^?\s]*+\?="
_WORDS = re.compile(rf"{_WORD}(?:\s*+{_WORD})*")
_UU = re.compile(r"(?m)^begin [0-7]{3,4} [^\n]*\n((?:[ -`]{1,62}\r?\n)+)")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_SPACES = re.compile(r"[\s>]+")
_SEPARATORS = re.compile(r"[\s:,]+")
_FROM_URL = str.maketrans("-_", "+/")
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b\x08", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_STRING = re.compile(rb"(?:[\x20-\x7e\t\r\n]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}){5,}+")
_TEXTUAL = bytes(set(range(0x20, 0x7F)) | {9, 10, 12, 13, 27} | set(range(0x80, 0x100)))


@dataclass(slots=True)
class Budget:
    """Characters that may still be read in one message."""

    left: int
    spent: bool = False

    def take(self, size: int) -> bool:
        if size > self.left:
            self.spent = True
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a place.

    how    "" as it stands, else a phrase: "in base64", "percent-encoded"
    exact  whether characters stand as a reader sees them, so that the letter before an address means
           that it is another one; in binary data it may be a length
    """

    text: str
    how: str = ""
    exact: bool = True


def of_text(text: str, budget: Budget, layer: int = 0) -> Iterator[Reading]:
    """The text and all that is encoded in it."""
    if not budget.take(len(text)):
        return
    yield Reading(text)
    undone = [(new, how) for trigger, how, undo in _LAYERS if trigger(text) and (new := undo(text)) != text]
    for new, how in undone:
        if budget.take(len(new)):
            yield Reading(new, how)
    last = text
    for new in _peeled(text, [new for new, _ in undone]):
        if budget.take(len(new)):
            yield Reading(new, "encoded twice")
            last = new
    if layer < MAX_LAYERS:
        yield from _embedded(text, budget, layer)
        if undone:
            yield from _embedded(last if last != text else undone[0][0], budget, layer)


def of_octets(octets: bytes, budget: Budget, layer: int = 0) -> Iterator[Reading]:
    """The octets as text, and what archives and streams in them hold."""
    if not budget.take(len(octets)):
        return
    if octets.translate(None, _TEXTUAL) == b"":
        yield from of_text(charset.decode(octets, ""), budget, layer)
    else:
        for each in of_text(_strings(octets), budget, layer):
            yield Reading(each.text, each.how, exact=False)
        if octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
            yield from of_text(charset.decode(octets, "utf-16"), budget, layer)
    if layer >= MAX_LAYERS:
        return
    for inside in _inside(octets, budget):
        for each in of_octets(inside, budget, layer + 1):
            yield Reading(each.text, each.how or "compressed", each.exact)
    if _is_split(octets):
        text = _unescape(charset.decode(octets, "utf-8" if octets[:1] == b"<" else "latin-1"))
        for pattern in (_RTF_WORD, _PDF_GAP, _TAG):
            new = pattern.sub("", text)
            if len(new) != len(text) and budget.take(len(new)):
                yield Reading(new, "split up")


def _is_split(octets: bytes) -> bool:
    """Whether it may be RTF, a PDF's text or XML: there a word is cut by what sets it."""
    return (
        octets.startswith((b"{\\rtf", b"%PDF"))
        or b"TJ" in octets
        or octets[:64].lstrip().startswith((b"<?xml", b"<"))
    )


def _strings(octets: bytes) -> str:
    """What is text in binary data, in ASCII, UTF-8 or UTF-16; a run a line."""
    return b"\n".join(_STRING.findall(octets.replace(b"\0", b""))).decode("utf-8", "replace")


# ---- layers of text ------------------------------------------------------------------------------


def _percent(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        octets = bytes.fromhex(match[0].replace("%", ""))
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            return octets.decode("latin-1")

    return _PERCENT_RUN.sub(run, text)


def _qp(text: str) -> str:
    octets = transfer.decode(text.encode("utf-8", "replace"), "quoted-printable")
    return octets.decode("utf-8", "ignore")  # "?id=80" in a link is no quoted-printable


def _unescape(text: str) -> str:
    """JSON, C, RTF and PDF."""

    def character(match: re.Match[str]) -> str:
        unicode, octet, rtf, octal = match.groups()
        return _character(int(octal, 8) if octal else int(unicode or octet or rtf, 16))

    return _ESCAPE.sub(character, text)


def _unescape_other(text: str) -> str:
    """RTF's Unicode, and CSS: their digits mean something else than those of the former."""

    def character(match: re.Match[str]) -> str:
        return _character(int(match[1]) if match[1] else int(match[2], 16))

    return _OTHER_ESCAPE.sub(character, text)


def _character(code: int) -> str:
    return chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else " "


def _utf7(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        return match[0].encode("ascii").decode("utf-7", "ignore")

    return _UTF7.sub(run, text).encode("utf-8", "replace").decode("utf-8")


def _iso2022(text: str) -> str:
    return charset.decode(text.encode("ascii", "ignore"), "iso-2022-jp-2")


def _words(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        return headers.decode(match[0].encode("utf-8", "replace"))

    return _WORDS.sub(run, text)


def _has(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(text) is not None


_LAYERS: tuple[tuple[Callable[[str], bool], str, Callable[[str], str]], ...] = (
    (_has(_ENTITY), "as character references", html.unescape),
    (_has(_PERCENT_RUN), "percent-encoded", _percent),
    (_has(_QP), "in quoted-printable", _qp),
    (_has(_ESCAPE), "with escapes", _unescape),
    (_has(_OTHER_ESCAPE), "with escapes", _unescape_other),
    (_has(_WORDS), "in encoded words", _words),
    (lambda text: "\x1b" in text, "in ISO-2022", _iso2022),
    (_has(_UTF7), "in UTF-7", _utf7),
)


def _peeled(text: str, known: list[str]) -> Iterator[str]:
    """All layers undone one after the other, twice: what was encoded more than once."""
    if not known:
        return
    for _ in range(2):
        new = text
        for trigger, _, undo in _LAYERS[:-1]:
            if trigger(new):
                new = undo(new)
        if new == text:
            return
        if new not in known:
            yield new
        text = new


# ---- octets in text ------------------------------------------------------------------------------


def _embedded(text: str, budget: Budget, layer: int) -> Iterator[Reading]:
    """Base64, hexadecimal digits and uuencode that stand in a text; all runs of a kind read as one."""
    runs = [
        _SPACES.sub("", match[0]).translate(_FROM_URL).encode("ascii") for match in _BASE64.finditer(text)
    ]
    for start in range(4 if runs else 0):
        # At each alignment: what stands before a run may belong to it or not.
        decoded = [
            transfer.decode(run[start:], "base64") for run in runs if not start or len(run) < _LONG_RUN
        ]
        yield from _read(decoded, "in base64", budget, layer)
    digits = [_SEPARATORS.sub("", match[0]) for match in _HEX.finditer(text)]
    for start in range(2 if digits else 0):
        decoded = [binascii.unhexlify(run[start : start + (len(run) - start) // 2 * 2]) for run in digits]
        yield from _read(decoded, "in hexadecimal", budget, layer)
    uu = [transfer.decode(match[1].encode("ascii", "ignore"), "uuencode") for match in _UU.finditer(text)]
    yield from _read(uu, "uuencoded", budget, layer)


def _read(decoded: list[bytes], how: str, budget: Budget, layer: int) -> Iterator[Reading]:
    """Most runs are words, keys and pictures: they are read together; archives each by itself."""
    archives = [each for each in decoded if each.startswith(_ARCHIVES) and len(each) > 20][:_MAX_STREAMS]
    for octets in (*archives, b"\n".join(decoded)):
        if octets:
            for each in of_octets(octets, budget, layer + 1):
                yield Reading(each.text, how, each.exact and not each.how)


# ---- octets in octets ----------------------------------------------------------------------------


def _inside(octets: bytes, budget: Budget) -> Iterator[bytes]:
    if b"PK\x03\x04" in octets:
        yield from _zipped(octets, budget)
    if b"LZFu" in octets:
        at = octets.index(b"LZFu")
        yield _rtf(octets[at + 8 :], budget)
    count = 0
    for match in _ZLIB.finditer(octets):
        stream = _inflated(octets, match.start(), 31 if match[0][:1] == b"\x1f" else 15, budget)
        if stream:
            count += 1
            yield stream
        if count == _MAX_STREAMS:
            budget.spent = True
            return


def _inflated(octets: bytes, at: int, bits: int, budget: Budget) -> bytes:
    """One zlib or gzip stream; b"" where none begins there after all."""
    engine = zlib.decompressobj(bits)
    try:
        content = engine.decompress(octets[at : at + 256], 1024)
        if not content and engine.unused_data:
            return b""
        engine = zlib.decompressobj(bits)
        content = engine.decompress(memoryview(octets)[at:], budget.left + 1)
    except zlib.error:
        return b""
    if len(content) > budget.left:
        budget.spent = True
    return content


def _zipped(octets: bytes, budget: Budget) -> Iterator[bytes]:
    """The entries of a zip archive: Office documents, OpenDocument, EPUB; names and comments stand raw."""
    try:
        with zipfile.ZipFile(BytesIO(octets)) as archive:
            for count, entry in enumerate(archive.infolist()):
                if count == _MAX_ENTRIES or entry.file_size > budget.left:
                    budget.spent = True
                    return
                if not entry.flag_bits & 1:  # encrypted: nobody reads it without the password
                    with archive.open(entry) as content:
                        yield content.read(budget.left)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError):
        return


_RTF_START = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)


def _rtf(packed: bytes, budget: Budget) -> bytes:
    """MS-OXRTFCP §3.1.5.1: runs of a dictionary of 4,096 octets; what follows "LZFu" and its checksum."""
    ring = bytearray(_RTF_START.ljust(4096, b"\0"))
    write = len(_RTF_START)
    content = bytearray()
    at = 0
    while at < len(packed) and len(content) < budget.left:
        control, at = packed[at], at + 1
        for bit in range(8):
            if at >= len(packed):
                break
            if not control >> bit & 1:
                run = packed[at : at + 1]
                at += 1
            else:
                token = int.from_bytes(packed[at : at + 2], "big")
                at += 2
                offset, length = token >> 4, (token & 15) + 2
                if offset == write:
                    return bytes(content)
                run = _run(ring, offset, length, write)
            for octet in run:
                ring[write] = octet
                write = (write + 1) % 4096
            content += run
    return bytes(content)


def _run(ring: bytearray, offset: int, length: int, write: int) -> bytes:
    """A run may overlap what it writes."""
    copied = bytearray()
    for step in range(length):
        source = (offset + step) % 4096
        distance = (source - write) % 4096
        copied.append(copied[distance] if distance < len(copied) else ring[source])
    return bytes(copied)
