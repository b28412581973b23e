"""Octets within octets: archives, compressed streams and documents; and what nobody can look into.

Promise: what a rule gives stays within the budget, and where that ends first, `Budget.spent` says so.
What is compressed or encrypted in a way that isn't read here is named by `shut`, never passed over.

Sources: RFC 1950, RFC 1951, RFC 1952; PKWARE APPNOTE 6.3 §4.3.7, §4.4.4, §4.4.5; MS-OXRTFCP (compressed RTF);
MS-OFFCRYPTO §2.3.4; ISO 32000-1 §7.6 (Encrypt); RFC 5652 §6 (EnvelopedData).
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from sortingoffice.frozen import dataclass

MAX_STREAMS = 20_000
_MOST_ENGINES = 500  # of those that take megabytes each
_TRIAL = 256
_PIECE = 1 << 20
_LEAST_TEXT = 20  # octets that are printable: others unpack to a few by chance
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_PACKED = re.compile(rb"\A\xa3[\x01\x02]")
_LOCAL = b"PK\x03\x04"
_LZFU = b"LZFu"
# RFC 1950 §2.2: method 8, any window, no dictionary, the check bits right; or RFC 1952.
_HEADS = [
    bytes((cmf, flags))
    for cmf in range(0x08, 0x80, 0x10)
    for flags in range(256)
    if (cmf * 256 + flags) % 31 == 0 and not flags & 0x20
]
ZLIB = re.compile(b"|".join(re.escape(head) for head in _HEADS) + rb"|\x1f\x8b\x08")
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_XZ = b"\xfd7zXZ\0"
_LZMA = re.compile(rb"\A\x5d\0\0[\0-\xff]{3}[\0-\xff]{4}")
# Containers and compressions that the standard library doesn't read; by their first octets.
_HEADED = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, which can't be looked into"),
    (b"Rar!\x1a\x07", "a RAR archive, which can't be looked into"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file, which can't be looked into"),
    (b"\x04\x22\x4d\x18", "an LZ4 file, which can't be looked into"),
    (b"MSCF\0\0\0\0", "a cabinet file, which can't be looked into"),
    (b"xar!\0", "a xar archive, which can't be looked into"),
    (b"(This file must be converted with BinHex", "a BinHex file, which can't be looked into"),
    (b"\x1f\x9d", "a compressed file, which can't be looked into"),
    (b"LZIP\x01", "an lzip file, which can't be looked into"),
    (b"\x89LZO\0\r\n\x1a\n", "an lzop file, which can't be looked into"),
    (b"\x60\xea", "an ARJ archive, which can't be looked into"),
    (b"\xff\x06\0\0sNaPpY", "a Snappy file, which can't be looked into"),
    (b"hsqs", "a SquashFS image, which can't be looked into"),
    (b"MSWIM\0\0\0", "a WIM image, which can't be looked into"),
    (b"ITSF\x03\0\0\0", "a compiled help file, which can't be looked into"),
    (b"ZWS", "a compressed Flash file, which can't be looked into"),
    (b"!BDN", "an Outlook data file, which can't be looked into"),
)
# These tell what they are so clearly that they are seen within other files, too: in what unpacks itself.
_WITHIN = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_LHA = re.compile(rb"\A..-lh[1-9a-z]-", re.DOTALL)
_ACE = re.compile(rb"\A.{7}\*\*ACE\*\*", re.DOTALL)
ENCRYPTED = "something encrypted, which can't be looked into"
_ENCRYPTED = (
    b"age-encryption.org/v1\n",
    b"Salted__",  # openssl enc
    b"LUKS\xba\xbe",
    b"\x03\xd9\xa2\x9a",  # KeePass
)
# RFC 4880 §5.1, §5.3: session keys, for a key or by a password.
_PGP = re.compile(rb"\A(?:\x85[\x01-\x04].\x03|\x84.\x03|\x8c\x0d\x04[\x07-\x0a][\0-\x03])", re.DOTALL)
_ODF = b"<manifest:encryption-data"
_UNKNOWN_METHOD = "an archive that can't be looked into"
# RFC 5652 §6, RFC 5083, RFC 5652 §8 (what a PKCS #12 file begins with: its certificates name their owner).
_ENVELOPED = tuple(
    bytes.fromhex(each) for each in ("2a864886f70d010703", "2a864886f70d0109100117", "2a864886f70d010706")
)
_OFFICE = "EncryptedPackage".encode("utf-16-le")
_PDF_SHUT = re.compile(rb"/Encrypt\s|/LZWDecode\b")
_AR_MEMBER = re.compile(rb"[ -~]{16}[ 0-9]{32}[0-9 ]{10}`\n")
_OCTAL = re.compile(rb"[0-7]+")
_MANIFEST = 1 << 16
ARMOR = "-----BEGIN PGP MESSAGE-----"


class Allowance(Protocol):
    """What may still be read."""

    left: int
    spent: bool


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    inside: Callable[[bytes, Allowance], Iterator[bytes]]


class _Engine(Protocol):
    def decompress(self, octets: bytes | memoryview, most: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Shut:
    """One rule.  says: what nobody can look into in these octets, for the person; "" where there is none."""

    name: str
    says: Callable[[bytes], str]


def shut(octets: bytes) -> str:
    """What nobody can look into here, for the person; "" where there is none such."""
    return next((said for rule in SHUT if (said := rule.says(octets))), "")


def _headed(octets: bytes, *, head: bytes, said: str) -> str:
    return said if octets.startswith(head) else ""


def _encrypted(octets: bytes) -> str:
    return (
        ENCRYPTED if octets.startswith(_ENCRYPTED) or _PGP.match(octets) or _ODF in octets[:_MANIFEST] else ""
    )


def _archived(octets: bytes) -> str:
    """Archives in what unpacks itself, and those whose mark stands later."""
    if _LHA.match(octets) or _ACE.match(octets):
        return _UNKNOWN_METHOD
    return _UNKNOWN_METHOD if any(octets.find(each, 1) > 0 for each in _WITHIN) else ""


def _stored(octets: bytes) -> str:
    """What stands in a tar or ar archive, or in a zip that packs nothing, and can't be looked into."""
    for start in _starts(octets):
        for head, said in _HEADED:
            if octets.startswith(head, start):
                return said
    return ""


