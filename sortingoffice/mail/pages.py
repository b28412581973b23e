"""A PDF's streams, and what its pages show by numbers of glyphs.

A stream stands there as it is, or packed in one or two ways; pictures and fonts draw no text.

Promise: linear in the octets; where there is more than is looked into, the allowance is spent.

Sources: ISO 32000-1 §7.3.8 (streams), §7.4 (filters).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from sortingoffice.mail import glyphs, inside
from sortingoffice.mail.inside import Allowance

_STREAM = re.compile(rb"(?<!end)stream[ \t]*\r?\n?")
_MOST_HEAD = 2000  # octets of a stream's dictionary
_PICTURE = re.compile(rb"/Subtype\s*/Image\b|/FontFile|/Length1\b|/Type\s*/XRef\b")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f\s]{8,}+>?\s*")
_MOST_85 = 1 << 18  # octets of a stream in ASCII85; it is decoded in Python
_FILTERS = 3
_MOST_BEFORE = 1024  # octets that viewers pass over


def shown(octets: bytes, budget: Allowance) -> Iterator[str]:
    """What a PDF's pages show by numbers of glyphs."""
    if b"%PDF" not in octets[:_MOST_BEFORE]:
        return
    tables: list[bytes] = glyphs.differences(octets)
    drawn: list[bytes] = []
    size = 0
    for stream in _streams(octets, budget):
        tables += glyphs.differences(stream)
        if glyphs.is_table(stream):
            tables.append(stream)
        elif glyphs.shows(stream):
            size += len(stream)
            drawn.append(stream)
        if size * max(len(tables), 1) > glyphs.MOST or len(tables) > glyphs.MOST_TABLES:
            budget.spent = True
            return
    yield from glyphs.texts(tables, drawn)


def _streams(octets: bytes, budget: Allowance) -> Iterator[bytes]:
    """All but pictures and fonts, unpacked."""
    for count, match in enumerate(_STREAM.finditer(octets)):
        if count == inside.MAX_STREAMS:
            budget.spent = True
            return
        head = octets[max(0, match.start() - _MOST_HEAD) : match.start()]
        if _PICTURE.search(head, head.rfind(b"obj") + 1):
            continue
        end = octets.find(b"stream", match.end())  # its own end, or the next one: nothing is read twice
        stream = octets[match.end() : end if end >= 0 else len(octets)]
        yield _unpacked(stream.removesuffix(b"end"), budget)


def _unpacked(stream: bytes, budget: Allowance) -> bytes:
    for _ in range(_FILTERS):
        if inside.ZLIB.match(stream):
            return inside.inflated(stream, 0, 15, budget)
        if stream.rstrip().endswith(b"~>") and len(stream) <= _MOST_85:
            try:
                stream = base64.a85decode(stream.strip().removeprefix(b"<~").removesuffix(b"~>"))
            except (ValueError, OverflowError):
                return stream
        elif _HEXADECIMAL.fullmatch(stream):
            digits = b"".join(stream.split()).removesuffix(b">")
            stream = binascii.unhexlify(digits + b"0" * (len(digits) % 2))
        else:
            return stream
    return stream
