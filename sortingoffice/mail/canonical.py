"""Canonical forms of fields and bodies, for DKIM and ARC; linear in the octets, whatever they are.

Promise: `relaxed_body` of a body in which nothing needs touching is three searches and no copy but the
last; no input makes any of these quadratic (dkimpy's take 3.7 s per MB of lines of spaces).

Sources: RFC 6376 §3.4 (canonicalisation), §3.5 (the empty b=), §5.4.2 (which field a name in h= means).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from sortingoffice.mail.message import Field

CRLF = b"\r\n"
_PIECE = 1 << 18  # octets
_FWS = re.compile(rb"[ \t\r\n]+")


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """RFC 6376 §3.4.2: `value` is what follows the colon, folded; the result ends in CR LF."""
    unfolded = value.replace(CRLF, b"").replace(b"\n", b"")
    return name.lower() + b":" + _single_blanks(unfolded).strip(b" \r") + CRLF


def relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4."""
    body = _without_empty_lines(_relaxed_lines(body))
    return body + CRLF if body else b""


def _relaxed_lines(body: bytes) -> bytes:
    """Each line with its blanks as RFC 6376 §3.4.4 wants them."""
    if b"\t" in body or b"  " in body:
        body = b"".join(_single_blanks(piece) for piece in _pieces(body))
    if b" \r\n" in body:
        body = body.replace(b" \r\n", CRLF)
    if body.endswith(b" "):  # a last line without its end; at most one blank is left of a run
        body = body[:-1]
    return body


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces of whole lines, so that no step over a large one holds the interpreter for long."""
    at = 0
    while at < len(body):
        end = body.find(CRLF, at + _PIECE) + 2
        end = end if end >= 2 else len(body)
        yield body[at:end]
        at = end


def _single_blanks(octets: bytes) -> bytes:
    """Each run of blanks as one space; a few whole passes, where a pattern costs 0.2 µs a match."""
    if b"\t" in octets:
        octets = octets.replace(b"\t", b" ")
    if b"  " in octets:
        if b" " * 16 in octets:  # so that a run of a million takes no more passes than one of a hundred
            for width in (4096, 64, 8):
                octets = octets.replace(b" " * width, b" ")
        while b"  " in octets:
            octets = octets.replace(b"  ", b" ")
    return octets


def simple_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.3: an empty body is CR LF."""
    return _without_empty_lines(body) + CRLF


def _without_empty_lines(body: bytes) -> bytes:
    """The body without the run of CR LF at its end."""
    if not body.endswith(CRLF):
        return body
    text = len(body.rstrip(CRLF))
    end = len(body)
    if body[text:] == CRLF * ((end - text) // 2):  # nearly always: nothing but whole line ends
        return body[:text]
    while end - text >= 2 and body[end - 2 : end] == CRLF:
        end -= 2
    return body[:end]


def body_hash(body: bytes, *, relaxed: bool) -> bytes:
    """SHA-256 of the canonical body; of a large one made piece by piece, so that there is no second copy."""
    if len(body) <= _PIECE:
        return hashlib.sha256(relaxed_body(body) if relaxed else simple_body(body)).digest()
    digest = hashlib.sha256()
    ends = 0  # of lines, that count if any text follows
    text = False
    for piece in _pieces(body):
        lines = _relaxed_lines(piece) if relaxed else piece
        kept = _without_empty_lines(lines)
        if kept:
            for at in range(0, ends, _PIECE):
                digest.update(CRLF * min(_PIECE, ends - at))
            digest.update(kept)
            ends, text = 0, True
        ends += (len(lines) - len(kept)) // 2
    if text or not relaxed:
        digest.update(CRLF)
    return digest.digest()


def chosen(fields: Sequence[Field], names: Iterable[bytes]) -> list[Field]:
    """The fields that h= means: each name takes the lowest that is not taken yet; an absent one is nothing.

    names  in lower case
    """
    left: dict[bytes, list[Field]] = {}
    for field in fields:
        left.setdefault(field.name.lower(), []).append(field)
    return [left[name].pop() for name in names if left.get(name)]


def header_octets(fields: Iterable[Field], *, relaxed: bool) -> bytes:
    """The chosen fields in canonical form, joined."""
    if relaxed:
        return b"".join(relaxed_field(field.name, field.value) for field in fields)
    return b"".join(field.raw for field in fields)


def without_signature(field: Field) -> Field:
    """The field with its b= emptied, blanks included (RFC 6376 §3.5), the rest octet for octet."""
    colon = field.raw.index(b":") + 1
    tags = field.raw[colon:].split(b";")
    for at, tag in enumerate(tags):
        name, equals, _ = tag.partition(b"=")
        if equals and _FWS.sub(b"", name) == b"b":
            tags[at] = name + equals
    return Field(field.name, field.raw[:colon] + b";".join(tags))


def signed_octets(fields: Iterable[Field], own: Field, *, relaxed: bool) -> bytes:
    """What a signature field signs: the chosen fields, then itself without b= and without its line end."""
    emptied = without_signature(own)
    last = relaxed_field(emptied.name, emptied.value) if relaxed else emptied.raw
    return header_octets(fields, relaxed=relaxed) + last.removesuffix(CRLF)