def _starts(octets: bytes) -> Iterator[int]:
    """Where the members of an archive begin that stand there as they are."""
    if octets.startswith(b"!<arch>\n"):
        yield from (match.end() for match in _AR_MEMBER.finditer(octets))
    elif octets[257:262] == b"ustar":
        at = 0
        while octets[at + 257 : at + 262] == b"ustar":
            yield at + 512
            size = octets[at + 124 : at + 135].strip(b" \0")
            at += 512 + (-(-int(size, 8) // 512) * 512 if _OCTAL.fullmatch(size) else 0)
    elif octets.startswith(_LOCAL):
        at = 0
        while at >= 0:
            if octets[at + 8 : at + 10] == b"\0\0":
                name, more = octets[at + 26 : at + 28], octets[at + 28 : at + 30]
                yield at + 30 + int.from_bytes(name, "little") + int.from_bytes(more, "little")
            at = octets.find(_LOCAL, at + 4)


def _enveloped(octets: bytes) -> str:
    start = octets[:64]
    return ENCRYPTED if start[:1] == b"\x30" and any(each in start for each in _ENVELOPED) else ""


def _office(octets: bytes) -> str:
    return ENCRYPTED if octets.startswith(b"\xd0\xcf\x11\xe0") and _OFFICE in octets else ""


def _pdf(octets: bytes) -> str:
    found = _PDF_SHUT.search(octets) if octets.startswith(b"%PDF") else None
    if found is None:
        return ""
    return ENCRYPTED if found[0].startswith(b"/E") else _UNKNOWN_METHOD


# ---- streams -------------------------------------------------------------------------------------


def _streams(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    """zlib and gzip, wherever they begin: PDF, PNG, TNEF, git."""
    count = 0
    for match in ZLIB.finditer(octets):
        bits = 31 if match[0][:1] == b"\x1f" else 15
        stream = inflated(octets, match.start(), bits, budget)
        if stream:
            count += 1
            yield stream
        if count == MAX_STREAMS:
            budget.spent = True
            return


def inflated(octets: bytes, at: int, bits: int, budget: Allowance) -> bytes:
    """One stream; b"" where none begins there after all.  A broken one up to where it breaks."""
    try:
        trial = zlib.decompressobj(bits).decompress(octets[at : at + _TRIAL], 1024)
    except zlib.error:
        return b""
    if not trial:
        return b""
    engine = zlib.decompressobj(bits)
    content = bytearray()
    pending: bytes | memoryview = memoryview(octets)[at:]
    while pending and not engine.eof:
        try:
            content += engine.decompress(pending, min(_PIECE, budget.left + 1 - len(content)))
        except zlib.error:
            break
        if len(content) > budget.left:
            budget.spent = True
            return b""
        pending = engine.unconsumed_tail
    return bytes(content)


def deflated(octets: bytes) -> bool:
    """Whether these begin as a compressed text without any head does: what a login page puts into a link."""
    if octets[0] & 6 not in (2, 4):  # RFC 1951 §3.2.3: fixed or dynamic codes
        return False
    try:
        trial = zlib.decompressobj(-15).decompress(octets[:_TRIAL], 64)
    except zlib.error:
        return False
    return len(trial) >= _LEAST_TEXT and not trial.translate(None, _PRINTABLE)


def _bare(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    """Deflated without a head (SAML), or after OpenPGP's (RFC 4880 §5.6)."""
    if len(octets) > _LEAST_TEXT and deflated(octets):
        yield inflated(octets, 0, -15, budget)
    if _PACKED.match(octets):
        bits = -15 if octets[1] == 1 else 15
        yield inflated(octets, 2, bits, budget)


def _bzip2(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    for count, match in enumerate(_BZIP2.finditer(octets)):
        if count == _MOST_ENGINES:
            budget.spent = True
            return
        yield _expanded(bz2.BZ2Decompressor(), memoryview(octets)[match.start() :], budget)


def _lzma(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    at = octets.find(_XZ)
    if at >= 0:
        yield _expanded(lzma.LZMADecompressor(memlimit=1 << 27), memoryview(octets)[at:], budget)
    elif _LZMA.match(octets):
        yield _expanded(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 27), octets, budget)


def _expanded(engine: _Engine, octets: memoryview | bytes, budget: Allowance) -> bytes:
    try:
        content = engine.decompress(octets, budget.left + 1)
    except (OSError, ValueError, EOFError, lzma.LZMAError, MemoryError):
        budget.spent = True
        return b""
    if len(content) > budget.left:
        budget.spent = True
        return b""
    return content


# ---- zip archives --------------------------------------------------------------------------------


def _zipped(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    """The entries by their own headers: Office documents, OpenDocument, EPUB, and archives cut short.

    The directory at the end may be missing, or name other entries.  Names and comments stand raw.
    """
    at = -1
    count = 0
    while (at := octets.find(_LOCAL, at + 1)) >= 0:
        flags, method = octets[at + 6 : at + 8], int.from_bytes(octets[at + 8 : at + 10], "little")
        name = int.from_bytes(octets[at + 26 : at + 28], "little")
        start = at + 30 + name + int.from_bytes(octets[at + 28 : at + 30], "little")
        count += 1
        if count > MAX_STREAMS:
            budget.spent = True
            return
        if not flags or flags[0] & 1 or start >= len(octets):
            continue
        if method == 8:
            yield inflated(octets, start, -15, budget)
        elif method == 12:
            yield _expanded(bz2.BZ2Decompressor(), memoryview(octets)[start:], budget)
        elif method == 14 and (made := _lzma_entry(octets[start : start + 9])) is not None:
            yield _expanded(made, memoryview(octets)[start + 9 :], budget)


def _lzma_entry(head: bytes) -> lzma.LZMADecompressor | None:
    """APPNOTE §5.8.8: two octets of version, two of the properties' size, and the five properties."""
    if len(head) < 9 or head[2:4] != b"\x05\x00" or head[4] >= 9 * 5 * 5:
        return None
    lc, rest = head[4] % 9, head[4] // 9
    size = min(max(int.from_bytes(head[5:9], "little"), 4096), 1 << 26)
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": size, "lc": lc, "lp": rest % 5, "pb": rest // 5}]
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    except (lzma.LZMAError, ValueError):
        return None


def _entries(octets: bytes) -> str:
    """Entries of a zip archive that are encrypted, or packed by a method that isn't read here."""
    at = octets.find(_LOCAL) if octets.startswith(_LOCAL) else -1
    while at >= 0:
        head = octets[at : at + 30]
        if len(head) == 30 and head[6] & 1:
            return ENCRYPTED
        if len(head) == 30 and int.from_bytes(head[8:10], "little") not in (0, 8, 12, 14):
            return _UNKNOWN_METHOD
        at = octets.find(_LOCAL, at + 4)
    return ""


# ---- iWork ---------------------------------------------------------------------------------------


def _iwork(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    """Pages, Numbers and Keynote: entries of a zip, in chunks packed by Snappy without its frame."""
    if not octets.startswith(_LOCAL) or b".iwa" not in octets:
        return
    at = octets.find(_LOCAL)
    while at >= 0:
        name = int.from_bytes(octets[at + 26 : at + 28], "little")
        start = at + 30 + name + int.from_bytes(octets[at + 28 : at + 30], "little")
        end = octets.find(b"PK", start + int.from_bytes(octets[at + 18 : at + 22], "little"))
        if octets[at + 30 : at + 30 + name].endswith(b".iwa"):
            content = bytearray()
            while octets[start : start + 1] == b"\0" and start + 4 < (end if end >= 0 else len(octets)):
                size = int.from_bytes(octets[start + 1 : start + 4], "little")
                content += _unsnapped(octets[start + 4 : start + 4 + size], budget.left - len(content))
                start += 4 + size
            yield bytes(content)
        at = octets.find(_LOCAL, at + 4)


def _unsnapped(packed: bytes, most: int) -> bytes:
    """Snappy's format §2: literals, and copies of what came before; up to where it breaks."""
    at = 0
    while at < len(packed) and packed[at] & 0x80:  # how long it will be
        at += 1
    at += 1
    content = bytearray()
    while at < len(packed) and len(content) <= most:
        tag, at = packed[at], at + 1
        if tag & 3 == 0:
            size, more = tag >> 2, max(0, (tag >> 2) - 59)
            if more:
                size = int.from_bytes(packed[at : at + more], "little")
            content += packed[at + more : at + more + size + 1]
            at += more + size + 1
            continue
        width = (1, 2, 4)[(tag & 3) - 1]
        back = int.from_bytes(packed[at : at + width], "little")
        size = (tag >> 2) + 1
        if width == 1:
            size, back = (tag >> 2 & 7) + 4, back | (tag >> 5) << 8
        at += width
        if not 0 < back <= len(content):
            break
        copied = bytes(content[len(content) - back : len(content) - back + size])
        content += (copied * (size // back + 1))[:size]  # it may overlap what it writes
    return bytes(content)


# ---- compressed RTF ------------------------------------------------------------------------------

_RTF_START = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)


def _rtfs(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    at = -1
    while (at := octets.find(_LZFU, at + 1)) >= 0:
        # Its size stands before: what follows is another's.
        size = int.from_bytes(octets[max(0, at - 8) : max(0, at - 4)], "little")
        end = len(octets) if not 12 <= size <= len(octets) - at + 8 else at - 4 + size
        yield _rtf(octets[at + 8 : end], budget)
        at = max(at, min(end, len(octets)) - 1)


def _rtf(packed: bytes, budget: Allowance) -> bytes:
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


RULES: tuple[Rule, ...] = (
    Rule("zip", _zipped),
    Rule("compressed RTF", _rtfs),
    Rule("zlib and gzip", _streams),
    Rule("deflated", _bare),
    Rule("iWork", _iwork),
    Rule("bzip2", _bzip2),
    Rule("xz and LZMA", _lzma),
)

SHUT: tuple[Shut, ...] = (
    *(Shut(said, partial(_headed, head=head, said=said)) for head, said in _HEADED),
    Shut("self-extracting archives", _archived),
    Shut("members of archives", _stored),
    Shut("encrypted files", _encrypted),
    Shut("S/MIME", _enveloped),
    Shut("Office", _office),
    Shut("PDF", _pdf),
    Shut("entries of an archive", _entries),
)
